"""The macro space's network, which runs shared or final layers."""

from typing import Annotated, Literal

from flax import linen as nn
import jax

from enas_jax.ops import layers
from enas_jax.ops import stem as stems
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
      shared one, and tracks moving averages. Of a numpy architecture only the
      chosen branches are built; an architecture of jax arrays is chosen at run
      time.
    filters: The channels of the first layers.
    stem: How often the image is halved before the first layer, 0, 1 or 2 times;
      pictures of 64 pixels want 1, and those of 224 want 2.
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
      16 layers.
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
  stem: stems.Halvings = 0
  widen: Count = 1
  concat: bool = False
  plain_convs: bool = False
  channel_fan_in: bool = False
  stretch: Count = 1
  keep: Keep = 0.9
  arithmetic: bool = False
  dtype: Literal["float32", "bfloat16"] = "float32"

  def check_image(self, shape: tuple[int, int, int]) -> None:
    """Raises ConfigError of "stem" if an image (H, W, C) is too small."""
    stems.check(self.stem, shape)

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
    x = stems.apply(
        images.astype(self.dtype),
        self.filters,
        self.stem,
        self.final,
        name="stem",
        train=train,
    )
    tensors = [x]
    for layer in topology.layers(
        len(arch.ops), self.filters, self.widen, x.shape[1:3]
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
          self.names, self.plain_convs, self.channel_fan_in, name=name
      )
    else:
      layer = SharedLayer(
          self.names, self.channel_fan_in, self.arithmetic, name=name
      )
    x = layer(tensors[-1], op, train=train)
    if not index:
      return x
    name = f"merge_{index}"
    if self.final and not isinstance(op, jax.Array):
      merge = FinalMerge(self.concat, name=name)
    else:
      merge = SharedMerge(self.concat, self.final, self.arithmetic, name=name)
    return merge(x, tensors[:-1], arch.skips[index, :index], train=train)
