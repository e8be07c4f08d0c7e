"""The macro search space: a whole network, operations and skips (ENAS §2.3).

Layer l reads tensor l, the output of the layer before it (tensor 0 is the
stem), applies one operation, and adds any subset of the tensors before that.
Skip bit i of layer l stands for tensor i < l; the tensor that it reads anyway
has no bit. After a third and two thirds of the layers every tensor so far is
halved by a factorised reduction of its own.

The shared network of the search and the network of the final training differ,
as in the reference (general_child.py); `MacroNetwork` names the differences:

            shared                            final
  entry     relu(BN(conv 1x1(x)))             BN(conv 1x1(relu(x)))
  conv      relu(BN(conv(x)))                 BN(conv(relu(x)))
  pool      pool(x)                           pool(x)
  skips     `concat` off: BN(x + their sum)   on: BN(conv 1x1(relu([them, x])))
  filters   `widen` 1: the same everywhere    2: doubled where halved
  norm      by the batch at hand, always      moving averages when evaluated

The paper concatenates skips in both; the reference sums them in the search
(defect M4), which is cheaper and is followed. Parameter counts are the
reference's (shared, 12 layers, 36 filters: 697,860; final, 96 filters, the
published architecture: 42,559,392 with `plain_convs`, else 30,947,424).

  space.py     the schedule, the integers, the presets
  topology.py  where the image is halved, and how wide each layer is
  network.py   the stem, the layers one after the other, the classifier
  shared.py    a layer of the search, and how it joins what it reads
  final.py     those of the final training
  size.py      the size of the final network, without building it
"""

from enas_jax.spaces.macro.arch import MacroArch
from enas_jax.spaces.macro.network import MacroNetwork
from enas_jax.spaces.macro.space import Macro

__all__ = ["Macro", "MacroArch", "MacroNetwork"]
