"""The space of NAS-Bench-201 (Dong & Yang 2020, arXiv 2001.00326, §2.1).

A cell is a graph of four nodes in which every node reads all earlier ones,
each by one of five operations; a node is the sum of what it reads, node 0 is
the cell's input and node 3 its output. Three stages of such cells, all alike,
with a residual block between them that halves the image and doubles the
channels, make the network. The benchmark trained all 15,625 of them, so that
what a search finds can be looked up.

In the shared network every edge of every cell has weights of its own for each
operation, and all are normalised by the batch at hand. In the final network
(`NasBench201Network.final`) only the chosen operations exist, and moving
averages are tracked. Its parameter counts are the benchmark's, with batch
norm's scale and offset and the bias of the classifier (16 filters, 5 cells a
stage, 10 classes: from 73,306 for a cell of `none` and `skip_connect` alone to
1,531,546).

The strided convolution pads below and to the right, the benchmark's above and
to the left: the one network is the other seen in a mirror.

  space.py     the schedule, the integers, the benchmark's notation
  topology.py  the stages, and how wide each is
  network.py   the network: shared and final differ in their cells alone
  cell.py      these cells
  size.py      the size of the final network, without building it
"""

from enas_jax.spaces.nasbench201.arch import EDGES, NasBench201Arch, OPERATIONS
from enas_jax.spaces.nasbench201.network import NasBench201Network
from enas_jax.spaces.nasbench201.space import NasBench201

__all__ = [
    "EDGES",
    "OPERATIONS",
    "NasBench201",
    "NasBench201Arch",
    "NasBench201Network",
]
