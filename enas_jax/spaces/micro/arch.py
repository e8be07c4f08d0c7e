"""The arch of the micro space, and the meaning of its integers."""

from typing import NamedTuple

import jax

OPERATIONS = (
    "sep_conv_3x3",
    "sep_conv_5x5",
    "avg_pool_3x3",
    "max_pool_3x3",
    "identity",
)
INPUTS = 2  # states 0 and 1 are the outputs of the two cells before


class MicroArch(NamedTuple):
  """Two cells, i32[N, 4] each: input, operation, input, operation."""

  normal: jax.Array
  reduce: jax.Array
