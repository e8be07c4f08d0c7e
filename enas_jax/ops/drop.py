"""Drops whole paths at random."""

import jax
import jax.numpy as jnp


def drop_path(
    key: jax.Array, x: jax.Array, keep: jax.Array | float
) -> jax.Array:
  """Keeps or drops each example of x[B, H, W, C]. The key is consumed.

  The reference is image_ops.py. `keep`, the probability to keep, may be traced,
  since it falls from layer to layer and from step to step.
  """
  # The draw is flat because XLA compiles a draw of many axes slowly.
  draw = jax.random.uniform(key, (len(x),)).reshape(-1, 1, 1, 1)
  return (x / keep * jnp.floor(keep + draw)).astype(x.dtype)
