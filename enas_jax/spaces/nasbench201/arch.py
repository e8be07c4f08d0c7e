"""The arch of NAS-Bench-201, and the meaning of its integers."""

from typing import NamedTuple

import jax

# The operations in the benchmark's order.
OPERATIONS = (
    "none",
    "skip_connect",
    "nor_conv_1x1",
    "nor_conv_3x3",
    "avg_pool_3x3",
)
# The edges as (node, the node that it reads), in the order of the integers.
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))


class NasBench201Arch(NamedTuple):
  """One cell, given by the operation of each edge."""

  ops: jax.Array  # i32[6], indices of OPERATIONS
