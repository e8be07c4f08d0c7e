"""What the loaders ask of the numbers they are given."""

import math

from enas_jax.types import check_number, ConfigError

# What a final training may be measured on -> the name of that split.
MEASURES = {"test": "test", "valid": "validation"}


def check_whole(key: str, value, *, low: int = 0, high=math.inf) -> None:
  """Raises ConfigError unless `value` is an int with low <= value <= high."""
  if not isinstance(value, int) or isinstance(value, bool):
    raise ConfigError(key, f"must be a whole number, got {value!r}.")
  check_number(key, value, low=low, high=high)
