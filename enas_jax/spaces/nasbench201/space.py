"""The space of NAS-Bench-201: its decisions, notation and presets."""

from collections.abc import Sequence
import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp

from enas_jax.options import NonNegative
from enas_jax.spaces import schedule as rows
from enas_jax.spaces.base import Space
from enas_jax.spaces.nasbench201 import size
from enas_jax.spaces.nasbench201.arch import EDGES, NasBench201Arch, OPERATIONS
from enas_jax.spaces.nasbench201.network import NasBench201Network
from enas_jax.types import Edge, Feed, Head, Preset, Schedule, Size


@dataclasses.dataclass(frozen=True)
class NasBench201(Space):
  """The space of the cells of the benchmark.

  Attributes:
    scale: The tanh constant of all choices; 0 for none.
  """

  scale: NonNegative = 5.0

  module: ClassVar = NasBench201Network
  of_policy: ClassVar = ("scale",)
  noun: ClassVar = "a cell"
  presets: ClassVar = {
      # The best cell on CIFAR-10 by validation and by test accuracy: 94.37 %.
      "nasbench201_best": Preset({}, [3, 3, 3, 1, 3, 2]),
      # The residual block of a ResNet (AutoDL-Projects, ResNet_CODE): 93.91 %.
      "nasbench201_resnet": Preset({}, [3, 0, 3, 1, 0, 1]),
  }

  @functools.cached_property
  def schedule(self) -> Schedule:
    count = len(OPERATIONS)
    row = rows.row(
        count, head=Head.OP, choices=count, scale=self.scale, feed=Feed.OP
    )
    return rows.table([row] * len(EDGES), [0.0] * count)

  def decode(self, choices: jax.Array) -> NasBench201Arch:
    return NasBench201Arch(jnp.argmax(choices, -1).astype(jnp.int32))

  def describe(self, step: int) -> str:
    node, source = EDGES[step]
    return f"node {node} reads node {source} by operation"

  def parse(self, text: str) -> list[int] | None:
    """Returns the integers of the benchmark's notation, `|op~0|+|op~0|...`.

    Returns:
      None where the text is not in this notation.

    Raises:
      ValueError: The text is in this notation, but is no cell of this space.
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

  def notation(self, values: Sequence[int]) -> str:
    """Returns the benchmark's own notation of six integers."""
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

  def size(
      self,
      arch: NasBench201Arch,
      network: NasBench201Network,
      image: tuple[int, int, int],
  ) -> Size:
    return size.of(arch, network, image)
