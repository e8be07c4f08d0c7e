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
"""

import dataclasses
import functools
import math
from typing import ClassVar, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.ops import cell as ops_cell
from enas_jax.ops import conv, drop, layers, norm, pool, size
from enas_jax.spaces import schedule as rows
from enas_jax.types import (
    Edge,
    Feed,
    Head,
    NO_ANCHOR,
    Preset,
    Schedule,
    Size,
)

OPERATIONS = (
    "sep_conv_3x3",
    "sep_conv_5x5",
    "avg_pool_3x3",
    "max_pool_3x3",
    "identity",
)
_INPUTS = 2  # states 0 and 1: the outputs of the two cells before

# Reference cifar10_micro_final.sh: the cells behind 2.89 % with Cutout.
_PUBLISHED = [0, 2, 0, 0, 0, 4, 0, 1, 0, 4, 1, 1, 1, 0, 0, 1, 0, 2, 1, 1]
_PUBLISHED += [1, 0, 1, 0, 0, 3, 0, 2, 1, 1, 3, 1, 1, 0, 0, 4, 0, 3, 1, 1]


class MicroArch(NamedTuple):
  """Two cells, i32[N, 4] each: input, operation, input, operation."""

  normal: jax.Array
  reduce: jax.Array


@dataclasses.dataclass(frozen=True)
class Micro:
  """The space of pairs of cells with `nodes` computed nodes.

  Attributes:
    nodes: N, computed nodes of a cell; 5 in the paper.
    index_scale: the tanh constant of the input choices.
    op_scale: the tanh constant of the operation choices, 1.10 / 2.5.
    saturated_prior: the reference's preference for separable convolutions:
      +-0.25 after the squashing in the normal cell, and a trainable bias that
      starts at 10, where tanh has no gradient, so it never trains. Off: the
      same initial probabilities by a constant, and a bias that trains from 0.
  """

  nodes: int = 5
  index_scale: float = 1.10
  op_scale: float = 0.44
  saturated_prior: bool = False

  presets: ClassVar = {"enas_micro": Preset({"nodes": 5}, _PUBLISHED)}

  @property
  def module(self) -> type:
    return MicroNetwork

  @functools.cached_property
  def schedule(self) -> Schedule:
    slots = max(self.nodes + 1, len(OPERATIONS))
    row = functools.partial(rows.row, slots)
    kept = 0.0 if self.saturated_prior else self.op_scale
    table = []
    for cell_bias in (0.25, 0.0):
      bias = [kept + cell_bias] * 2 + [-cell_bias] * 3
      table += [row(write=state) for state in range(_INPUTS)]
      for state in range(_INPUTS, self.nodes + _INPUTS):
        index = row(
            head=Head.ANCHOR,
            choices=state,
            scale=self.index_scale,
            feed=Feed.ANCHOR,
            feed_scale=[0.0] * _INPUTS,  # the cell's inputs feed zeros
        )
        op = row(
            head=Head.OP,
            choices=len(OPERATIONS),
            scale=self.op_scale,
            bias=bias,
            feed=Feed.OP,
        )
        last = state == self.nodes + _INPUTS - 1
        table += [index, index, op, op]
        table += [row(write=NO_ANCHOR if last else state)]
    op_bias = [10.0, 10.0, 0.0, 0.0, 0.0] if self.saturated_prior else [0.0] * 5
    return rows.table(table, op_bias)

  @functools.cached_property
  def _rows(self) -> np.ndarray:
    """i32[2, N, 4]: the controller step of every entry of the two tables."""
    sampled = np.array([0, 2, 1, 3])  # of input, op, input, op
    node = _INPUTS + 5 * np.arange(self.nodes)[:, None] + sampled
    return np.stack([node, node + _INPUTS + 5 * self.nodes])

  def decode(self, choices) -> MicroArch:
    return MicroArch(*jnp.argmax(choices[self._rows], -1).astype(jnp.int32))

  def encode(self, arch: MicroArch):
    steps, slots = self.schedule.mask.shape
    one_hot = jax.nn.one_hot(jnp.stack(arch), slots, dtype=bool)
    return jnp.zeros((steps, slots), bool).at[self._rows].set(one_hot)

  def flatten(self, arch: MicroArch) -> list[int]:
    return np.concatenate([np.ravel(table) for table in arch]).tolist()

  def unflatten(self, values: list[int]) -> MicroArch:
    size = 2 * self.nodes * 4
    if len(values) != size:
      raise ValueError(
          f"{size} integers make an architecture of {self.nodes} nodes, got"
          f" {len(values)}"
      )
    tables = np.asarray(values).reshape(2, self.nodes, 4)
    below = np.tile([0, len(OPERATIONS), 0, len(OPERATIONS)], (self.nodes, 1))
    below[:, ::2] = np.arange(self.nodes)[:, None] + _INPUTS
    wrong = np.argwhere((tables < 0) | (tables >= below))
    if len(wrong):
      which, node, column = wrong[0]
      what = "operation" if column % 2 else "input"
      raise ValueError(
          f"node {node + _INPUTS} of the"
          f" {MicroArch._fields[which]} cell: {what}"
          f" {tables[which, node, column]} is not one of"
          f" 0..{below[node, column] - 1}"
      )
    return MicroArch(*tables.astype(np.int32))

  def graphs(self, arch: MicroArch) -> dict[str, list[Edge]]:
    return {
        name: [
            Edge(node, source, OPERATIONS[op])
            for node, row in enumerate(np.asarray(table).tolist(), _INPUTS)
            for source, op in zip(row[0::2], row[1::2], strict=True)
        ]
        for name, table in zip(arch._fields, arch, strict=True)
    }

  def network(self, **hparams) -> nn.Module:
    return self.module(nodes=self.nodes, **hparams)

  def size(self, arch: MicroArch, network, image) -> Size:
    *sides, channels = image
    c, pixels, states = network.filters, math.prod(sides), self.nodes + _INPUTS
    base = size.conv(channels, 3 * c, 3, pixels)
    # Of the normal and the reduction cells: what there is for each number of
    # loose ends; for each side that reads a node, or an input, by its
    # operation; and for each input that is loose itself.
    ends = np.zeros((2, states + 1, 2), int)
    reads = np.zeros((2, 2, len(OPERATIONS), 2), int)
    inputs = np.zeros((2, 2), int)
    # Of the tensors that a cell gets: channels (for each number of loose
    # ends), pixels, and where it is counted what depends on that number.
    before = x = [3 * c], pixels, base[None]
    for index in range(network.cells + len(network.reductions)):
      kind = int(index in network.reductions)
      c *= 1 + kind
      for widths, own, where in (before, x):
        for number, width in enumerate(widths):
          if own != pixels or width != c:
            where[number] += size.conv(width, c, 1, pixels)
      base += size.conv(c, c, 1, pixels)
      if kind:
        sides = size.halved(*sides)
        pixels = math.prod(sides)
        shrink = size.conv(c, c, 1, pixels)
        reads[1, 1, OPERATIONS.index("identity")] += shrink
        inputs[1] += shrink
      for op, name in enumerate(OPERATIONS):
        if name.startswith("sep"):
          reads[kind, :, op] += 2 * size.separable(c, int(name[9]), pixels)
      widths = [c * number for number in range(states + 1)]
      before, x = x, (widths, pixels, ends[kind])
    for number, width in enumerate(widths):
      ends[kind, number] += size.classifier(width, network.classes)

    terms = []
    for kind, table in enumerate(arch):
      sources, ops = table[:, 0::2], table[:, 1::2]
      loose = ~size.one_hot(sources, states).any((0, 1))
      read = size.one_hot(sources < _INPUTS, 2)[..., None]
      chosen = read & size.one_hot(ops, len(OPERATIONS))[..., None, :]
      terms += [
          (ends[kind], size.one_hot(loose.sum(), states + 1)),
          (reads[kind], chosen.sum((0, 1))),
          (inputs[kind], loose[:_INPUTS].sum()),
      ]
    return size.total(base, *terms)


class MicroNetwork(nn.Module):
  """A convolutional network of micro cells.

  Attributes:
    classes: number of classes.
    final: the network of the final training instead of the shared one. It
      takes a numpy architecture and tracks moving averages for evaluation.
    nodes: N.
    cells: n normal cells; with the two reductions, n + 2 in all.
    filters: channels of the first cells; doubled at each reduction.
    keep: keep probability of the dropout before the classifier.
    drop_path_keep: keep probability of the last cell's paths at the end of
      the final training; the reference passes it to the search, unused.
    aux: whether there is an auxiliary head.
    row_fan_in: initialise a table by its number of rows, as the reference.
    dtype: of the computation; weights, statistics and the classifier are
      float32.
  """

  classes: int
  final: bool = False
  nodes: int = 5
  cells: int = 6
  filters: int = 20
  keep: float = 0.9
  drop_path_keep: float = 1.0
  aux: bool = True
  row_fan_in: bool = False
  dtype: str = "float32"

  @property
  def reductions(self) -> tuple[int, int]:
    """The numbers of the reduction cells."""
    return self.cells // 3, 2 * (self.cells // 3) + 1

  @nn.compact
  def __call__(
      self,
      images: jax.Array,
      arch: MicroArch,
      *,
      train: bool,
      dropout: bool | None = None,
      progress: jax.Array | float = 0.0,
  ) -> tuple[jax.Array, jax.Array | None]:
    """Class logits of `images` under `arch`.

    Args:
      images: f32[B, H, W, C], normalised.
      arch: of jax arrays (one program for all) or of numpy arrays (only what
        is chosen is built).
      train: moving averages, drop-path and the auxiliary head.
      dropout: whether features are dropped; by default as `train`. Randomness
        comes from the "dropout" stream.
      progress: fraction of the training that is done, for drop-path.

    Returns:
      logits f32[B, classes], auxiliary logits or None.
    """
    dropout = train if dropout is None else dropout
    reductions = self.reductions
    channels = self.filters
    images = images.astype(self.dtype)
    x = layers.Conv(3 * channels, 3, self.final)(images, train=train)
    before, aux = x, None
    for index in range(self.cells + 2):
      reduce = index in reductions
      channels *= 2 if reduce else 1
      table = arch.reduce if reduce else arch.normal
      if self.final:
        decay = progress * (index + 1) / (self.cells + 2)
        y = FinalCell(
            channels,
            stride=2 if reduce else 1,
            keep=1.0 - decay * (1.0 - self.drop_path_keep),
            drop_path=train and self.drop_path_keep < 1.0,
            name=f"cell_{index}",
        )(before, x, table, train=train)
      else:
        if reduce:
          shrink = layers.FactorizedReduction(channels, False)
          before, x = x, shrink(x, train=train)
        y = SharedCell(channels, self.row_fan_in, name=f"cell_{index}")(
            before, x, table, train=train
        )
      before, x = x, y
      if self.aux and train and index == reductions[1] + 1:
        head = layers.AuxiliaryHead(self.classes, self.final, name="aux")
        aux = head(x, train=train)
    logits = layers.Classifier(self.classes, self.keep, name="classifier")(
        jax.nn.relu(x), dropout=dropout
    )
    return logits, aux


class _Calibrate(nn.Module):
  """Brings the two inputs of a cell to one size and `channels`."""

  channels: int
  track: bool

  @nn.compact
  def __call__(self, before, x, *, train: bool):
    c = self.channels
    if before.shape[1:3] != x.shape[1:3]:
      shrink = layers.FactorizedReduction(c, self.track)
      before = shrink(jax.nn.relu(before), train=train)
    elif before.shape[-1] != c:
      before = layers.Conv(c, 1, self.track)(jax.nn.relu(before), train=train)
    if x.shape[-1] != c:
      x = layers.Conv(c, 1, self.track)(jax.nn.relu(x), train=train)
    return before, x


class SharedCell(nn.Module):
  """A cell of the shared network: every operation, one program.

  Weights are tables over (node, input read): node k has k + 2 rows, and two
  sides with weights of their own.
  """

  channels: int
  row_fan_in: bool

  @nn.compact
  def __call__(self, before, x, table, *, train: bool) -> jax.Array:
    c, nodes = self.channels, table.shape[0]
    states = nodes + _INPUTS
    before, x = _Calibrate(c, False)(before, x, train=train)
    sources, ops = table[:, 0::2], table[:, 1::2]  # i32[N, 2] each

    counts = np.arange(nodes) + _INPUTS
    row = (np.cumsum(counts) - counts)[:, None] + sources
    # Of the faithful initialiser: the rows of each row's own table.
    per_row = np.repeat(counts, counts)[:, None, None]

    def tables(name, init, fan_in, shape):
      """[rows, 2 sides, 2 stacks, *shape], read at the chosen inputs."""
      if init is None:
        fan_in = per_row if self.row_fan_in else np.full((1, 1, 1), fan_in)
        trailing = [1] * len(shape)
        init = layers.he_normal(fan_in.reshape(*fan_in.shape, *trailing))
      full = self.param(name, init, (counts.sum(), 2, 2, *shape))
      return full[row, np.arange(2)]

    weights = {
        f"conv{k}": {
            "depthwise": tables(f"depthwise_{k}", None, k * k, (k, k, c)),
            "pointwise": tables(f"pointwise_{k}", None, c, (c, c)),
            "scale": tables(f"scale_{k}", nn.initializers.ones, 1, (c,)),
            "offset": tables(f"offset_{k}", nn.initializers.zeros, 1, (c,)),
        }
        for k in (3, 5)
    }
    # One loose end's slice is c wide; how many are loose is not known here.
    mix_init = layers.he_normal(states if self.row_fan_in else c)
    mix = self.param("mix", mix_init, (states, c, c))
    out = ops_cell.cell(_BRANCHES, weights, mix, (before, x), sources, ops)
    return layers.BatchNorm(False)(out, train=train)


def _separable(name: str, x: jax.Array, weights) -> jax.Array:
  w = weights[name]
  for stack in range(2):
    x = conv.depthwise(jax.nn.relu(x), w["depthwise"][stack])
    x = conv.pointwise(x, w["pointwise"][stack])
    x, _, _ = norm.batch_norm(x, w["scale"][stack], w["offset"][stack])
  return x


# In the order of OPERATIONS; see `ops.cell`. The way back runs the separable
# convolutions again: on the CPU to keep them took longer, and twice the memory.
_BRANCHES = (
    functools.partial(_separable, "conv3"),
    functools.partial(_separable, "conv5"),
    lambda x, weights: pool.avg_pool(x),
    lambda x, weights: pool.max_pool(x),
    lambda x, weights: x,
)


class FinalCell(nn.Module):
  """A cell of the final network: only what the architecture chose.

  Attributes:
    channels: of every node.
    stride: 2 in a reduction cell, on the operations that read an input.
    keep: keep probability of a path.
    drop_path: whether paths are dropped; identities never are.
  """

  channels: int
  stride: int
  keep: jax.Array | float
  drop_path: bool

  @nn.compact
  def __call__(self, before, x, table, *, train: bool) -> jax.Array:
    c = self.channels
    before, x = _Calibrate(c, True)(before, x, train=train)
    # The counterpart of the search's mixing of loose ends: the reference
    # projects input 1 always, though its channels are right by now.
    x = layers.Conv(c, 1, True)(jax.nn.relu(x), train=train)
    states = [before, x]
    for node in np.asarray(table).tolist():
      sides = zip(node[0::2], node[1::2], strict=True)
      states.append(sum(
          self._apply(states[source], op, source, train) for source, op in sides
      ))
    used = set(np.asarray(table)[:, 0::2].ravel().tolist())
    ends = [s for i, s in enumerate(states) if i not in used]
    height = min(end.shape[1] for end in ends)
    ends = [
        end
        if end.shape[1] == height
        else layers.FactorizedReduction(c, True)(end, train=train)
        for end in ends
    ]
    return jnp.concatenate(ends, -1)

  def _apply(self, x, op: int, source: int, train: bool) -> jax.Array:
    stride = self.stride if source < _INPUTS else 1
    match OPERATIONS[op]:
      case "identity":
        if stride == 1:
          return x
        return layers.FactorizedReduction(self.channels, True)(x, train=train)
      case "sep_conv_3x3" | "sep_conv_5x5" as name:
        y = layers.SeparableConv(self.channels, int(name[-1]), stride, True)(
            x, train=train
        )
      case "avg_pool_3x3":
        y = pool.avg_pool(x, stride)
      case "max_pool_3x3":
        y = pool.max_pool(x, stride)
    if self.drop_path:
      y = drop.drop_path(self.make_rng("dropout"), y, self.keep)
    return y
