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
"""

from collections.abc import Callable
import dataclasses
import functools
import math
from typing import ClassVar, NamedTuple

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from enas_jax.ops import conv, layers, norm, pool, size
from enas_jax.spaces import schedule as rows
from enas_jax.types import Edge, Feed, Head, Preset, Schedule, Size

# In the benchmark's order.
OPERATIONS = (
    "none",
    "skip_connect",
    "nor_conv_1x1",
    "nor_conv_3x3",
    "avg_pool_3x3",
)
_NONE = OPERATIONS.index("none")
_CONVOLUTIONS = [n for n, name in enumerate(OPERATIONS) if "conv" in name]
# (node, the node that it reads), in the order of the integers.
EDGES = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))


class NasBench201Arch(NamedTuple):
  """One cell: the operation of each edge."""

  ops: jax.Array  # i32[6]


@dataclasses.dataclass(frozen=True)
class NasBench201:
  """The space of the benchmark's cells.

  Attributes:
    scale: the tanh constant of all choices; 0: none.
  """

  scale: float = 5.0

  presets: ClassVar = {
      # The best on CIFAR-10, by validation and test: 94.37 %.
      "nasbench201_best": Preset({}, [3, 3, 3, 1, 3, 2]),
      # The residual block of a ResNet (AutoDL-Projects, ResNet_CODE): 93.91 %.
      "nasbench201_resnet": Preset({}, [3, 0, 3, 1, 0, 1]),
  }

  @property
  def module(self) -> type:
    return NasBench201Network

  @functools.cached_property
  def schedule(self) -> Schedule:
    count = len(OPERATIONS)
    row = rows.row(
        count, head=Head.OP, choices=count, scale=self.scale, feed=Feed.OP
    )
    return rows.table([row] * len(EDGES), [0.0] * count)

  def decode(self, choices) -> NasBench201Arch:
    return NasBench201Arch(jnp.argmax(choices, -1).astype(jnp.int32))

  def encode(self, arch: NasBench201Arch):
    return jax.nn.one_hot(arch.ops, len(OPERATIONS), dtype=bool)

  def flatten(self, arch: NasBench201Arch) -> list[int]:
    return np.asarray(arch.ops).tolist()

  def unflatten(self, values: list[int]) -> NasBench201Arch:
    if len(values) != len(EDGES):
      raise ValueError(
          f"{len(EDGES)} integers make a cell, got {len(values)}"
      )
    for (node, source), value in zip(EDGES, values, strict=True):
      if not 0 <= value < len(OPERATIONS):
        raise ValueError(
            f"node {node} reads node {source} by operation {value}, which is"
            f" not one of 0..{len(OPERATIONS) - 1}"
        )
    return NasBench201Arch(np.array(values, np.int32))

  def parse(self, text: str) -> list[int] | None:
    """The integers of the benchmark's own notation, `|op~0|+|op~0|op~1|+...`.

    Returns:
      None where the text is no such thing.

    Raises:
      ValueError: it is one, but of no cell of this space.
    """
    text = "".join(text.split())
    if not text.startswith("|"):
      return None
    words = [word for word in text.replace("+", "").split("|") if word]
    values = [
        OPERATIONS.index(name) if name in OPERATIONS else -1
        for name in (word.partition("~")[0] for word in words)
    ]
    if -1 in values:
      wrong = words[values.index(-1)].partition("~")[0]
      raise ValueError(
          f"no operation {wrong!r}; there are {', '.join(OPERATIONS)}"
      )
    if len(values) != len(EDGES) or text != self.notation(values):
      raise ValueError(
          f"{text!r} is not of the form"
          f" {self.notation([0] * len(EDGES)).replace('none', 'op')}"
      )
    return values

  def notation(self, values: list[int]) -> str:
    """The benchmark's own notation of six integers."""
    nodes = [
        "".join(
            f"{OPERATIONS[value]}~{source}|"
            for (target, source), value in zip(EDGES, values, strict=True)
            if target == node
        )
        for node in (1, 2, 3)
    ]
    return "+".join("|" + node for node in nodes)

  def graphs(self, arch: NasBench201Arch) -> dict[str, list[Edge]]:
    return {
        "node": [
            Edge(node, source, OPERATIONS[value])
            for (node, source), value in zip(
                EDGES, self.flatten(arch), strict=True
            )
        ]
    }

  def network(self, **hparams) -> nn.Module:
    return self.module(**hparams)

  def size(self, arch: NasBench201Arch, network, image) -> Size:
    *sides, channels = image
    c, pixels = network.filters, math.prod(sides)
    base = size.conv(channels, c, 3, pixels)
    edges = np.zeros((len(OPERATIONS), 2), int)
    for stage in range(3):
      if stage:
        sides, inputs, c = size.halved(*sides), c, 2 * c
        pixels = math.prod(sides)
        base += size.conv(inputs, c, 3, pixels) + size.conv(c, c, 3, pixels)
        base += size.pointwise(inputs, c, pixels)
      for op, name in enumerate(OPERATIONS):
        if "conv" in name:
          edges[op] += network.cells * size.conv(c, c, int(name[-1]), pixels)
    base += size.norm(c) + size.classifier(c, network.classes, bias=True)
    return size.total(base, (edges, size.one_hot(arch.ops, len(edges))))


