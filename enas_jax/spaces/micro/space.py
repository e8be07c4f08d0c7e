"""The micro space: its controller's decisions, integers and presets."""

import dataclasses
import functools
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.options import Count, Ge, Le, NonNegative, Small
from enas_jax.spaces import schedule as rows
from enas_jax.spaces.base import Space
from enas_jax.spaces.micro import size
from enas_jax.spaces.micro.arch import INPUTS, MicroArch, OPERATIONS
from enas_jax.spaces.micro.network import MicroNetwork
from enas_jax.types import Edge, Feed, Head, NO_ANCHOR, Preset, Schedule, Size

# The cells of the reference's cifar10_micro_final.sh: 2.89 % error with Cutout.
_PUBLISHED = [0, 2, 0, 0, 0, 4, 0, 1, 0, 4, 1, 1, 1, 0, 0, 1, 0, 2, 1, 1]
_PUBLISHED += [1, 0, 1, 0, 0, 3, 0, 2, 1, 1, 3, 1, 1, 0, 0, 4, 0, 3, 1, 1]
# Cells that an earlier configs/digits_micro.py derived with seed 0.
_DIGITS = [1, 1, 1, 3, 2, 4, 2, 0, 0, 1, 0, 0, 1, 0, 0, 0, 1, 0, 1, 3, 2, 2]
_DIGITS += [1, 1]


@dataclasses.dataclass(frozen=True)
class Micro(Space):
  """The space of pairs of cells with `nodes` computed nodes.

  Attributes:
    nodes: N, the computed nodes of a cell; 5 in the paper.
    index_scale: The tanh constant of the input choices; 0 for none.
    op_scale: The tanh constant of the operation choices, 1.10 / 2.5; 0 for
      none.
    op_prior: The logit by which both separable convolutions are preferred at
      first, beside the constant +-0.25 of the normal cell. It is where a bias
      starts that trains outside of the squashing. So the start does not depend
      on `op_scale`, and the preference can be reversed, which the squashed
      logits alone could not do in the normal cell: they differ by 2 op_scale =
      0.88 at most, the preference there is 0.44 + 0.50.
    saturated_prior: Whether separable convolutions are preferred as in the
      reference. Its bias is squashed and starts at 10, where tanh has no
      gradient, so the logits of both never train. The preference is op_scale
      then, whatever `op_prior` is, and no pool or identity can become the
      likeliest choice in the normal cell. At the default scale the start has
      the same probabilities.
  """

  nodes: Annotated[Count, Le(50), Small(2)] = 5
  index_scale: NonNegative = 1.10
  op_scale: NonNegative = 0.44
  op_prior: Annotated[float, Ge(-10.0), Le(10.0)] = 0.44
  saturated_prior: bool = False

  module: ClassVar = MicroNetwork
  of_policy: ClassVar = (
      "index_scale",
      "op_scale",
      "op_prior",
      "saturated_prior",
  )
  presets: ClassVar = {
      "enas_micro": Preset({"nodes": 5}, _PUBLISHED),
      "digits_micro": Preset({"nodes": 3}, _DIGITS),
  }

  @functools.cached_property
  def schedule(self) -> Schedule:
    slots = max(self.nodes + 1, len(OPERATIONS))
    row = functools.partial(rows.row, slots)
    table = []
    for cell_bias in (0.25, 0.0):
      bias = [cell_bias] * 2 + [-cell_bias] * 3
      table += [row(write=state) for state in range(INPUTS)]
      for state in range(INPUTS, self.nodes + INPUTS):
        index = row(
            head=Head.ANCHOR,
            choices=state,
            scale=self.index_scale,
            feed=Feed.ANCHOR,
            feed_scale=[0.0] * INPUTS,  # the cell's inputs feed zeros
        )
        op = row(
            head=Head.OP,
            choices=len(OPERATIONS),
            scale=self.op_scale,
            bias=bias,
            feed=Feed.OP,
        )
        last = state == self.nodes + INPUTS - 1
        table += [index, index, op, op]
        table += [row(write=NO_ANCHOR if last else state)]
    start = 10.0 if self.saturated_prior else self.op_prior
    return rows.table(
        table, [start] * 2 + [0.0] * 3, free_bias=not self.saturated_prior
    )

  @functools.cached_property
  def _steps(self) -> np.ndarray:
    """Returns the controller step of each entry of both tables, i[2, N, 4]."""
    sampled = np.array([0, 2, 1, 3])  # the steps of input, op, input, op
    node = INPUTS + 5 * np.arange(self.nodes)[:, None] + sampled
    return np.stack([node, node + INPUTS + 5 * self.nodes])

  def decode(self, choices: jax.Array) -> MicroArch:
    return MicroArch(*jnp.argmax(choices[self._steps], -1).astype(jnp.int32))

  @property
  def order(self) -> list[int]:
    return self._steps.ravel().tolist()

  @property
  def noun(self) -> str:
    return f"an architecture of {self.nodes} nodes"

  def describe(self, step: int) -> str:
    cell, node, column = np.argwhere(self._steps == step)[0].tolist()
    what = "has operation" if column % 2 else "reads input"
    return f"node {node + INPUTS} of the {MicroArch._fields[cell]} cell {what}"

  def graphs(self, arch: MicroArch) -> dict[str, list[Edge]]:
    return {
        name: [
            Edge(node, source, OPERATIONS[op])
            for node, row in enumerate(np.asarray(table).tolist(), INPUTS)
            for source, op in zip(row[0::2], row[1::2], strict=True)
        ]
        for name, table in zip(arch._fields, arch, strict=True)
    }

  @property
  def given(self) -> dict[str, Any]:
    return {"nodes": self.nodes}

  def size(
      self,
      arch: MicroArch,
      network: MicroNetwork,
      image: tuple[int, int, int],
  ) -> Size:
    return size.of(arch, self.nodes, network, image)
