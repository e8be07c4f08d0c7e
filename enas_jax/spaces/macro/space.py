"""The macro space: its controller's decisions, integers and presets."""

import dataclasses
import functools
import re
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.errors import ConfigError
from enas_jax.options import Count, Gt, Le, Lt, NonNegative, Small
from enas_jax.spaces import schedule as rows
from enas_jax.spaces.base import Space
from enas_jax.spaces.macro import size
from enas_jax.spaces.macro.arch import MacroArch, stretched
from enas_jax.spaces.macro.network import MacroNetwork
from enas_jax.types import Edge, Feed, Head, NO_ANCHOR, Preset, Schedule, Size

_OPERATION = re.compile(r"(sep_)?conv_([357])x\2|(avg|max)_pool_3x3")
_FOUR = "conv_3x3,sep_conv_3x3,conv_5x5,sep_conv_5x5"
_SIX = f"{_FOUR},avg_pool_3x3,max_pool_3x3"


def _integers(text: str) -> list[int]:
  """Returns the whole numbers of a text."""
  return [int(word) for word in text.split()]


# The arch of the reference's cifar10_macro_final.sh; each line has the
# operation and the skip bits of a layer.
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
# The best arch of a search by a user of the reference: 0.906 on one batch.
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
# Arbitrary archs of six layers, and of the three layers of a smoke test.
_DIGITS = [0, 1, 0, 0, 1, 0, 3, 0, 1, 0, 4, 0, 1, 0, 1, 5, 1, 0, 0, 1, 0]
_SMOKE = [0, 1, 1, 4, 1, 1]


@dataclasses.dataclass(frozen=True)
class Macro(Space):
  """The space of networks with `layers` layers.

  Attributes:
    layers: L, the number of layers.
    operations: The names of the operations between commas, in the order of
      their numbers: conv_KxK and sep_conv_KxK with K of 3, 5 or 7,
      avg_pool_3x3 and max_pool_3x3. The published 24 layers use the first four
      of the default.
    scale: The tanh constant of all choices; 0 for none.
    skip_target: The rate of skips to which the policy is drawn.
    kl_of_half: Whether the KL uses sigmoid(z), as in the reference, although
      bits are drawn with sigmoid(2 z); it then draws the policy to a rate of
      0.308 where `skip_target` is 0.4 (defect M5).
    shifted_anchors: Whether skip bit i attends to the step of layer i, as in
      the reference, although the child then reads tensor i, the output of
      layer i - 1 (defect M6). Off: bit i attends to the step that decided
      tensor i, and to zeros for the stem. Either is a choice: the first keeps
      the controller's numbers, the second what the child reads, and the paper
      decides for neither.
  """

  layers: Annotated[Count, Le(100), Small(3)] = 12
  operations: str = _SIX
  scale: NonNegative = 1.5
  skip_target: Annotated[float, Gt(0), Lt(1)] = 0.4
  kl_of_half: bool = False
  shifted_anchors: bool = False

  module: ClassVar = MacroNetwork
  of_policy: ClassVar = (
      "scale",
      "skip_target",
      "kl_of_half",
      "shifted_anchors",
  )
  presets: ClassVar = {
      "enas_macro_24": Preset({"layers": 24, "operations": _FOUR}, _PUBLISHED),
      "enas_macro_12": Preset({"layers": 12, "operations": _SIX}, _FOUND),
      "digits_macro": Preset({"layers": 6, "operations": _SIX}, _DIGITS),
      "smoke_macro": Preset({"layers": 3, "operations": _SIX}, _SMOKE),
  }

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

  @property
  def names(self) -> tuple[str, ...]:
    """Returns the names of the operations as a tuple."""
    return tuple(self.operations.split(","))

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

  def decode(self, choices: jax.Array) -> MacroArch:
    ops = jnp.argmax(choices[0::2], -1).astype(jnp.int32)
    skips = choices[1::2, : self.layers]
    return MacroArch(ops, jnp.asarray(skips, jnp.int32))

  @property
  def noun(self) -> str:
    return f"an architecture of {self.layers} layers (config.space.layers)"

  def describe(self, step: int) -> str:
    return f"layer {step // 2} has {'skip bit' if step % 2 else 'operation'}"

  def graphs(self, arch: MacroArch) -> dict[str, list[Edge]]:
    edges = []
    for layer, op in enumerate(np.asarray(arch.ops).tolist()):
      edges.append(Edge(layer + 1, layer, self.names[op]))
      read = np.flatnonzero(np.asarray(arch.skips)[layer]).tolist()
      edges += [Edge(layer + 1, tensor) for tensor in read]
    return {"tensor": edges}

  @property
  def given(self) -> dict[str, Any]:
    return {"names": self.names}

  def size(
      self,
      arch: MacroArch,
      network: MacroNetwork,
      image: tuple[int, int, int],
  ) -> Size:
    if network.stretch > 1:
      arch = stretched(arch, network.stretch)
    return size.of(arch, len(arch.ops), network, image)
