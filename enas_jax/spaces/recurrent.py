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

from enas_jax.errors import ConfigError
from enas_jax.ops import reader, recurrent
from enas_jax.spaces import schedule as rows
from enas_jax.types import Edge, Feed, Head, NO_ANCHOR, Preset, Schedule

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
    nodes: as the dialect counts them: lm, those after the first; 2018, all, so
      two at least.
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
    if self._later == 0:
      raise ConfigError(
          "nodes",
          f"must be >= 2 where the first counts (dialect {self.dialect!r}), got"
          f" {self.nodes}.",
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

  def graphs(self, arch: RecurrentArch) -> dict[str, list[Edge]]:
    sources = ["word, state", *np.asarray(arch.sources).tolist()]
    ops = [OPERATIONS[op] for op in np.asarray(arch.ops)]
    return {"node": list(map(Edge, range(len(ops)), sources, ops))}

  def network(self, **hparams) -> nn.Module:
    return self.module(later=self._later, **hparams)


class RecurrentNetwork(reader.Reader):
  """A language model of one searched cell.

  Attributes, next to those of `Reader`:
    later: nodes after the first.
    final: only the weights that an architecture reads.
    loose: the output is the mean of the nodes that no other reads, the first
      one included; off: of all nodes but the first.
  """

  later: int = 8
  final: bool = False
  loose: bool = False

  def reads(self, arch: RecurrentArch) -> dict[str, jax.Array]:
    if self.final:
      return {}
    # Of node n, activation f and source j: row start[n] + f n + j.
    sources = np.arange(1, self.later + 1)
    start = len(OPERATIONS) * (np.cumsum(sources) - sources)
    return {"nodes": start + arch.ops[1:] * sources + arch.sources}

  @property
  def child(self) -> nn.Module:
    return self.clone(final=True)

  def read(self, x, arch: RecurrentArch, carry, *, train: bool):
    h, batch, later = self.hidden, x.shape[1], self.later
    first = self.weight("first", 2 * h, 2 * h)
    if self.final:
      nodes = self.weight("nodes", later, h, 2 * h)
    else:
      count = len(OPERATIONS) * later * (later + 1) // 2
      table = self.weight("nodes", count, h, 2 * h)
      nodes = reader.take(table, self.reads(arch)["nodes"])
    keep = functools.partial(self.mask, train, self.weight_keep)
    states = recurrent.run(
        x,
        carry.astype(x.dtype),
        self.mask(train, self.state_keep, batch, h).astype(x.dtype),
        first.at[h:].multiply(keep(h, 2 * h)),
        nodes * keep(later, h, 2 * h),
        arch.sources,
        arch.ops,
        self._mix(arch),
    )
    return states, states, (first**2).sum() + (nodes**2).sum()

  def _mix(self, arch: RecurrentArch) -> jax.Array:
    """f32[N], the share of each node in the output."""
    count = self.later + 1
    if not self.loose:
      return jnp.where(jnp.arange(count) > 0, 1 / self.later, 0.0)
    read = jnp.zeros(count, bool).at[jnp.asarray(arch.sources)].set(True)
    return ~read / (~read).sum()
