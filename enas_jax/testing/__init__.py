"""Asks the questions that every part must pass, our own or a user's.

  from enas_jax import testing

  testing.check_space(
      MySpace(nodes=2),
      network={"classes": 3, "filters": 4},
      batch=testing.images(),
  )

`check_space`, `check_strategy`, `check_task`, `check_dataset`,
`check_optimiser` and `check_options` raise AssertionError with the name of the
question that failed and say what to mend. Each has a companion, such as
`space_questions`, that returns the questions as a list for a test runner:

  @pytest.mark.parametrize("ask", testing.space_questions(...), ids=str)
  def test_my_space(ask):
    ask()

Nothing is compiled before the first question is asked, and the questions share
what they compile. pytest itself is not needed.
"""

from enas_jax.testing.asking import Question
from enas_jax.testing.dataset import check_dataset, dataset_questions
from enas_jax.testing.optimiser import check_optimiser, optimiser_questions
from enas_jax.testing.part import check_options, options_questions
from enas_jax.testing.samples import (
    changes,
    filled,
    ImageBatch,
    images,
    on_host,
    random_choices,
    TextBatch,
    unmoved,
    words,
)
from enas_jax.testing.space import check_space, space_questions
from enas_jax.testing.strategy import check_strategy, strategy_questions
from enas_jax.testing.supernet import (
    carried,
    every_single_choice_shows,
    Supernet,
)
from enas_jax.testing.task import check_task, task_questions

__all__ = [
    "ImageBatch",
    "Question",
    "Supernet",
    "TextBatch",
    "carried",
    "changes",
    "check_dataset",
    "check_optimiser",
    "check_options",
    "check_space",
    "check_strategy",
    "check_task",
    "dataset_questions",
    "every_single_choice_shows",
    "filled",
    "images",
    "on_host",
    "optimiser_questions",
    "options_questions",
    "random_choices",
    "space_questions",
    "strategy_questions",
    "task_questions",
    "unmoved",
    "words",
]
