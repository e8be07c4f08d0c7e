"""The macro space's network, which runs shared or final layers."""

from typing import Annotated, Literal

from flax import linen as nn
import jax

from enas_jax.ops import layers
from enas_jax.options import Count, Keep, Small
from enas_jax.spaces.macro import topology
from enas_jax.spaces.macro.arch import MacroArch, stretched
from enas_jax.spaces.macro.final import FinalLayer, FinalMerge
from enas_jax.spaces.macro.shared import SharedLayer, SharedMerge


class MacroNetwork(nn.Module):
  """A convolutional network of macro layers.

  This folder's `__init__.py` lists the differences between the shared and the
  final network.

  Attributes:
    classes: The number of classes.
    names: The operations, in the order of their numbers.
    final: Whether this is the network of the final training instead of the
      shared one; it takes a numpy architecture, builds only the chosen
      branches, and tracks moving averages.
    filters: The channels of the first layers.
    widen: The factor on the channels where the image is halved.
    concat: Whether skips are concatenated and mixed by a 1 x 1 convolution.
      They are joined with the layer's result, not its input, which is a choice.
    plain_convs: Whether the final network has full convolutions in place of
      separable ones, as the reference's has (defect M2).
    channel_fan_in: Whether the number of channels counts in the scale at which
      a depthwise kernel starts, as in the reference's search
      (`ops.layers.depthwise_normal`).
    stretch: How many times in a row every layer is built, with its operation
      and its skips; a skip reads the last copy of the layer it read before. At
      2, a network of 12 layers becomes one of 24, which is halved after 8 and
      16 layers. Only a numpy architecture can be stretched.
    keep: The keep probability of the dropout before the classifier.
    arithmetic: Whether the shared network chooses its operations by arithmetic,
      so that a GPU need not ask its host which branch to run. It then computes
      one full convolution and the pools of every layer.
    dtype: The type of the computation; weights, statistics and the classifier
      are float32.
  """

  classes: Count
  names: tuple[str, ...]
  final: bool = False
  filters: Annotated[Count, Small(4)] = 36
  widen: Count = 1
  concat: bool = False
  plain_convs: bool = False
  channel_fan_in: bool = False
  stretch: Count = 1
  keep: Keep = 0.9
  arithmetic: bool = False
  dtype: Literal["float32", "bfloat16"] = "float32"

  @nn.compact
  def __call__(
      self,
      images: jax.Array,
      arch: MacroArch,
      *,
      train: bool,
      dropout: bool | None = None,
      progress: jax.Array | float = 0.0,
  ) -> tuple[jax.Array, None]:
    """Returns the class logits of `images` under `arch`.

    Args:
      images: f32[B, H, W, C], normalised.
      arch: An arch of jax arrays, for which one program serves all archs, or of
        numpy arrays, for which only the chosen branches are built.
      train: Whether moving averages move.
      dropout: Whether features are dropped; by default as `train`. Randomness
        comes from the "dropout" stream.
      progress: Unused; macro networks have no drop-path.

    Returns:
      The logits f32[B, classes]; and None, since there is no auxiliary head.
    """
    del progress
    dropout = train if dropout is None else dropout
    if self.stretch > 1:
      arch = stretched(arch, self.stretch)
    stem = layers.Conv(self.filters, 3, self.final, name="stem")
    tensors = [stem(images.astype(self.dtype), train=train)]
    for layer in topology.layers(
        len(arch.ops), self.filters, self.widen, images.shape[1:3]
    ):
      if layer.halved:
        shrink = layers.FactorizedReduction
        tensors = [
            shrink(layer.channels, self.final)(t, train=train) for t in tensors
        ]
      tensors.append(self._layer(layer.index, tensors, arch, train))
    classifier = layers.Classifier(self.classes, self.keep, name="classifier")
    return classifier(tensors[-1], dropout=dropout), None

  def _layer(self, index, tensors, arch, train):
    """Returns the result of a layer on the tensors before it."""
    name, op = f"layer_{index}", arch.ops[index]
    if self.final:
      layer = FinalLayer(
          self.names[op], self.plain_convs, self.channel_fan_in, name=name
      )
      x = layer(tensors[-1], train=train)
    else:
      layer = SharedLayer(
          self.names, self.channel_fan_in, self.arithmetic, name=name
      )
      x = layer(tensors[-1], op, train=train)
    if not index:
      return x
    if self.final:
      merge = FinalMerge(self.concat, name=f"merge_{index}")
    else:
      merge = SharedMerge(self.concat, self.arithmetic, name=f"merge_{index}")
    return merge(x, tensors[:-1], arch.skips[index, :index], train=train)
