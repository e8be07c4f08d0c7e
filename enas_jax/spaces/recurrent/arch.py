"""The arch of the recurrent space, and the names of its operations."""

from typing import NamedTuple

import jax

from enas_jax.ops import recurrent

OPERATIONS = tuple(recurrent.ACTIVATIONS)


class RecurrentArch(NamedTuple):
  """A cell of N nodes; the first one reads the word."""

  ops: jax.Array  # i32[N], indices of OPERATIONS
  sources: jax.Array  # i32[N - 1], the node that each of nodes 1, 2, ... reads
