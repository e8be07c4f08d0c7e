"""Says in one line what of a data set has not the form that it must have."""

from collections.abc import Iterable
import functools
from typing import Any

import numpy as np

from enas_jax.errors import ConfigError, kind


def odd(what: str, form: str, value: Any) -> ConfigError:
  """Returns the error that something of a data set has not its form."""
  return ConfigError("name", f"{what} must be {form}, got {value}.")


def read_once(source: Any, splits: Iterable[str], what: str) -> None:
  """Lets each split of a source be read once, and checked by its `_read`.

  Args:
    source: A frozen dataclass with a function for each split.
    splits: The names of these fields.
    what: What each function returns, for errors.

  Raises:
    ConfigError: A field is no function.
  """
  for split in splits:
    read = getattr(source, split)
    if not callable(read):
      raise odd(f"its {split}", f"a function that returns {what}", kind(read))
    read = functools.partial(source._read, split, read)
    object.__setattr__(source, split, functools.cache(read))


def numbers(value: Any) -> str:
  """Returns the kind of an array's numbers; "" if it is none of numpy."""
  return value.dtype.kind if isinstance(value, np.ndarray) else ""


def what(value: Any) -> str:
  """Returns what a value is, and whose array, if it is none of numpy."""
  if numbers(value) or not hasattr(value, "dtype"):
    return kind(value)
  return f"{kind(value)} in {type(value).__module__.partition('.')[0]}"
