"""Dropout of features and of whole paths. Both consume their key."""

import jax
import jax.numpy as jnp


def dropout(key, x, keep):
  """Keeps each entry of x with probability `keep` and divides it by that."""
  kept = jax.random.bernoulli(key, keep, x.shape)
  return jnp.where(kept, x / keep, 0).astype(x.dtype)


def drop_path(key, x, keep):
  """Keeps or drops x[B, H, W, C] one example at a time.

  Reference: image_ops.py. `keep` may be traced: it falls from layer to layer
  and from step to step.
  """
  draw = jax.random.uniform(key, (len(x), 1, 1, 1))
  return (x / keep * jnp.floor(keep + draw)).astype(x.dtype)
