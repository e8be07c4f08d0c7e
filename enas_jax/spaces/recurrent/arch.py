"""An architecture of the recurrent space, and what its numbers stand for."""

from typing import NamedTuple

import jax

from enas_jax.ops import recurrent

OPERATIONS = tuple(recurrent.ACTIVATIONS)


class RecurrentArch(NamedTuple):
  """A cell of N nodes, the first of which reads the word."""

  ops: jax.Array  # i32[N], numbers of OPERATIONS
  sources: jax.Array  # i32[N - 1], the node that node 1, 2, ... reads
