"""The recurrent search space: one cell of a language model (ENAS §2.1).

Node 0 reads the word and the state before, and every later node reads one
earlier node. Each node has an activation of its own and a gate;
`ops/recurrent.py` has the equations. The shared network has a matrix for each
triple of a node, the node that it reads and its activation. This is the cell of
the authors' corrected code (enas_lm); they declare the code of 2018 wrong. From
the latter, batch norm in the cell, a first matrix for each activation and word
dropout are not built; the reference trains the arch published in 2018
without the first two as well.

Two dialects of integers are in use, and they number the activations
differently:

  lm    the pair (node read, activation) for each node but the first, which is
        16 integers for 8 nodes; 0 tanh, 1 relu, 2 sigmoid, 3 identity; node 0
        is always tanh
  2018  the activation of the first node, then such a pair for each other node,
        which is 23 integers for 12 nodes; 0 tanh, 1 relu, 2 identity, 3 sigmoid

The two codes also differ in the output of the cell. That of 2018 averages the
loose ends, the nodes that no other node reads, in every network. In enas_lm
only the recipe for TPUs does so; its search and its recipe for GPUs average all
nodes but the first. `network.loose` follows the dialect where it is None.

Parameter counts are the reference's. With a vocabulary of 10,000 they are, for
the shared network of 200 units, 13,680,000 with 8 nodes and 16,560,000 with 9;
for the final network in the dialect lm with 8 nodes, 20,800,000 with 800 units
and 22,950,000 with 850; for the final network in the dialect 2018 with 12 nodes
and 748 units, 22,027,104.

  space.py    the schedule, the integers of both dialects, the presets
  network.py  the language model around the cell: shared and final
"""

from enas_jax.spaces.recurrent.arch import OPERATIONS, RecurrentArch
from enas_jax.spaces.recurrent.network import RecurrentNetwork
from enas_jax.spaces.recurrent.space import Recurrent

__all__ = ["OPERATIONS", "Recurrent", "RecurrentArch", "RecurrentNetwork"]
