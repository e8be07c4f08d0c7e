"""Computes the cross-entropy of a linear softmax, a part at a time."""

import jax
from jax import lax
import jax.numpy as jnp
import optax

from enas_jax.ops.dot import dot

_ENTRIES = 1 << 22  # logits at a time, which take 16 MiB in float32


@jax.custom_vjp
def cross_entropy(
    features: jax.Array,
    table: jax.Array,
    targets: jax.Array,
    weight: jax.Array,
) -> jax.Array:
  """Sums weight * -log softmax(features @ table.T)[targets] to f32[].

  Logits, softmax and sums are float32, whatever type the features have. Only a
  part of the logits is in memory at a time. Where a gradient is wanted, that of
  each part is computed in the forward pass while its logits are there. It can
  wait for the cotangent because the result is a sum, so that the cotangent is
  one number.

  Args:
    features: [..., H], the features.
    table: f32[V, H], the weights of the softmax.
    targets: i32[...], rows of the table.
    weight: f32[...], the weight of each position; it has no gradient.
  """
  cast = table.astype(features.dtype)
  parts = _parts(len(table), features, targets, weight)

  def step(total, part):
    features, targets, weight = part
    losses = optax.softmax_cross_entropy_with_integer_labels(
        dot(features, cast.T), targets
    )
    return total + (losses * weight).sum(), None

  return lax.scan(step, jnp.zeros(()), parts)[0]


def _forward(features, table, targets, weight):
  cast = table.astype(features.dtype)
  parts = _parts(len(table), features, targets, weight)
  parts = jnp.swapaxes(parts[0], 1, 2), *parts

  def step(carry, part):
    total, dcolumns = carry
    transposed, features, targets, weight = part
    logits = dot(features, cast.T)
    top = logits.max(-1, keepdims=True)
    exps = jnp.exp(logits - top)
    sums = exps.sum(-1, keepdims=True)
    own = jnp.take_along_axis(logits, targets[:, None], -1)
    total += ((jnp.log(sums) + top - own)[:, 0] * weight).sum()
    hit = jnp.arange(logits.shape[-1]) == targets[:, None]
    dlogits = (exps / sums - hit) * weight[:, None]
    dlogits = dlogits.astype(cast.dtype)
    dcolumns += dot(transposed, dlogits)
    return (total, dcolumns), dot(dlogits, cast).astype(cast.dtype)

  start = jnp.zeros(()), jnp.zeros(cast.shape[::-1])
  (total, dcolumns), dfeatures = lax.scan(step, start, parts)
  count, width = weight.size, features.shape[-1]
  dfeatures = dfeatures.reshape(-1, width)[:count].reshape(features.shape)
  return total, (dfeatures, dcolumns.T)


def _backward(residuals, g):
  dfeatures, dtable = residuals
  return (g * dfeatures).astype(dfeatures.dtype), g * dtable, None, None


cross_entropy.defvjp(_forward, _backward)


def _parts(vocabulary, features, *others):
  """Cuts each [..., *] into [parts, positions, *], padded by weight 0."""
  count = others[0].size
  parts = -(-count * vocabulary // _ENTRIES)
  size = -(-count // parts)

  def cut(a, *width):
    a = a.reshape(count, *width)
    a = jnp.pad(a, [(0, parts * size - count), *[(0, 0)] * len(width)])
    return a.reshape(parts, size, *width)

  return cut(features, features.shape[-1]), *map(cut, others)
