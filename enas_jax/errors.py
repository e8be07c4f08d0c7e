"""The errors that users see, and helpers that word them."""

from collections.abc import Iterable, Iterator
import contextlib
import difflib
import errno
import os
import re
from typing import Any

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
_OF_TENSORSTORE = re.compile(r"os_error_code='(\d+)'")  # it writes for Orbax
_MEANT = {"controller": "reinforce"}  # a word of the paper, and the name here


class ConfigError(Exception):
  """Says in one line which value of the user cannot work, and why.

  A part gives the name of its own option as the key. The code that read the
  option from a block of the config adds the block's name by `inside`.
  """

  def __init__(self, key: str, message: str):
    super().__init__(f"{key}: {message}")
    self.key, self.message = key, message

  def __reduce__(self) -> tuple:
    """Says how another process makes it again."""
    return type(self), (self.key, self.message)

  def inside(self, block: str) -> "ConfigError":
    """Returns the same error with the key `block.key`."""
    return ConfigError(f"{block}.{self.key}", self.message)


class Unwritable(Exception):
  """Says in one line why the files of a run cannot be written any more."""


@contextlib.contextmanager
def writing(path: str | os.PathLike) -> Iterator[None]:
  """Turns what a full disk, a quota or a limit raises into one line.

  Args:
    path: Of what is written, where the error names no file.

  Raises:
    Unwritable: Nothing can be written, whichever package tried to.
  """
  try:
    yield
  except Unwritable:
    raise
  except Exception as error:
    found = _unwritable(error, path)
    if found is None:
      raise
  else:
    return
  # Here the error, and what is kept alive by its traceback, is gone.
  raise found


def _unwritable(
    error: BaseException | None, path: str | os.PathLike
) -> Unwritable | None:
  """Returns what the first error of its chain says, if that is a full disk."""
  if error is None:
    return None
  number, name = getattr(error, "errno", None), getattr(error, "filename", None)
  code = _OF_TENSORSTORE.search(str(error))
  if code and not isinstance(error, OSError):
    number = int(code[1])
  if number in _FULL:
    return Unwritable(
        f"cannot write to {name or path}: {os.strerror(number)}. What was saved"
        " before is whole; the same command goes on from there when there is"
        " room."
    )
  return _unwritable(error.__cause__ or error.__context__, path)


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


def suggest(name: Any, choices: Iterable, before: str = "") -> str:
  """Lists the valid choices, and names the one that is most like `name`.

  Args:
    name: What the user wrote.
    choices: The valid ones.
    before: What stands before the one that is named, so that it can be pasted.
  """
  choices = sorted(filter(None, map(str, choices)))
  name = _MEANT.get(str(name), str(name))
  near = difflib.get_close_matches(name, choices, n=1)
  hint = f"Did you mean {before + near[0]!r}? " if near else ""
  return f"{hint}Choices: {', '.join(choices) or 'none'}."
