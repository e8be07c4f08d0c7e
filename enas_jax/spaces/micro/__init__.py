"""The micro search space: a normal and a reduction cell (ENAS §2.4).

An architecture is two tables, one row a node: input, operation, input,
operation. The shared network of the search and the network of the final
training differ, as in the reference (micro_child.py): in the search every
operation has stride 1 and the halving comes before a reduction cell, a 1 x 1
convolution mixes the loose ends, and all weights are tables whose row is the
input read; in the final network the reduction cell's operations have stride 2
and the loose ends are concatenated. `MicroNetwork.final` chooses.

Parameter layout and counts are the reference's in both (shared, 6 + 2 cells,
20 filters: 5,373,140 and 412,928 in the auxiliary head; final, 15 + 2 cells,
36 filters, the published architecture: 3,894,372 and 494,848). Two defaults
differ from the reference in values, not in shape: weights start at the He
scale of their own slice, not of the flattened table (`row_fan_in`), and the
preference for separable convolutions is a constant after the squashing, so
that it can be unlearnt (`saturated_prior`).

  space.py     the schedule, the integers, the presets
  topology.py  where the reduction cells stand, and how wide each cell is
  network.py   the stem, the cells one after the other, the heads
  shared.py    a cell of the search
  final.py     a cell of the final training
  size.py      the size of the final network, without building it
"""

from enas_jax.spaces.micro.arch import MicroArch, OPERATIONS
from enas_jax.spaces.micro.network import MicroNetwork
from enas_jax.spaces.micro.space import Micro

__all__ = ["OPERATIONS", "Micro", "MicroArch", "MicroNetwork"]
