"""Sliding windows as shifted slices: what convolutions and pools are made of.

A window operation with SAME padding is a sum (or a maximum) over its k * k
taps. Tap (i, j) is the padded input, shifted by (i, j) and read at every
stride-th position. Such slices are elementwise work, which XLA spreads over
the threads of a CPU wherever it stands; its convolutions and window reductions
lose their threads inside a loop or a branch.

With stride 2 the padded input is first split by the parity of row and column
into four phases, so that every tap is a contiguous slice of one phase.
"""

import jax
from jax import lax
import jax.numpy as jnp


def same(size: int, k: int, stride: int) -> tuple[int, int, int]:
  """(output size, padding before, padding after) of SAME padding."""
  out = -(-size // stride)
  total = max((out - 1) * stride + k - size, 0)
  return out, total // 2, total - total // 2


def split(x, k: int, stride: int, value=0.0) -> list[list[jax.Array]]:
  """[B, H, W, C] padded with `value`, as stride x stride phases."""
  pads = []
  for size in x.shape[1:3]:
    out, low, _ = same(size, k, stride)
    reach = stride * (out + (k - 1) // stride)
    pads.append((low, reach - size - low, 0))
  fill = jnp.asarray(value, x.dtype)
  x = lax.pad(x, fill, [(0, 0, 0), *pads, (0, 0, 0)])
  if stride == 1:
    return [[x]]
  steps = range(stride)
  return [[x[:, a::stride, b::stride] for b in steps] for a in steps]


def tap(phases, i: int, j: int, height: int, width: int) -> jax.Array:
  """What tap (i, j) reads for a height x width output."""
  stride = len(phases)
  phase = phases[i % stride][j % stride]
  p, q = i // stride, j // stride
  return phase[:, p : p + height, q : q + width]


def spread(g, k: int, stride: int) -> jax.Array:
  """Pads an output cotangent so that `back` can slice it."""
  reach = (k - 1) // stride
  edge = (reach, reach)
  return jnp.pad(g, ((0, 0), edge, edge, (0, 0)))


def back(spread_g, i: int, j: int, k: int, stride: int) -> jax.Array:
  """The adjoint of `tap`: `spread_g` moved to the phase that tap reads."""
  reach = (k - 1) // stride
  height, width = (size - reach for size in spread_g.shape[1:3])
  p, q = reach - i // stride, reach - j // stride
  return spread_g[:, p : p + height, q : q + width]


def collect(term, k: int, stride: int, height: int, width: int) -> jax.Array:
  """The adjoint of `split` and all its taps: [B, height, width, C].

  Sums term(i, j), what tap (i, j) sends `back`, over the taps of each phase,
  interleaves the phases and cuts the padding off.
  """
  steps = range(stride)
  phases = [
    [
      sum(term(i, j) for i in range(a, k, stride) for j in range(b, k, stride))
      for b in steps
    ]
    for a in steps
  ]
  x = phases[0][0]
  if stride > 1:
    x = jnp.stack([jnp.stack(row, axis=3) for row in phases], axis=2)
    x = x.reshape(len(x), x.shape[1] * stride, x.shape[3] * stride, -1)
  top, left = (same(size, k, stride)[1] for size in (height, width))
  return x[:, top : top + height, left : left + width]
