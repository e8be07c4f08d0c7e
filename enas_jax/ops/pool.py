"""Pooling on NHWC arrays: 3x3 SAME, and the average of the auxiliary head."""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from enas_jax.ops import windows

SIZE = 3  # the only window of the search spaces (ENAS §2.1, §3.1)
TAPS = [(i, j) for i in range(SIZE) for j in range(SIZE)]  # raster order


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def avg_pool(x, stride: int = 1):
  """3x3 SAME average of x[B, H, W, C]; padding is not counted."""
  return lax.platform_dependent(
    x,
    cpu=functools.partial(_avg_shifts, stride=stride),
    default=functools.partial(_avg_window, stride=stride),
  )


def _avg_fwd(x, stride):
  return avg_pool(x, stride), x


def _avg_bwd(stride, x, g):
  def plain(x, g):
    return jax.vjp(functools.partial(_avg_window, stride=stride), x)[1](g)[0]

  def shifts(x, g):
    g = windows.spread(g * _share(x, stride), SIZE, stride)

    def term(i, j):
      return windows.back(g, i, j, SIZE, stride)

    return windows.collect(term, SIZE, stride, *x.shape[1:3])

  return (lax.platform_dependent(x, g, cpu=shifts, default=plain),)


avg_pool.defvjp(_avg_fwd, _avg_bwd)


def _share(x, stride):
  """One over the number of pixels in each window: [Ho, Wo, 1]."""
  counts = []
  for size in x.shape[1:3]:
    out, low, _ = windows.same(size, SIZE, stride)
    first = np.arange(out) * stride - low
    counts.append(np.minimum(first + SIZE, size) - np.maximum(first, 0))
  return (1 / np.outer(*counts)).astype(x.dtype)[:, :, None]


def _avg_window(x, stride):
  return _window(x, stride, 0.0, lax.add) * _share(x, stride)


def _avg_shifts(x, stride):
  phases = windows.split(x, SIZE, stride)
  share = _share(x, stride)
  total = sum(windows.tap(phases, i, j, *share.shape[:2]) for i, j in TAPS)
  return total * share


def _window(x, stride, initial, combine):
  window, strides = (1, SIZE, SIZE, 1), (1, stride, stride, 1)
  return lax.reduce_window(x, initial, combine, window, strides, "SAME")


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(x, stride: int = 1):
  """3x3 SAME maximum of x[B, H, W, C].

  The cotangent of a tie goes to its first pixel in raster order, as in XLA's
  own gradient. Ties are the rule, not the exception: a max pool of a max pool
  repeats values.
  """
  return _max_fwd(x, stride)[0]


def _max_window(x, stride):
  return _window(x, stride, -jnp.inf, lax.max)


def _max_fwd(x, stride):
  return lax.platform_dependent(
    x,
    cpu=lambda x: _max_shifts(x, stride)[0],
    default=lambda x: _max_window(x, stride),
  ), x


def _max_bwd(stride, x, g):
  def plain(x, g):
    return jax.vjp(functools.partial(_max_window, stride=stride), x)[1](g)[0]

  def shifts(x, g):
    first = windows.spread(_max_shifts(x, stride)[1], SIZE, stride)
    g = windows.spread(g, SIZE, stride)

    def term(i, j):
      own = windows.back(first, i, j, SIZE, stride) == i * SIZE + j
      return jnp.where(own, windows.back(g, i, j, SIZE, stride), 0)

    return windows.collect(term, SIZE, stride, *x.shape[1:3])

  return (lax.platform_dependent(x, g, cpu=shifts, default=plain),)


max_pool.defvjp(_max_fwd, _max_bwd)


def _max_shifts(x, stride):
  """(maximum, the tap it was first found at)."""
  height, width = (windows.same(n, SIZE, stride)[0] for n in x.shape[1:3])
  phases = windows.split(x, SIZE, stride, -jnp.inf)
  best = windows.tap(phases, 0, 0, height, width)
  first = jnp.zeros(best.shape, jnp.int8)
  for n, (i, j) in enumerate(TAPS[1:], 1):
    value = windows.tap(phases, i, j, height, width)
    first = jnp.where(value > best, jnp.int8(n), first)
    best = jnp.maximum(value, best)
  return best, first


def avg_pool_valid(x, size: int, stride: int):
  """size x size average of x[B, H, W, C] without padding (ENAS §3.7)."""
  height, width = ((n - size) // stride + 1 for n in x.shape[1:3])
  rows = x[:, : (height - 1) * stride + size]
  rows = sum(
    rows[:, i : i + (height - 1) * stride + 1 : stride] for i in range(size)
  )
  total = sum(
    rows[:, :, j : j + (width - 1) * stride + 1 : stride] for j in range(size)
  )
  return total / size**2