class NasBench201Network(nn.Module):
  """Three stages of cells, and a residual block before the last two.

  Attributes:
    classes: number of classes.
    final: the network of the final training instead of the shared one. It
      takes a numpy architecture and tracks moving averages for evaluation.
    cells: N, cells of a stage; 5 in the benchmark.
    filters: channels of the first stage; 16 in the benchmark.
    affine: whether the batch norms of the shared network have a scale and an
      offset, as those of the final network always do. Shared weights rank
      better without; the benchmark's own searches have none in their cells.
    dtype: of the computation; weights, statistics and the classifier are
      float32.
  """

  classes: int
  final: bool = False
  cells: int = 5
  filters: int = 16
  affine: bool = False
  dtype: str = "float32"

  @nn.compact
  def __call__(
      self,
      images: jax.Array,
      arch: NasBench201Arch,
      *,
      train: bool,
      dropout: bool | None = None,
      progress: jax.Array | float = 0.0,
  ) -> tuple[jax.Array, None]:
    """Class logits of `images` under `arch`.

    Args:
      images: f32[B, H, W, C], normalised.
      arch: of jax arrays (one program for all) or of numpy arrays (only what
        is chosen is run).
      train: whether moving averages move.
      dropout: there is none.
      progress: nothing depends on it.

    Returns:
      logits f32[B, classes]; None, there is no auxiliary head.
    """
    del dropout, progress
    images = images.astype(self.dtype)
    affine = self.affine or self.final
    x = layers.Conv(self.filters, 3, self.final, affine=affine)(
        images, train=train
    )
    cell = FinalCell if self.final else functools.partial(SharedCell, affine)
    for stage in range(3):
      channels = self.filters * 2**stage
      if stage:
        block = Reduction(
            channels, self.final, affine, name=f"reduction_{stage}"
        )
        x = block(x, train=train)
      for n in range(self.cells):
        x = cell(name=f"cell_{stage}_{n}")(x, arch.ops, train=train)
    x = jax.nn.relu(layers.BatchNorm(self.final, affine)(x, train=train))
    head = layers.Classifier(self.classes, bias=True, name="classifier")
    return head(x), None


class Reduction(nn.Module):
  """The residual block that halves the image (Dong & Yang 2020, §2.1)."""

  channels: int
  track: bool
  affine: bool

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    c = self.channels
    conv_norm = functools.partial(
        layers.Conv, c, 3, self.track, affine=self.affine
    )
    y = conv_norm(stride=2)(jax.nn.relu(x), train=train)
    y = conv_norm()(jax.nn.relu(y), train=train)
    kernel = self.param(
        "kernel", layers.he_normal(x.shape[-1]), (x.shape[-1], c)
    )
    # Where a side is odd, its last window has what is there.
    odd = [(0, size % 2) for size in x.shape[1:3]]
    x = jnp.pad(x, ((0, 0), *odd, (0, 0)), mode="edge")
    return y + conv.pointwise(pool.avg_pool_valid(x, 2, 2), kernel)


class SharedCell(nn.Module):
  """A cell of the shared network: tables of weights, a row for each edge."""

  affine: bool

  @nn.compact
  def __call__(self, x: jax.Array, ops, *, train: bool) -> jax.Array:
    del train
    c, edges = x.shape[-1], len(EDGES)

    def norm_weights(name):
      ones, zeros = nn.initializers.ones, nn.initializers.zeros
      return {
          "scale": self.param(f"scale_{name}", ones, (edges, c)),
          "offset": self.param(f"offset_{name}", zeros, (edges, c)),
      }

    weights = {
        name: {
            "kernel": self.param(
                f"kernel_{name}",
                layers.he_normal(np.prod(window, initial=c)),
                (edges, *window, c, c),
            ),
            **(norm_weights(name) if self.affine else {}),
        }
        for name, window in (("1", ()), ("3", (3, 3)))
    }
    ops = needed(ops, self.affine)

    def edge(e, x):
      w = jax.tree.map(lambda leaf: leaf[e], weights)
      if isinstance(ops, jax.Array):
        return _chosen(ops[e], x, w)
      return _OPERATIONS[ops[e]].whole(x, w)

    return _summed(edge, x)


