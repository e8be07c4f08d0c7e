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
"""

import dataclasses
import functools
import math
import re
from typing import ClassVar, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.errors import ConfigError
from enas_jax.ops import choose, conv, layers, norm, pool, size
from enas_jax.spaces import schedule as rows
from enas_jax.types import Edge, Feed, Head, NO_ANCHOR, Preset, Schedule, Size

_OPERATION = re.compile(r"(sep_)?conv_([357])x\2|(avg|max)_pool_3x3")
_FOUR = "conv_3x3,sep_conv_3x3,conv_5x5,sep_conv_5x5"
_SIX = f"{_FOUR},avg_pool_3x3,max_pool_3x3"
# Of the norm behind a convolution of the shared network; elsewhere 1e-5. The
# reference's two kinds of batch norm differ in this, too.
_EPS = 1e-3


def _integers(text: str) -> list[int]:
  return [int(word) for word in text.split()]


# Reference cifar10_macro_final.sh: layer by layer, the operation and the bits.
_PUBLISHED = _integers("""
  0
  3 0
  0 1 0
  2 0 0 1
  2 0 0 0 0
  3 1 1 0 1 0
  2 0 0 0 0 0 1
  2 0 1 1 0 1 1 1
  1 0 1 1 1 0 1 0 1
  0 0 0 0 0 0 0 0 0 0
  2 0 0 0 0 0 1 0 0 0 0
  0 1 0 0 1 1 0 0 0 0 1 1
  2 0 1 0 0 0 0 0 1 0 1 1 0
  1 0 0 1 0 0 0 1 1 1 0 1 0 1
  0 1 1 0 1 0 1 0 0 0 0 0 1 0 0
  2 0 0 1 0 0 0 0 0 0 0 1 0 1 0 1
  2 0 1 0 0 0 1 0 0 1 1 1 1 0 0 1 0
  2 0 0 0 0 1 0 1 0 1 0 0 1 0 1 0 0 1
  3 0 1 1 0 1 0 0 0 0 0 1 0 1 0 1 0 0 0
  3 0 1 1 0 0 0 0 0 0 0 0 0 1 1 0 0 0 0 1
  0 1 0 0 1 0 1 1 0 0 0 1 0 0 0 0 0 1 1 0 0
  3 0 1 0 1 1 0 0 1 0 1 1 0 1 1 0 1 0 0 1 0 0
  0 1 0 1 0 1 0 0 0 0 0 0 0 0 1 0 1 0 0 1 0 0 0
  0 1 1 0 0 0 1 1 1 0 1 0 0 0 1 0 1 0 0 1 1 0 0 0
""")
# The best of a search by a user of the reference: 0.906 on one batch.
_FOUND = _integers("""
  1
  4 0
  2 0 0
  0 0 0 0
  4 0 0 0 0
  2 1 0 1 1 0
  0 0 1 1 0 0 1
  2 0 0 1 0 1 0 0
  4 0 0 0 0 1 1 1 0
  0 0 0 0 0 0 0 0 0 1
  5 1 0 0 0 1 1 0 1 1 0
  0 0 1 0 0 0 0 1 1 0 0 0
