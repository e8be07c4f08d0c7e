"""Makes sliding windows of shifted slices, for convolutions and pools.

A window operation with SAME padding is a sum (or a maximum) over its k * k
taps. Tap (i, j) is the padded input, shifted by (i, j) and read at every
stride-th position. Sums of such slices are elementwise work, which XLA spreads
over the threads of a CPU everywhere in a program. Its convolutions and window
reductions run on one thread inside a loop or a branch.

With stride 2 the padded input is first split by the parity of row and column
into four phases, so that every tap is a contiguous slice of one phase.
"""

from collections.abc import Callable

import jax
from jax import lax
import jax.numpy as jnp


def same(size: int, k: int, stride: int) -> tuple[int, int]:
  """Returns (output size, padding before) of SAME padding, as in TensorFlow."""
  out = -(-size // stride)
  return out, max((out - 1) * stride + k - size, 0) // 2


def pad(
    x: jax.Array,
    rows: tuple[int, int] = (0, 0),
    columns: tuple[int, int] = (0, 0),
    value: float = 0.0,
) -> jax.Array:
  """Returns x[B, H, W, C] padded with `value`; a negative number cuts off."""
  edges = [(0, 0, 0), (*rows, 0), (*columns, 0), (0, 0, 0)]
  return lax.pad(x, jnp.asarray(value, x.dtype), edges)


def split(
    x: jax.Array, k: int, stride: int, value: float = 0.0
) -> list[list[jax.Array]]:
  """Returns x[B, H, W, C] padded with `value`, as stride x stride phases."""
  pads = []
  for size in x.shape[1:3]:
    out, low = same(size, k, stride)
    reach = stride * (out + (k - 1) // stride)
    pads.append((low, reach - size - low))
  x = pad(x, *pads, value)
  if stride == 1:
    return [[x]]
  steps = range(stride)
  return [[x[:, a::stride, b::stride] for b in steps] for a in steps]


def taps(
    x: jax.Array, k: int, stride: int, value: float = 0.0
) -> list[jax.Array]:
  """Returns the taps of x[B, H, W, C] in raster order, [B, Ho, Wo, C] each."""
  phases = split(x, k, stride, value)
  height, width = (same(size, k, stride)[0] for size in x.shape[1:3])

  def tap(i, j):
    p, q = i // stride, j // stride
    phase = phases[i % stride][j % stride]
    return phase[:, p : p + height, q : q + width]

  return [tap(i, j) for i in range(k) for j in range(k)]


def spread(g: jax.Array, k: int, stride: int) -> jax.Array:
  """Pads an output cotangent [B, Ho, Wo, C] so that `back` can slice it."""
  edge = ((k - 1) // stride,) * 2
  return pad(g, edge, edge)


def back(
    spread_g: jax.Array, i: int, j: int, k: int, stride: int
) -> jax.Array:
  """Returns the adjoint of tap (i, j), a slice of `spread_g`."""
  reach = (k - 1) // stride
  height, width = (size - reach for size in spread_g.shape[1:3])
  p, q = reach - i // stride, reach - j // stride
  return spread_g[:, p : p + height, q : q + width]


def collect(
    term: Callable, k: int, stride: int, height: int, width: int
) -> jax.Array:
  """Returns the adjoint of all taps together: [B, height, width, C].

  It sums term(i, j), which is made of `back` for tap (i, j), over the taps of
  each phase, interleaves the phases and cuts the padding off.
  """

  def phase(a, b):
    rows, columns = range(a, k, stride), range(b, k, stride)
    return sum(term(i, j) for i in rows for j in columns)

  if stride == 1:
    x = phase(0, 0)
  else:
    steps = range(stride)
    rows = [jnp.stack([phase(a, b) for b in steps], axis=3) for a in steps]
    x = jnp.stack(rows, axis=2)
    x = x.reshape(len(x), x.shape[1] * stride, x.shape[3] * stride, -1)
  (_, top), (_, left) = (same(size, k, stride) for size in (height, width))
  return x[:, top : top + height, left : left + width]
