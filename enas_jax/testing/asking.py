"""The form of a question, and helpers to ask one."""

from collections.abc import Callable, Iterable
import functools
from typing import Any, NamedTuple

import chex

from enas_jax.errors import one_line


class Question(NamedTuple):
  """One question of a part; to call it is to ask it."""

  name: str
  ask: Callable[[], None]  # raises AssertionError where the answer is no

  def __call__(self) -> None:
    self.ask()

  def __str__(self) -> str:
    return self.name


def named(*functions: Callable[[], None]) -> list[Question]:
  """Returns the functions as questions with the functions' names."""
  return [Question(each.__name__, each) for each in functions]


def ask_all(questions: Iterable[Question]) -> None:
  """Asks all questions and reports all that failed.

  Raises:
    AssertionError: A question failed; has a paragraph for each that did.
  """
  failed, cause = [], None
  for question in questions:
    try:
      question.ask()
    except AssertionError as error:
      failed.append(f"{question.name}: {error}")
    except Exception as error:  # of the part, which may fail in any way
      failed.append(f"{question.name}: it raised {one_line(error)}")
      cause = error
  if failed:
    raise AssertionError("\n\n".join(failed)) from cause


def demand(condition: Any, words: str) -> None:
  """Raises AssertionError with these words unless the condition holds.

  It is used in place of `assert`, which Python leaves out when it optimises.
  """
  if not condition:
    raise AssertionError(words)


def same_form(tree: Any, other: Any, what: str) -> None:
  """Demands that two trees have the same structure, shapes and types.

  Args:
    tree: One tree.
    other: The other tree.
    what: The noun for the trees, which begins the error.

  Raises:
    AssertionError: They differ; says what must hold.
  """
  try:
    chex.assert_trees_all_equal_shapes_and_dtypes(tree, other)
  except AssertionError as error:
    raise AssertionError(
        f"{what} must keep structure, shapes and types, or every step compiles"
        f" anew. {error}"
    ) from None


def same_values(tree: Any, other: Any, words: str, **tolerances: float) -> None:
  """Demands that two trees are equal, or close where tolerances are given.

  Args:
    tree: One tree.
    other: The other tree.
    words: What must hold, a sentence that begins the error.
    **tolerances: `atol` and `rtol`.

  Raises:
    AssertionError: They differ.
  """
  same = (
      functools.partial(chex.assert_trees_all_close, **tolerances)
      if tolerances
      else chex.assert_trees_all_equal
  )
  try:
    same(tree, other)
  except AssertionError as error:
    raise AssertionError(f"{words} {error}") from None
