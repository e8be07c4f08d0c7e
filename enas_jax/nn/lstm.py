"""An LSTM to compare searched cells with: a network without choices.

Its two layers have as many weights as a recurrent cell of the same hidden size,
not counting the biases. It is trained by the recipes of the cells, and dropout
acts at the same places: on the words, the embedded input, every state that
enters a product, the weights from state to state and the output (AWD-LSTM:
Merity et al., 2017).
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from enas_jax.ops import reader
from enas_jax.ops.dot import dot
from enas_jax.options import Count


class Lstm(reader.Reader):
  """A language model of two LSTM layers; the second one is H wide.

  Its arch is an empty tuple.

  Attributes:
    nodes: The number of nodes, in the dialect lm, of the searched cell that has
      as many weights.
  """

  nodes: Count = 8

  @property
  def _widths(self) -> tuple[int, int]:
    """Returns the widths of both layers."""
    # A cell has 4 H^2 + 2 n H^2 weights, two layers 4 (inner + H)^2.
    inner = self.hidden * (math.sqrt(1 + self.nodes / 2) - 1)
    return max(1, round(inner)), self.hidden

  def start(self, batch: int) -> Any:
    """Returns the state and the cell of both layers before the first word."""
    return tuple((jnp.zeros((batch, w)),) * 2 for w in self._widths)

  def read(
      self, x: jax.Array, arch: Any, carry: Any, *, train: bool
  ) -> tuple[jax.Array, Any, jax.Array]:
    """Runs both layers: x[S, B, H] -> (states, carries, squares)."""
    del arch  # there is nothing to choose
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
      if index == 0:  # this state enters the product of the next layer too
        x *= self.mask(train, self.state_keep, *x.shape[1:]).astype(x.dtype)
    return x, tuple(carries), squares


def _layer(given, carry, mask, weight, dtype):
  """Runs one layer over a segment.

  Args:
    given: f32[S, B, 4 W], the input's part of the gates.
    carry: The state and the cell before the segment, f32[B, W] each.
    mask: f32[B, W], the dropout of every state.
    weight: f32[W, 4 W], the weights from state to gates.
    dtype: The type of the states and of the operands of the product.

  Returns:
    The states [S, B, W] and the cells f32[S, B, W].
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