def needed(ops, affine: bool):
  """The cell without what adds nothing to its output, i32[6], jax or numpy.

  An edge to a node that is read by `none` alone becomes `none` itself, and so
  does one from a node that only `none` makes, unless it is a convolution whose
  batch norm has an offset: the compiler sees that in a fixed cell, in a
  searched one it has to be told.
  """
  xp = jnp if isinstance(ops, jax.Array) else np
  full, adds = {0: xp.asarray(True)}, []
  for (node, source), op in zip(EDGES, ops, strict=True):
    offset = affine & xp.isin(op, np.array(_CONVOLUTIONS))
    adds.append((op != _NONE) & (full[source] | offset))
    full[node] = full.get(node, False) | adds[-1]
  read, kept = {3: True}, []
  for (node, source), some in reversed(list(zip(EDGES, adds, strict=True))):
    kept.append(some & read[node])
    read[source] = read.get(source, False) | kept[-1]
  return xp.where(xp.stack(kept[::-1]), ops, _NONE)


def _summed(edge, x):
  """Node 3 of the graph whose node 0 is x; edge(e, source) -> what e adds."""
  nodes = {0: x}
  for e, (node, source) in enumerate(EDGES):
    y = edge(e, nodes[source])
    nodes[node] = nodes[node] + y if node in nodes else y
  return nodes[3]


class _Operation(NamedTuple):
  """An operation of the shared network on x[B, H, W, C].

  Attributes:
    whole: (x, weights) -> what an edge adds, [B, H, W, C].
    forward: (x, weights) -> (y, slope, shift): y * slope + shift is that, with
      slope and shift f32[C].
    backward: (x, weights, y, cotangent of what is added) -> cotangents of x
      and of the weights.
  """

  whole: Callable
  forward: Callable
  backward: Callable


def _plain(function) -> _Operation:
  """Without weights."""

  def whole(x, weights):
    del weights
    return function(x)

  def forward(x, weights):
    c = x.shape[-1]
    return whole(x, weights), jnp.ones(c), jnp.zeros(c)

  def backward(x, weights, y, g):
    del y
    return jax.vjp(whole, x, weights)[1](g)

  return _Operation(whole, forward, backward)


def _convolution(name: str, convolve) -> _Operation:
  """ReLU, convolution, batch norm."""

  def convolved(x, weights):
    return convolve(jax.nn.relu(x), weights[name]["kernel"])

  def affine(weights, y):
    w, c = weights[name], y.shape[-1]
    return w.get("scale", jnp.ones(c)), w.get("offset", jnp.zeros(c))

  def normalised(y, weights):
    return norm.batch_norm(y, *affine(weights, y))[0]

  def whole(x, weights):
    return normalised(convolved(x, weights), weights)

  def forward(x, weights):
    y = convolved(x, weights)
    return y, *norm.line(*norm.moments(y), *affine(weights, y))

  def backward(x, weights, y, g):
    # With y at hand XLA drops the convolution of `jax.vjp`: nothing reads it.
    dy, of_norm = jax.vjp(normalised, y, weights)[1](g)
    dx, of_kernel = jax.vjp(convolved, x, weights)[1](dy)
    return dx, jax.tree.map(jnp.add, of_norm, of_kernel)

  return _Operation(whole, forward, backward)


# In the order of OPERATIONS.
_OPERATIONS = (
    _plain(jnp.zeros_like),
    _plain(lambda x: x),
    _convolution("1", conv.pointwise),
    _convolution("3", conv.dense),
    _plain(pool.avg_pool),
)


@jax.custom_vjp
def _chosen(op, x, weights):
  """What an edge of operation `op`, an i32[] of jax, adds.

  With its own gradient, since autodiff of a switch saves what every branch
  needs. Slope and shift are applied outside of the choice, where XLA makes
  them one loop with the node's sum.
  """
  return _chosen_fwd(op, x, weights)[0]


def _chosen_fwd(op, x, weights):
  branches = [operation.forward for operation in _OPERATIONS]
  y, slope, shift = lax.switch(op, branches, x, weights)
  return norm.along(y, slope, shift), (op, x, weights, y)


def _chosen_bwd(residuals, g):
  op, x, weights, y = residuals
  branches = [operation.backward for operation in _OPERATIONS]
  return None, *lax.switch(op, branches, x, weights, y, g)


_chosen.defvjp(_chosen_fwd, _chosen_bwd)


class FinalCell(nn.Module):
  """A cell of the final network: only what the architecture chose."""

  @nn.compact
  def __call__(self, x: jax.Array, ops, *, train: bool) -> jax.Array:

    def edge(e, x):
      match name := OPERATIONS[ops[e]]:
        case "none":
          return jnp.zeros_like(x)
        case "skip_connect":
          return x
        case "avg_pool_3x3":
          return pool.avg_pool(x)
      layer = layers.Conv(x.shape[-1], int(name[-1]), True, name=f"edge_{e}")
      return layer(jax.nn.relu(x), train=train)

    return _summed(edge, x)
