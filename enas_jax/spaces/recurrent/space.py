"""The recurrent space: its controller's decisions, integers and presets."""

from collections.abc import Sequence
import dataclasses
import functools
from typing import Annotated, Any, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.errors import ConfigError
from enas_jax.options import Count, Le, NonNegative, Small
from enas_jax.spaces import schedule as rows
from enas_jax.spaces.base import Space
from enas_jax.spaces.recurrent.arch import OPERATIONS, RecurrentArch
from enas_jax.spaces.recurrent.network import RecurrentNetwork
from enas_jax.types import Edge, Feed, Head, NO_ANCHOR, Preset, Schedule

# The index of OPERATIONS for each number of a dialect. The dialect 2018 swaps
# the last two, so the same table converts back.
_NUMBERS = {"lm": (0, 1, 2, 3), "2018": (0, 1, 3, 2)}

# Reference enas_lm README, and ptb_final.sh of 2018.
_ENAS = [0, 2, 1, 0, 2, 1, 2, 2, 4, 0, 5, 0, 3, 2, 6, 2]
_DARTS = [0, 2, 1, 1, 1, 1, 1, 3, 2, 0, 5, 2, 3, 0, 5, 1]
_ENAS_2018 = [0, 0, 0, 1, 1, 2, 1, 2, 0, 2, 0, 5, 1, 1, 0, 6, 1, 8, 1, 8, 1]
_ENAS_2018 += [8, 1]
# An arbitrary arch for configs/pydoc_recurrent_final.py.
_PYDOC = [0, 0, 1, 0, 2, 1, 0, 1, 4, 0, 2, 0]


@dataclasses.dataclass(frozen=True)
class Recurrent(Space):
  """The space of recurrent cells.

  Attributes:
    nodes: The number of nodes as the dialect counts them: lm counts the nodes
      after the first; 2018 counts all, so there are two at least.
    dialect: The dialect of the integers; it also says whether the activation of
      the first node is chosen, and which nodes make the output where
      `network.loose` is None.
    scale: The tanh constant of all choices, 0 for none; 2.5 in 2018.
  """

  nodes: Annotated[Count, Le(100), Small(2)] = 8
  dialect: Literal["lm", "2018"] = "lm"
  scale: NonNegative = 2.25

  module: ClassVar = RecurrentNetwork
  of_policy: ClassVar = ("scale",)
  alike: ClassVar = True
  presets: ClassVar = {
      "enas_lm": Preset({"nodes": 8, "dialect": "lm"}, _ENAS),
      "darts_lm": Preset({"nodes": 8, "dialect": "lm"}, _DARTS),
      "enas_2018": Preset({"nodes": 12, "dialect": "2018"}, _ENAS_2018),
      "pydoc": Preset({"nodes": 6, "dialect": "lm"}, _PYDOC),
  }

  def __post_init__(self):
    if self._later == 0:
      raise ConfigError(
          "nodes",
          f"must be >= 2 where the first counts (dialect {self.dialect!r}), got"
          f" {self.nodes}.",
      )

  @property
  def _later(self) -> int:
    """Returns the number of nodes after the first."""
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
          bias=-(away**2) / 6,  # a nearer node is likelier
          write=node if node < self._later else NO_ANCHOR,
          feed=Feed.ANCHOR,
          feed_scale=1 / (0.1 + away),
      )
      table += [source, op]
    return rows.table(table, tied=self.dialect == "lm")

  def decode(self, choices: jax.Array) -> RecurrentArch:
    picked = jnp.argmax(choices, -1).astype(jnp.int32)
    if self.dialect == "2018":
      return RecurrentArch(picked[1::2], picked[2::2])
    ops = jnp.concatenate([jnp.zeros(1, jnp.int32), picked[1::2]])
    return RecurrentArch(ops, picked[0::2])

  def flatten(self, arch: RecurrentArch) -> list[int]:
    return self._renumbered(super().flatten(arch))

  def unflatten(self, values: Sequence[int]) -> RecurrentArch:
    return super().unflatten(self._renumbered(values))

  def _renumbered(self, values: Sequence[int]) -> list[int]:
    """Converts numbers of activations to those of the dialect, or back."""
    numbers, values = _NUMBERS[self.dialect], list(values)
    for at in range(self.dialect != "2018", len(values), 2):
      if 0 <= values[at] < len(numbers):
        values[at] = numbers[values[at]]
    return values

  @property
  def noun(self) -> str:
    return (
        f"a cell of {self.nodes} nodes in the dialect {self.dialect!r}"
        " (config.space.dialect)"
    )

  def describe(self, step: int) -> str:
    # In the dialect 2018 the first two steps belong to the first node.
    node = step // 2 + (self.dialect != "2018")
    if self.schedule.head[step] == Head.ANCHOR:
      return f"node {node} reads node"
    return f"node {node} has activation"

  def graphs(self, arch: RecurrentArch) -> dict[str, list[Edge]]:
    sources = ["word, state", *np.asarray(arch.sources).tolist()]
    ops = [OPERATIONS[op] for op in np.asarray(arch.ops)]
    return {"node": list(map(Edge, range(len(ops)), sources, ops))}

  @property
  def given(self) -> dict[str, Any]:
    return {"later": self._later, "dialect": self.dialect}
