"""Asks whether a part describes its options."""

from collections.abc import Callable
from typing import Any

from enas_jax import options
from enas_jax.errors import ConfigError
from enas_jax.testing.asking import ask_all, demand, named, Question


def options_questions(
    part: Callable, ours: tuple[str, ...] = ()
) -> list[Question]:
  """Returns the questions of a part's options.

  Args:
    part: A function, a dataclass or a flax module.
    ours: The parameters that do not come from the config.
  """

  def every_option_has_a_type():
    for name, option in options.of(part, ours).items():
      demand(
          option.annotation is not Any, f"The option {name!r} has no type."
      )

  def every_option_has_a_line_of_help():
    for name, option in options.of(part, ours).items():
      demand(
          option.help,
          f"The docstring says nothing of the option {name!r}: write a line in"
          " `Args:`, or in `Attributes:` of a class.",
      )

  def every_default_is_allowed():
    for name, option in options.of(part, ours).items():
      values = [] if option.required else [option.default]
      values += [option.small.value] if option.small else []
      for value in values:
        try:
          options.checked(name, value, option.annotation)
        except ConfigError as error:
          raise AssertionError(f"A default is out of bounds. {error}") from None

  return named(
      every_option_has_a_type,
      every_option_has_a_line_of_help,
      every_default_is_allowed,
  )


def check_options(part: Callable, ours: tuple[str, ...] = ()) -> None:
  """Asks all of `options_questions`, with the same arguments.

  Raises:
    AssertionError: A question failed; says which one and what to mend.
  """
  ask_all(options_questions(part, ours))
