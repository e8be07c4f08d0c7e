"""The recurrent search space: one cell of a language model (ENAS §2.1).

Node 0 reads the word and the state before, every later node one earlier node,
each through an activation of its own and a gate; `ops/recurrent.py` has the
equations. Weights of the shared network are apart for every node, node read
and activation. This is the cell of the authors' corrected code (enas_lm); they
declare that of 2018 wrong, whose batch norm in the cell, activation-wise first
matrix and word dropout are not built: its published architecture trains
without the first two in the reference, too.

Two dialects of integers are in use, and they number the activations
differently:

  lm    node, activation for each node but the first (16 for 8 nodes);
        0 tanh, 1 relu, 2 sigmoid, 3 identity; node 0 is always tanh
  2018  activation of the first, then node, activation (23 for 12 nodes);
        0 tanh, 1 relu, 2 identity, 3 sigmoid

Parameters with a vocabulary of 10,000 are the reference's: shared, 200 units,
8 nodes: 13,680,000, 9 nodes: 16,560,000; final, lm, 8 nodes, 800 units:
20,800,000, 850 units: 22,950,000; final, 2018, 12 nodes, 748 units: 22,027,104.
"""

import dataclasses
import functools
from typing import ClassVar, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.ops import recurrent
from enas_jax.spaces import schedule as rows
from enas_jax.types import (
    ConfigError,
    Feed,
    Head,
    NO_ANCHOR,
    Preset,
    Schedule,
)

OPERATIONS = tuple(recurrent.ACTIVATIONS)
# Of each number in a dialect, the number here.
_NUMBERS = {"lm": np.array([0, 1, 2, 3]), "2018": np.array([0, 1, 3, 2])}

# Reference enas_lm README, and ptb_final.sh of 2018.
_ENAS = [0, 2, 1, 0, 2, 1, 2, 2, 4, 0, 5, 0, 3, 2, 6, 2]
_DARTS = [0, 2, 1, 1, 1, 1, 1, 3, 2, 0, 5, 2, 3, 0, 5, 1]
_ENAS_2018 = [0, 0, 0, 1, 1, 2, 1, 2, 0, 2, 0, 5, 1, 1, 0, 6, 1, 8, 1, 8, 1]
_ENAS_2018 += [8, 1]


class RecurrentArch(NamedTuple):
  """A cell of N nodes, the first of which reads the word."""

  ops: jax.Array  # i32[N], numbers of OPERATIONS
  sources: jax.Array  # i32[N - 1], the node that node 1, 2, ... reads


@dataclasses.dataclass(frozen=True)
class Recurrent:
  """The space of cells.

  Attributes:
    nodes: as the dialect counts them: lm, those after the first; 2018, all.
    dialect: of the integers, and whether the first activation is chosen.
    scale: the tanh constant of all choices; 2.5 in 2018.
  """

  nodes: int = 8
  dialect: str = "lm"
  scale: float = 2.25

  presets: ClassVar = {
      "enas_lm": Preset({"nodes": 8, "dialect": "lm"}, _ENAS),
      "darts_lm": Preset({"nodes": 8, "dialect": "lm"}, _DARTS),
      "enas_2018": Preset({"nodes": 12, "dialect": "2018"}, _ENAS_2018),
  }

  def __post_init__(self):
    if self.dialect not in _NUMBERS:
      raise ConfigError(
          "dialect",
          f"unknown dialect {self.dialect!r}. Choices: {', '.join(_NUMBERS)}.",
      )

  @property
  def module(self) -> type:
    return RecurrentNetwork

  @property
  def _later(self) -> int:
    """The number of nodes after the first."""
    return self.nodes - (self.dialect == "2018")

  @functools.cached_property
  def schedule(self) -> Schedule:
    row = functools.partial(rows.row, max(self._later, len(OPERATIONS)))
    op = row(
        head=Head.OP,
        choices=len(OPERATIONS),
        scale=self.scale,
        feed=Feed.OP,
    )
    # Slot 0 stands for the first node: zeros in lm, as nothing decided it.
    table = [row(write=0), op] if self.dialect == "2018" else []
    for node in range(1, self._later + 1):
      away = node - np.arange(node)
      source = row(
          head=Head.ANCHOR,
          choices=node,
          scale=self.scale,
          bias=-(away**2) / 6,  # the nearer, the likelier
          write=node if node < self._later else NO_ANCHOR,
          feed=Feed.ANCHOR,
          feed_scale=1 / (0.1 + away),
      )
      table += [source, op]
    return rows.table(table, tied=self.dialect == "lm")

  def decode(self, choices) -> RecurrentArch:
    picked = jnp.argmax(choices, -1).astype(jnp.int32)
    if self.dialect == "2018":
      return RecurrentArch(picked[1::2], picked[2::2])
    ops = jnp.concatenate([jnp.zeros(1, jnp.int32), picked[1::2]])
    return RecurrentArch(ops, picked[0::2])

  def encode(self, arch: RecurrentArch):
    steps, slots = self.schedule.mask.shape
    one_hot = functools.partial(jax.nn.one_hot, num_classes=slots, dtype=bool)
    choices = jnp.zeros((steps, slots), bool)
    first = 2 if self.dialect == "2018" else 0
    ops = jnp.asarray(arch.ops)[0 if first else 1 :]
    choices = choices.at[first::2].set(one_hot(jnp.asarray(arch.sources)))
    return choices.at[1::2].set(one_hot(ops))

  def flatten(self, arch: RecurrentArch) -> list[int]:
    ops = np.argsort(_NUMBERS[self.dialect])[np.asarray(arch.ops)]
    pairs = np.stack([np.asarray(arch.sources), ops[1:]], 1).ravel().tolist()
    return [int(ops[0]), *pairs] if self.dialect == "2018" else pairs

  def unflatten(self, values: list[int]) -> RecurrentArch:
    lead = self.dialect == "2018"
    size = 2 * self._later + lead
    if len(values) != size:
      raise ValueError(
          f"{size} integers make a cell of {self.nodes} nodes in the dialect"
          f" {self.dialect!r} (config.space.dialect), got {len(values)}"
      )
    sources, ops = values[lead::2], values[1 - lead :: 2]
    for node, source in enumerate(sources, 1):
      if not 0 <= source < node:
        raise ValueError(
            f"node {node} reads node {source}, not one of 0..{node - 1}"
        )
    for op in ops:
      if not 0 <= op < len(OPERATIONS):
        raise ValueError(
            f"activation {op} is not one of 0..{len(OPERATIONS) - 1}"
        )
    ops = _NUMBERS[self.dialect][ops if lead else [0, *ops]]
    return RecurrentArch(
        ops.astype(np.int32), np.asarray(sources, np.int32)
    )

  def describe(self, arch: RecurrentArch) -> list[str]:
    ops = [OPERATIONS[op] for op in np.asarray(arch.ops)]
    later = zip(ops[1:], np.asarray(arch.sources), strict=True)
    lines = [f"node 0 = {ops[0]}(word, state)"]
    lines += [f"node {n} = {op}({j})" for n, (op, j) in enumerate(later, 1)]
    return lines

  def network(self, **hparams) -> nn.Module:
    return self.module(later=self._later, **hparams)


