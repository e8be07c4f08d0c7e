"""Batch norm by the statistics of the batch, with a gradient of its own."""

import functools

import jax
from jax import lax
import jax.numpy as jnp


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def batch_norm(
    x: jax.Array, scale: jax.Array, offset: jax.Array, eps: float = 1e-5
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Normalises x[B, H, W, C] by its own statistics over (B, H, W).

  The statistics are float32, whatever type x has. They are returned for the
  caller's moving averages and have no gradient.

  Args:
    x: [B, H, W, C], the input.
    scale: [C], the factor after normalising.
    offset: [C], the term added after that.
    eps: The number added to the variance; static.

  Returns:
    (y[B, H, W, C], mean f32[C], variance f32[C]), with the biased variance.
  """
  mean, var = moments(x)
  return normalize(x, mean, var, scale, offset, eps), mean, var


def normalize(
    x: jax.Array,
    mean: jax.Array,
    var: jax.Array,
    scale: jax.Array,
    offset: jax.Array,
    eps: float = 1e-5,
) -> jax.Array:
  """Normalises x[B, H, W, C] by the given statistics, [C] each."""
  return along(x, *line(mean, var, scale, offset, eps))


def along(x: jax.Array, slope: jax.Array, shift: jax.Array) -> jax.Array:
  """Returns x * slope + shift, in the type of x."""
  return (x * slope + shift).astype(x.dtype)


def line(
    mean: jax.Array,
    var: jax.Array,
    scale: jax.Array,
    offset: jax.Array,
    eps: float = 1e-5,
) -> tuple[jax.Array, jax.Array]:
  """Returns (slope, shift), [C] each, with which `along` normalises."""
  slope = scale * lax.rsqrt(var + eps)
  return slope, offset - mean * slope


def moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Returns mean and biased variance of x[B, H, W, C], f32[C] each."""
  # Both sums are taken in one pass; a variance about the mean would need a
  # second one. The maximum keeps rounding from making it negative.
  x = x.astype(jnp.float32)
  mean = x.mean((0, 1, 2))
  return mean, jnp.maximum((x * x).mean((0, 1, 2)) - mean * mean, 0)


def _fwd(x, scale, offset, eps):
  y, mean, var = batch_norm(x, scale, offset, eps)
  return (y, mean, var), (x, scale, offset, mean, var)


def _bwd(eps, residuals, cotangents):
  """Computes dx = slope * (dy - E[dy]) - c * (x - mean) in one pass."""
  x, scale, offset, mean, var = residuals
  dy = cotangents[0].astype(jnp.float32)
  x = x.astype(jnp.float32)
  inverse = lax.rsqrt(var + eps)
  slope = scale * inverse
  shift = dy.mean((0, 1, 2))
  tilt = (dy * x).mean((0, 1, 2)) - mean * shift  # E[dy * (x - mean)]
  c = slope * inverse**2 * tilt
  dx = slope * dy - c * x + (c * mean - slope * shift)
  count = x.size // x.shape[-1]
  return (
      dx.astype(cotangents[0].dtype),
      (count * inverse * tilt).astype(scale.dtype),
      (count * shift).astype(offset.dtype),
  )


batch_norm.defvjp(_fwd, _bwd)
batch_norm = jax.jit(batch_norm, static_argnames="eps")
