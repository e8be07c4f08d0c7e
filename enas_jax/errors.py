"""The errors that users see, and the words that they share."""

from collections.abc import Iterable
import difflib
from typing import Any


class ConfigError(Exception):
  """A value that the user gave and that cannot work: one line with its key.

  A part names its own option; whoever read the option from a block of the
  config adds the block's name by `inside`.
  """

  def __init__(self, key: str, message: str):
    super().__init__(f"{key}: {message}")
    self.key, self.message = key, message

  def inside(self, block: str) -> "ConfigError":
    """Returns the same error of an option that lies in `block`."""
    return ConfigError(f"{block}.{self.key}", self.message)


def one_line(error: Exception) -> str:
  """Puts an error of another package into one line, for the end of our own."""
  return " ".join(f"{type(error).__name__}: {error}".split())


def lookup(key: str, name: str, choices: dict[str, Any], what: str) -> Any:
  """Returns `choices[name]`.

  Raises:
    ConfigError: there is no such name; lists the choices.
  """
  if name in choices:
    return choices[name]
  raise ConfigError(key, f"unknown {what} {name!r}. {suggest(name, choices)}")


def suggest(name: Any, choices: Iterable) -> str:
  """Lists the valid choices, and the nearest one when `name` looks like it."""
  choices = sorted(map(str, choices))
  near = difflib.get_close_matches(str(name), choices, n=1)
  hint = f"Did you mean {near[0]!r}? " if near else ""
  return f"{hint}Choices: {', '.join(choices) or 'none'}."
