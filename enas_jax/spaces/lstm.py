"""The LSTM to set beside searched cells: a space of one architecture.

Two layers with as many weights as a recurrent cell of the same hidden size,
but for the biases. It is trained by the cells' recipes, with masks where theirs
are: on the words, the embedded input, every state that enters a product, the
weights from state to state, the output (AWD-LSTM: Merity et al., 2017).
"""

import dataclasses
import functools
import math
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from enas_jax.ops import reader
from enas_jax.ops.dot import dot
from enas_jax.spaces import schedule as rows
from enas_jax.types import Edge, Preset, Schedule


class LstmArch(NamedTuple):
  """Nothing is to choose."""


@dataclasses.dataclass(frozen=True)
class Lstm:
  """The space of one LSTM.

  Attributes:
    nodes: of the cell, in the dialect lm, that it is as large as.
  """

  nodes: int = 8

  presets: ClassVar = {"lstm": Preset({}, [])}

  @property
  def module(self) -> type:
    return LstmNetwork

  @functools.cached_property
  def schedule(self) -> Schedule:
    return rows.table([rows.row(1)])

  def decode(self, choices) -> LstmArch:
    del choices
    return LstmArch()

  def encode(self, arch: LstmArch):
    del arch
    return jnp.zeros((1, 1), bool)

  def flatten(self, arch: LstmArch) -> list[int]:
    del arch
    return []

  def unflatten(self, values: list[int]) -> LstmArch:
    if values:
      raise ValueError(f"an LSTM has no choices, got {len(values)} integers")
    return LstmArch()

  def graphs(self, arch: LstmArch) -> dict[str, list[Edge]]:
    del arch
    return {"layer": [Edge(1, "word", "LSTM"), Edge(2, 1, "LSTM")]}

  def network(self, **hparams) -> reader.Reader:
    return self.module(nodes=self.nodes, **hparams)


class LstmNetwork(reader.Reader):
  """A language model of two layers of LSTM; the second is H wide.

  Attributes, next to those of `Reader`:
    nodes: of the cell that the layers are as large as.
  """

  nodes: int = 8

  @property
  def _widths(self) -> tuple[int, int]:
    # A cell has 4 H^2 + 2 n H^2 weights, two layers 4 (inner + H)^2.
    inner = self.hidden * (math.sqrt(1 + self.nodes / 2) - 1)
    return max(1, round(inner)), self.hidden

  def start(self, batch: int):
    return tuple((jnp.zeros((batch, w)),) * 2 for w in self._widths)

  def read(self, x, arch: LstmArch, carry, *, train: bool):
    del arch
    carries, squares = [], 0.0
    for index, width in enumerate(self._widths):
      within = 1 / math.sqrt(width)
      weight = functools.partial(self.weight, within=within)
      given = weight(f"input_{index}", x.shape[-1], 4 * width)
      own = weight(f"state_{index}", width, 4 * width)
      bias = weight(f"bias_{index}", 4 * width)
      squares += (given**2).sum() + (own**2).sum()
      own *= self.mask(train, self.weight_keep, *own.shape)
      mask = self.mask(train, self.state_keep, x.shape[1], width)
      x, cells = _layer(dot(x, given) + bias, carry[index], mask, own, x.dtype)
      carries.append((x, cells))
      if index == 0:  # as a state it enters a product, too
        x *= self.mask(train, self.state_keep, *x.shape[1:]).astype(x.dtype)
    return x, tuple(carries), squares


def _layer(given, carry, mask, weight, dtype):
  """(states [S, B, W], cells f32[S, B, W]) from the input's part of the gates.

  Args:
    given: f32[S, B, 4 W].
    carry: state and cell before, f32[B, W] each.
    mask: f32[B, W].
    weight: f32[W, 4 W].
    dtype: of the states and the operands of the product.
  """
  mask = mask.astype(dtype)

  def step(carry, given):
    state, cell = carry
    keep, write, value, read = jnp.split(
        given + dot(mask * state, weight), 4, -1
    )
    cell = jax.nn.sigmoid(keep) * cell
    cell += jax.nn.sigmoid(write) * jnp.tanh(value)
    state = (jax.nn.sigmoid(read) * jnp.tanh(cell)).astype(dtype)
    return (state, cell), (state, cell)

  state, cell = carry
  return jax.lax.scan(step, (state.astype(dtype), cell), given)[1]
