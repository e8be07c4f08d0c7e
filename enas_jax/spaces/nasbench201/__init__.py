"""The space of NAS-Bench-201 (Dong & Yang 2020, arXiv 2001.00326, §2.1).

A cell is a graph of four nodes. Every node reads all earlier nodes, each by one
of five operations, and is the sum of the results; node 0 is the input of the
cell and node 3 its output. The network has three stages of such cells, which
are all alike, and between two stages a residual block that halves the image and
doubles the channels. The benchmark trained the networks of all 15,625 cells, so
the true accuracy of every arch that a search finds can be looked up.

In the shared network every edge of every cell has weights of its own for each
operation, and batch norms use the statistics of the batch at hand. In the final
network (`NasBench201Network.final`) only the chosen operations exist, and
moving averages are tracked. Its parameter counts are the benchmark's, with
batch norm's scale and offset and the bias of the classifier. With 16 filters, 5
cells a stage and 10 classes they go from 73,306, for a cell of `none` and
`skip_connect` alone, to 1,531,546.

The strided convolution pads below and to the right where the benchmark's pads
above and to the left, so that one network is the mirror image of the other.

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
