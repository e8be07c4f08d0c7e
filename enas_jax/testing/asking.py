"""A question of a part, and what it is asked with."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import chex


class Question(NamedTuple):
  """One question of a part; calling it asks."""

  name: str
  ask: Callable[[], None]  # raises AssertionError where the answer is no

  def __call__(self) -> None:
    self.ask()

  def __str__(self) -> str:
    return self.name


def named(*functions: Callable[[], None]) -> list[Question]:
  """Returns the functions as questions of their own names."""
  return [Question(each.__name__, each) for each in functions]


def ask_all(questions: Iterable[Question]) -> None:
  """Asks all, and tells of all that failed.

  Raises:
    AssertionError: at least one did; a paragraph for each.
  """
  failed = []
  for question in questions:
    try:
      question.ask()
    except AssertionError as error:
      failed.append(f"{question.name}: {error}")
  if failed:
    raise AssertionError("\n\n".join(failed))


def demand(condition: Any, words: str) -> None:
  """Raises AssertionError of these words unless the condition holds.

  Not `assert`, which Python leaves out when it optimises.
  """
  if not condition:
    raise AssertionError(words)


def same_form(tree: Any, other: Any, what: str) -> None:
  """Demands the same structure, shapes and types of two trees."""
  try:
    chex.assert_trees_all_equal_shapes_and_dtypes(tree, other)
  except AssertionError as error:
    raise AssertionError(
        f"{what} must keep structure, shapes and types, or every step compiles"
        f" anew. {error}"
    ) from None
