"""Pooling on NHWC arrays: 3x3 SAME, and the average of the auxiliary head."""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from enas_jax.ops import windows

_SIZE = 3  # the only window of the search spaces (ENAS §2.3, §2.4)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def avg_pool(x: jax.Array, stride: int = 1) -> jax.Array:
  """Returns the 3x3 SAME average of x[B, H, W, C]; padding does not count."""
  return lax.platform_dependent(
      x,
      cpu=lambda x: _avg_taps(x, stride),
      default=lambda x: _avg_window(x, stride),
  )


def _avg_fwd(x, stride):
  return avg_pool(x, stride), x


def _avg_bwd(stride, x, g):
  def plain(x, g):
    return jax.vjp(lambda x: _avg_window(x, stride), x)[1](g)[0]

  def shifts(x, g):
    g = windows.spread(g * _share(x, stride), _SIZE, stride)

    def term(i, j):
      return windows.back(g, i, j, _SIZE, stride)

    dx = windows.collect(term, _SIZE, stride, *x.shape[1:3])
    return dx.astype(x.dtype)

  return (lax.platform_dependent(x, g, cpu=shifts, default=plain),)


avg_pool.defvjp(_avg_fwd, _avg_bwd)
avg_pool = jax.jit(avg_pool, static_argnames="stride")


def _share(x, stride):
  """Returns one over the number of pixels in each window, [Ho, Wo, 1]."""
  counts = []
  for size in x.shape[1:3]:
    out, low = windows.same(size, _SIZE, stride)
    first = np.arange(out) * stride - low
    counts.append(np.minimum(first + _SIZE, size) - np.maximum(first, 0))
  return (1 / np.outer(*counts)).astype(np.float32)[:, :, None]


def _avg_taps(x, stride):
  taps = windows.taps(x, _SIZE, stride)
  total = sum(tap.astype(jnp.float32) for tap in taps)
  return (total * _share(x, stride)).astype(x.dtype)


def _avg_window(x, stride):
  total = _window(x.astype(jnp.float32), stride, 0.0, lax.add)
  return (total * _share(x, stride)).astype(x.dtype)


def _window(x, stride, initial, combine):
  window, strides = (1, _SIZE, _SIZE, 1), (1, stride, stride, 1)
  initial = np.array(initial, x.dtype)
  return lax.reduce_window(x, initial, combine, window, strides, "SAME")


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def max_pool(x: jax.Array, stride: int = 1) -> jax.Array:
  """Returns the 3x3 SAME maximum of x[B, H, W, C].

  The cotangent of a tie goes to its first pixel in raster order, as in XLA's
  own gradient. Ties are frequent because a max pool of a max pool repeats
  values.
  """
  return lax.platform_dependent(
      x,
      cpu=lambda x: _max_taps(x, stride)[0],
      default=lambda x: _max_window(x, stride),
  )


def _max_fwd(x, stride):
  return max_pool(x, stride), x


def _max_bwd(stride, x, g):
  def plain(x, g):
    return jax.vjp(lambda x: _max_window(x, stride), x)[1](g)[0]

  def shifts(x, g):
    first = windows.spread(_max_taps(x, stride)[1], _SIZE, stride)
    g = windows.spread(g, _SIZE, stride)

    def term(i, j):
      own = windows.back(first, i, j, _SIZE, stride) == i * _SIZE + j
      return jnp.where(own, windows.back(g, i, j, _SIZE, stride), 0)

    return windows.collect(term, _SIZE, stride, *x.shape[1:3])

  return (lax.platform_dependent(x, g, cpu=shifts, default=plain),)


max_pool.defvjp(_max_fwd, _max_bwd)
max_pool = jax.jit(max_pool, static_argnames="stride")


def _max_window(x, stride):
  return _window(x, stride, -np.inf, lax.max)


def _max_taps(x, stride):
  """Returns (maximum, number of its first tap), [B, Ho, Wo, C] each."""
  best, *others = windows.taps(x, _SIZE, stride, -np.inf)
  first = jnp.zeros(best.shape, jnp.int8)
  for n, value in enumerate(others, 1):
    first = jnp.where(value > best, jnp.int8(n), first)
    best = jnp.maximum(value, best)
  return best, first


def avg_pool_valid(x: jax.Array, size: int, stride: int) -> jax.Array:
  """Returns the average of x[B, H, W, C] over windows without padding.

  The auxiliary head uses it. The windows have size x size pixels.
  """

  def average(x, axis):
    last = (x.shape[axis] - size) // stride * stride
    slices = (
        lax.slice_in_dim(x, i, i + last + 1, stride, axis) for i in range(size)
    )
    return sum(slices) / size

  total = average(average(x.astype(jnp.float32), 1), 2)
  return total.astype(x.dtype)
