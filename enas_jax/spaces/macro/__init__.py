"""The macro search space: the operations and skips of a network (ENAS §2.3).

Layer l reads tensor l, which is the output of the layer before it, or of the
stem for l = 0. It applies one operation and adds any subset of the tensors
before tensor l. Skip bit i of layer l stands for tensor i < l; tensor l itself
has no bit. After a third and two thirds of the layers, a factorised reduction
of its own halves every tensor so far.

The shared network of the search and the network of the final training differ,
as in the reference (general_child.py); `MacroNetwork` names the differences:

            shared                            final
  entry     relu(BN(conv 1x1(x)))             BN(conv 1x1(relu(x)))
  conv      relu(BN(conv(x)))                 BN(conv(relu(x)))
  pool      pool(x)                           pool(x)
  skips     `concat` off: BN(x + their sum)   on: BN(conv 1x1(relu([them, x])))
  filters   `widen` 1: the same everywhere    2: doubled where halved
  norm      by the batch at hand, always      moving averages when evaluated

The paper concatenates skips in both. The reference sums them in the search
(defect M4), which is cheaper; this package does so too.

Two readings are choices. The paper's text can also mean that a layer's input is
the concatenation of what its skip bits choose. Here, as in the reference, the
layer reads the tensor before it alone, and its result is then joined with what
the bits choose. And the paper does not say which step of the controller a skip
bit attends to, since it numbers layers and has no stem: `Macro.shifted_anchors`
has both sides (defect M6).

Parameter counts are the reference's: 697,860 for the shared network of 12
layers and 36 filters; for the final network of the published arch with 96
filters, 42,559,392 with `plain_convs` and 30,947,424 without.

  space.py     the schedule, the integers, the presets
  topology.py  where the image is halved, and how wide each layer is
  network.py   the stem, the layers one after the other, the classifier
  shared.py    a layer of the search, and the merge that joins its skips
  final.py     the layer and the merge of the final training
  size.py      the size of the final network, without building it
"""

from enas_jax.spaces.macro.arch import MacroArch
from enas_jax.spaces.macro.network import MacroNetwork
from enas_jax.spaces.macro.space import Macro

__all__ = ["Macro", "MacroArch", "MacroNetwork"]