""")


class MacroArch(NamedTuple):
  """A network of L layers."""

  ops: jax.Array  # i32[L]
  skips: jax.Array  # i32[L, L], below the diagonal: 1 where l reads tensor i


@dataclasses.dataclass(frozen=True)
class Macro:
  """The space of networks of `layers` layers.

  Attributes:
    layers: L.
    operations: names between commas, in the order of their numbers:
      conv_KxK and sep_conv_KxK with K of 3, 5 or 7, avg_pool_3x3 and
      max_pool_3x3. The published 24 layers use the first four of the default.
    scale: the tanh constant of all choices.
    skip_target: the rate of skips that the policy is drawn to.
    kl_of_half: the reference's KL is of sigmoid(z) while bits are drawn with
      sigmoid(2 z), so the rate it draws to is 0.308 for 0.4 (defect M5).
    shifted_anchors: the reference's controller attends to layer i where the
      child reads tensor i, the output of layer i - 1 (defect M6). Off: bit i
      attends to the step that decided tensor i, and to zeros for the stem.
  """

  layers: int = 12
  operations: str = _SIX
  scale: float = 1.5
  skip_target: float = 0.4
  kl_of_half: bool = False
  shifted_anchors: bool = False

  def __post_init__(self):
    for name in self.names:
      if not _OPERATION.fullmatch(name):
        raise ConfigError(
            "operations",
            f"unknown operation {name!r}. Choices: conv_KxK and sep_conv_KxK"
            " with K of 3, 5 or 7, avg_pool_3x3, max_pool_3x3.",
        )
    if len(set(self.names)) < len(self.names):
      raise ConfigError(
          "operations", f"each once at most, got {self.operations!r}."
      )
    if not 0 < self.skip_target < 1:
      raise ConfigError(
          "skip_target", f"must be > 0 and < 1, got {self.skip_target!r}."
      )

  @property
  def names(self) -> tuple[str, ...]:
    """The operations one by one."""
    return tuple(self.operations.split(","))

  presets: ClassVar = {
      "enas_macro_24": Preset({"layers": 24, "operations": _FOUR}, _PUBLISHED),
      "enas_macro_12": Preset({"layers": 12, "operations": _SIX}, _FOUND),
  }

  @property
  def module(self) -> type:
    return MacroNetwork

  @functools.cached_property
  def schedule(self) -> Schedule:
    slots = max(self.layers, len(self.names))
    row = functools.partial(rows.row, slots)
    table = []
    for layer in range(self.layers):
      op = row(
          head=Head.OP,
          choices=len(self.names),
          scale=self.scale,
          feed=Feed.OP,
      )
      slot = layer if self.shifted_anchors else layer + 1
      # Layer L - 1 reads the slots below L - 1, and nothing comes after it.
      write = slot if slot < self.layers - 1 else NO_ANCHOR
      skips = row(
          head=Head.SKIP,
          choices=layer,
          scale=self.scale,
          prior=self.skip_target,
          kl_scale=1.0 if self.kl_of_half else 2.0,
          write=write,
          feed=Feed.ANCHOR,
      )
      table += [op, skips if layer else row(write=write)]
    return rows.table(table)

  def decode(self, choices) -> MacroArch:
    ops = jnp.argmax(choices[0::2], -1).astype(jnp.int32)
    skips = choices[1::2, : self.layers]
    return MacroArch(ops, jnp.asarray(skips, jnp.int32))

  def encode(self, arch: MacroArch):
    steps, slots = self.schedule.mask.shape
    ops = jax.nn.one_hot(arch.ops, slots, dtype=bool)
    skips = jnp.asarray(arch.skips, bool)
    choices = jnp.zeros((steps, slots), bool).at[0::2].set(ops)
    return choices.at[1::2, : self.layers].set(skips)

  def flatten(self, arch: MacroArch) -> list[int]:
    values = []
    for layer, op in enumerate(np.asarray(arch.ops).tolist()):
      values += [op, *np.asarray(arch.skips)[layer, :layer].tolist()]
    return values

  def unflatten(self, values: list[int]) -> MacroArch:
    size = self.layers * (self.layers + 1) // 2
    if len(values) != size:
      raise ValueError(
          f"{size} integers make an architecture of {self.layers} layers"
          f" (config.space.layers), got {len(values)}"
      )
    ops = np.zeros(self.layers, np.int32)
    skips = np.zeros((self.layers, self.layers), np.int32)
    start = 0
    for layer in range(self.layers):
      op, *bits = values[start : start + layer + 1]
      start += layer + 1
      if not 0 <= op < len(self.names):
        raise ValueError(
            f"layer {layer}: operation {op} is not one of"
            f" 0..{len(self.names) - 1}"
        )
      for i, bit in enumerate(bits):
        if bit not in (0, 1):
          raise ValueError(f"layer {layer}: skip bit {i} is {bit}, not 0 or 1")
      ops[layer], skips[layer, :layer] = op, bits
    return MacroArch(ops, skips)

  def graphs(self, arch: MacroArch) -> dict[str, list[Edge]]:
    edges = []
    for layer, op in enumerate(np.asarray(arch.ops).tolist()):
      edges.append(Edge(layer + 1, layer, self.names[op]))
      read = np.flatnonzero(np.asarray(arch.skips)[layer]).tolist()
      edges += [Edge(layer + 1, tensor) for tensor in read]
    return {"tensor": edges}

  def network(self, **hparams) -> nn.Module:
    return self.module(names=self.names, **hparams)

  def size(self, arch: MacroArch, network, image) -> Size:
    *sides, channels = image
    c, depth, pixels = network.filters, self.layers, math.prod(sides)
    base = size.conv(channels, c, 3, pixels)
    ops = np.zeros((depth, len(self.names), 2), int)
    skips = np.zeros((depth, 2), int)
    for index in range(depth):
      base += size.conv(c, c, 1, pixels)
      for op, name in enumerate(self.names):
        if name.startswith("sep") and not network.plain_convs:
          ops[index, op] = size.separable(c, int(name[-1]), pixels)
        elif "conv" in name:
          ops[index, op] = size.conv(c, c, int(name[-1]), pixels)
      if index and network.concat:
        base += size.conv(c, c, 1, pixels)
        skips[index] = size.pointwise(c, c, pixels)
      elif index:
        base += size.norm(c)
      if index + 1 in (depth // 3, 2 * (depth // 3)):
        inputs, c, sides = c, c * network.widen, size.halved(*sides)
        pixels = math.prod(sides)
        base += (index + 2) * size.conv(inputs, c, 1, pixels)
    base += size.classifier(c, network.classes)
    chosen = size.one_hot(arch.ops, len(self.names))
    return size.total(base, (ops, chosen), (skips, arch.skips.sum(1)))


class MacroNetwork(nn.Module):
  """A convolutional network of macro layers.

  What the shared and the final one differ in stands at the top of this file.

  Attributes:
    classes: number of classes.
    names: the operations.
    final: the network of the final training instead of the shared one: it
      takes a numpy architecture, builds only what that chose, and tracks
      moving averages for evaluation.
    filters: channels at first.
    widen: factor on the channels where the resolution is halved.
    concat: skips are concatenated and mixed by a 1 x 1 convolution.
    plain_convs: in the final network, full convolutions in place of separable
      ones, as the reference's (defect M2).
    stretch: every layer is built so many times in a row, with its operation
      and its skips; a skip reads the last copy of the layer it read. So a
      network of 12 layers becomes one of 24, which is halved after 8 and 16.
      For numpy architectures.
    keep: keep probability of the dropout before the classifier.
    dtype: of the computation; weights, statistics and the classifier are
      float32.
  """

  classes: int
  names: tuple[str, ...]
  final: bool = False
  filters: int = 36
  widen: int = 1
  concat: bool = False
  plain_convs: bool = False
  stretch: int = 1
  keep: float = 0.9
  dtype: str = "float32"

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
    """Class logits of `images` under `arch`.

    Args:
      images: f32[B, H, W, C], normalised.
      arch: of jax arrays (one program for all) or of numpy arrays (only what
        is chosen is built).
      train: moving averages.
      dropout: whether features are dropped; by default as `train`. Randomness
        comes from the "dropout" stream.
      progress: unused; macro networks have no drop-path.

    Returns:
      logits f32[B, classes], None for the auxiliary head that there is not.
    """
    dropout = train if dropout is None else dropout
    if self.stretch > 1:
      arch = _stretched(arch, self.stretch)
    depth = len(arch.ops)
    channels = self.filters
    stem = layers.Conv(channels, 3, self.final, name="stem")
    tensors = [stem(images.astype(self.dtype), train=train)]
    for index in range(depth):
      name, op = f"layer_{index}", arch.ops[index]
      if self.final:
        layer = FinalLayer(self.names[op], self.plain_convs, name=name)
        x = layer(tensors[-1], train=train)
      else:
        layer = SharedLayer(self.names, name=name)
        x = layer(tensors[-1], op, train=train)
      if index:
        merge = Merge(self.concat, self.final, name=f"merge_{index}")
        bits = arch.skips[index, :index]
        x = merge(x, tensors[:index], bits, train=train)
      tensors.append(x)
      if index + 1 in (depth // 3, 2 * (depth // 3)):
        channels *= self.widen
        tensors = [
            layers.FactorizedReduction(channels, self.final)(t, train=train)
            for t in tensors
        ]
    classifier = layers.Classifier(self.classes, self.keep, name="classifier")
    return classifier(tensors[-1], dropout=dropout), None


def _stretched(arch: MacroArch, times: int) -> MacroArch:
  ops = np.repeat(arch.ops, times)
  skips = np.zeros((len(ops), len(ops)), np.int32)
  skips[:, ::times] = np.repeat(arch.skips, times, axis=0)
  return MacroArch(ops, skips)


class SharedLayer(nn.Module):
  """A layer of the shared network: every operation, one program.

  Every operation has weights of its own, the entry convolution included.
  """

  names: tuple[str, ...]

  @nn.compact
  def __call__(self, x: jax.Array, op, *, train: bool) -> jax.Array:
    """x[B, H, W, C] under operation `op`, an i32[] of jax or numpy."""
    del train  # both ways by the statistics of the batch
    c, every = x.shape[-1], len(self.names)

    def normed(x, what, count, row, eps):
      scale = self.param(f"scale_{what}", nn.initializers.ones, (count, c))
      offset = self.param(f"offset_{what}", nn.initializers.zeros, (count, c))
      y, _, _ = norm.batch_norm(x, scale[row], offset[row], eps)
      return jax.nn.relu(y)

    entry = self.param("entry", layers.he_normal(c), (every, c, c))
    x = normed(conv.pointwise(x, entry[op]), "entry", every, op, 1e-5)
    weights = {name: self._weights(name, c) for name in self.names}
    branches = tuple(functools.partial(_apply, name) for name in self.names)
    x = choose.choose(op, branches, x, weights)
    convolves = np.array(["conv" in name for name in self.names])
    if not convolves.any():
      return x
    # Outside of the choice: the gradient of a convolution does not need its
    # result, so that running the chosen branch again on the way back costs no
    # second convolution.
    row = jnp.asarray(np.maximum(np.cumsum(convolves) - 1, 0))[op]
    y = normed(x, "conv", convolves.sum(), row, _EPS)
    if isinstance(op, jax.Array):
      return jnp.where(jnp.asarray(convolves)[op], y, x)
    return y if convolves[op] else x

  def _weights(self, name: str, c: int):
    """Of one operation, from c channels to c; none for a pool."""
    size = int(name[-1])
    square, area = layers.he_normal(c), layers.he_normal(size**2)
    if "pool" in name:
      return ()
    if name.startswith("sep"):
      return (
          self.param(f"{name}_depthwise", area, (size, size, c)),
          self.param(f"{name}_pointwise", square, (c, c)),
      )
    full = layers.he_normal(size**2 * c)
    return (self.param(name, full, (size, size, c, c)),)


def _apply(name: str, x: jax.Array, weights) -> jax.Array:
  """An operation, without what stands before and behind it."""
  own = weights[name]
  match name.rpartition("_")[0]:
    case "conv":
      return conv.dense(x, *own)
    case "sep_conv":
      depthwise, pointwise = own
      return conv.pointwise(conv.depthwise(x, depthwise), pointwise)
    case "avg_pool":
      return pool.avg_pool(x)
    case "max_pool":
      return pool.max_pool(x)


class FinalLayer(nn.Module):
  """A layer of the final network: the one operation of that name.

  The reference's has no pools and full convolutions only (defects M2, M3).
  """

  operation: str
  plain_convs: bool

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    c, name = x.shape[-1], self.operation
    x = layers.Conv(c, 1, True)(jax.nn.relu(x), train=train)
    size = int(name[-1])
    if "pool" in name:
      return _apply(name, x, {name: ()})
    if name.startswith("sep") and not self.plain_convs:
      separable = layers.SeparableConv(c, size, 1, True, stacks=1)
      return separable(x, train=train)
    return layers.Conv(c, size, True)(jax.nn.relu(x), train=train)


class Merge(nn.Module):
  """Joins a layer's result and the tensors that its skip bits name."""

  concat: bool
  track: bool

  @nn.compact
  def __call__(self, x: jax.Array, tensors, bits, *, train: bool) -> jax.Array:
    """x and each of `tensors`: [B, H, W, C]; bits: i32[len(tensors)]."""
    c = x.shape[-1]
    if self.concat and self.track:
      read = [t for t, bit in zip(tensors, bits, strict=True) if bit]
      x = jax.nn.relu(jnp.concatenate([*read, x], -1))
      return layers.Conv(c, 1, True)(x, train=train)
    if self.concat:
      # One row a tensor; how many are read is not known here.
      shape = (len(tensors) + 1, c, c)
      mix = self.param("mix", layers.he_normal(c), shape)
      x = _mixed(x, mix[-1])
      for tensor, bit, row in zip(tensors, bits, mix[:-1], strict=True):
        x = choose.choose(bit, (_without, _with), (x, tensor), row)
    else:
      total = x.astype(jnp.float32)
      for tensor, bit in zip(tensors, bits, strict=True):
        if isinstance(bit, jax.Array):
          total += bit * tensor
        elif bit:
          total += tensor
      x = total.astype(x.dtype)
    return layers.BatchNorm(self.track)(x, train=train)


def _mixed(tensor, row):
  return conv.pointwise(jax.nn.relu(tensor), row)


def _without(x, row):
  """x[0], where bit 0 leaves the tensor x[1] out."""
  return x[0]


def _with(x, row):
  """x[0] and the tensor x[1], mixed by `row`."""
  return x[0] + _mixed(x[1], row)
