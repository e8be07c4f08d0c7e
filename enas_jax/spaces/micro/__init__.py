"""The micro search space: a normal and a reduction cell (ENAS §2.4).

An arch is two tables with one row for each node: input, operation, input,
operation. A loose end is a state that no node reads. The shared network of the
search and the network of the final training differ, as in the reference
(micro_child.py); `MicroNetwork.final` chooses between them. In the search every
operation has stride 1, the image is halved before a reduction cell, a 1 x 1
convolution mixes the loose ends, and all weights are tables with a row for each
input that a node may read. In the final network the operations of a reduction
cell have stride 2, and the loose ends are concatenated.

The layout and the number of the parameters are the reference's in both. The
shared network of 6 + 2 cells and 20 filters has 5,373,140 and another 412,928
in the auxiliary head. The final network of the published arch with 15 + 2 cells
and 36 filters has 3,894,372 and another 494,848. Two defaults differ from the
reference in values, not in shape. Weights start at the He scale of their own
slice, not of the flattened table or with its channels (`row_fan_in`,
`channel_fan_in`). The preference for separable convolutions trains outside of
the squashing, so that it can be reversed; the reference's cannot
(`op_prior`, `saturated_prior`).

  space.py     the schedule, the integers, the presets
  topology.py  where the reduction cells stand, and how wide each cell is
  network.py   the stem, the cells one after the other, the heads
  shared.py    a cell of the search
  final.py     a cell of the final training
  chosen.py    the same, chosen at run time, to train many without compiling
  size.py      the size of the final network, without building it
"""

from enas_jax.spaces.micro.arch import MicroArch, OPERATIONS
from enas_jax.spaces.micro.network import MicroNetwork
from enas_jax.spaces.micro.space import Micro

__all__ = ["OPERATIONS", "Micro", "MicroArch", "MicroNetwork"]
