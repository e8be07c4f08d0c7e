"""The errors that users see, and helpers that word them."""

from collections.abc import Iterable
import difflib
from typing import Any


class ConfigError(Exception):
  """Says in one line which value of the user cannot work, and why.

  A part gives the name of its own option as the key. The code that read the
  option from a block of the config adds the block's name by `inside`.
  """

  def __init__(self, key: str, message: str):
    super().__init__(f"{key}: {message}")
    self.key, self.message = key, message

  def inside(self, block: str) -> "ConfigError":
    """Returns the same error with the key `block.key`."""
    return ConfigError(f"{block}.{self.key}", self.message)


def kind(value: Any) -> str:
  """Returns what a value is: its type, and of an array the shape too."""
  if hasattr(value, "dtype") and hasattr(value, "shape"):
    return f"{value.dtype}{list(value.shape)}"
  return type(value).__name__


def one_line(error: Exception) -> str:
  """Returns an error of another package as one line, to end our own with."""
  return " ".join(f"{type(error).__name__}: {error}".split())


def lookup(key: str, name: str, choices: dict[str, Any], what: str) -> Any:
  """Returns `choices[name]`.

  Raises:
    ConfigError: There is no such name; lists the choices.
  """
  if isinstance(name, str) and name in choices:
    return choices[name]
  raise ConfigError(key, f"unknown {what} {name!r}. {suggest(name, choices)}")


def suggest(name: Any, choices: Iterable) -> str:
  """Lists the valid choices, and names the one that is most like `name`."""
  choices = sorted(filter(None, map(str, choices)))
  near = difflib.get_close_matches(str(name), choices, n=1)
  hint = f"Did you mean {near[0]!r}? " if near else ""
  return f"{hint}Choices: {', '.join(choices) or 'none'}."
