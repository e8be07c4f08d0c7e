"""The recurrent search space: one cell of a language model (ENAS §2.1).

Node 0 reads the word and the state before, every later node one earlier node,
each through an activation of its own and a gate; `ops/recurrent.py` has the
equations. Weights of the shared network are apart for every node, node read
and activation. This is the cell of the authors' corrected code (enas_lm); they
declare that of 2018 wrong, whose batch norm in the cell, activation-wise first
matrix and word dropout are not built: its published architecture trains
without the first two in the reference, too.

Two dialects of integers are in use, and they number the activations
differently:

  lm    node, activation for each node but the first (16 for 8 nodes);
        0 tanh, 1 relu, 2 sigmoid, 3 identity; node 0 is always tanh
  2018  activation of the first, then node, activation (23 for 12 nodes);
        0 tanh, 1 relu, 2 identity, 3 sigmoid

Parameters with a vocabulary of 10,000 are the reference's: shared, 200 units,
8 nodes: 13,680,000, 9 nodes: 16,560,000; final, lm, 8 nodes, 800 units:
20,800,000, 850 units: 22,950,000; final, 2018, 12 nodes, 748 units: 22,027,104.

  space.py    the schedule, the integers of both dialects, the presets
  network.py  the language model around the cell: shared and final
"""

from enas_jax.spaces.recurrent.arch import OPERATIONS, RecurrentArch
from enas_jax.spaces.recurrent.network import RecurrentNetwork
from enas_jax.spaces.recurrent.space import Recurrent

__all__ = ["OPERATIONS", "Recurrent", "RecurrentArch", "RecurrentNetwork"]