class Reading(NamedTuple):
  """What a network made of a segment."""

  logits: jax.Array  # f32[B, S, V], of the next words
  states: jax.Array  # f32[B, S, H], before the output's dropout
  squares: jax.Array  # f32[], sum of squares of the cell's weights in use


class RecurrentNetwork(nn.Module):
  """A language model of one searched cell, with tied embeddings.

  Every dropout keeps one mask for the whole segment. The masks and rates are
  those of enas_lm; nothing is dropped in evaluation.

  Attributes:
    vocabulary: V.
    later: nodes after the first.
    final: only the weights that a numpy architecture chose.
    hidden: H, of the cell and the embedding.
    loose: the output is the mean of the nodes that no other reads, the first
      one included; off: of all nodes but the first.
    init_range: all weights start uniform within it.
    word_keep: of whole rows of the embedding matrix, for the input only.
    embedded_keep: of the embedded input.
    input_keep: of the input of the first node; acts on top of the one before.
    state_keep: of every state and node where it enters a product.
    weight_keep: of the weights of these products.
    output_keep: of the output.
  """

  vocabulary: int
  later: int
  final: bool = False
  hidden: int = 200
  loose: bool = False
  init_range: float = 0.04
  word_keep: float = 0.9
  embedded_keep: float = 0.8
  input_keep: float = 0.25
  state_keep: float = 0.75
  weight_keep: float = 1.0
  output_keep: float = 0.25

  @nn.compact
  def __call__(
      self,
      words: jax.Array,
      arch: RecurrentArch,
      state: jax.Array,
      *,
      train: bool,
  ) -> Reading:
    """Reads a segment.

    Args:
      words: i32[B, S].
      arch: of jax arrays (one program for all) or of numpy arrays.
      state: f32[B, H], after the words before.
      train: dropout, from the "dropout" stream.
    """
    h, batch = self.hidden, len(words)

    def weight(name, *shape):
      init = nn.initializers.uniform(2 * self.init_range)
      centred = lambda *args: init(*args) - self.init_range  # noqa: E731
      return self.param(name, centred, shape)

    def mask(keep, *shape):
      if not train or keep == 1.0:
        return jnp.ones(shape)
      kept = jax.random.bernoulli(self.make_rng("dropout"), keep, shape)
      return kept / keep

    embedding = weight("embedding", self.vocabulary, h)
    first = weight("first", 2 * h, 2 * h)
    if self.final:
      nodes = weight("nodes", self.later, h, 2 * h)
    else:
      # Of node n, activation f and source j: row start[n] + f n + j.
      reads = np.arange(1, self.later + 1)
      ends = np.cumsum(reads * len(OPERATIONS))
      start = ends - reads * len(OPERATIONS)
      table = weight("nodes", int(ends[-1]), h, 2 * h)
      nodes = table[start + arch.ops[1:] * reads + arch.sources]
    squares = (first**2).sum() + (nodes**2).sum()

    x = (embedding * mask(self.word_keep, self.vocabulary, 1))[words]
    x *= mask(self.embedded_keep, batch, 1, h)
    x *= mask(self.input_keep, batch, 1, h)
    outputs = recurrent.run(
        jnp.swapaxes(x @ first[:h], 0, 1),
        state,
        mask(self.state_keep, batch, h),
        first[h:] * mask(self.weight_keep, h, 2 * h),
        nodes * mask(self.weight_keep, self.later, h, 2 * h),
        arch.sources,
        arch.ops,
        self._mix(arch),
    )
    states = jnp.swapaxes(outputs, 0, 1)
    out = states * mask(self.output_keep, batch, 1, h)
    return Reading(out @ embedding.T, states, squares)

  def _mix(self, arch: RecurrentArch) -> jax.Array:
    """f32[N], the share of each node in the output."""
    count = self.later + 1
    if not self.loose:
      return jnp.where(jnp.arange(count) > 0, 1 / self.later, 0.0)
    read = jnp.zeros(count, bool).at[jnp.asarray(arch.sources)].set(True)
    return ~read / (~read).sum()
