"""Dropout of whole paths."""

import jax
import jax.numpy as jnp


def drop_path(
    key: jax.Array, x: jax.Array, keep: jax.Array | float
) -> jax.Array:
  """Keeps or drops x[B, H, W, C] one example at a time. The key is consumed.

  Reference: image_ops.py. `keep` may be traced: it falls from layer to layer
  and from step to step.
  """
  # Drawn flat: XLA compiles a draw of many axes slowly.
  draw = jax.random.uniform(key, (len(x),)).reshape(-1, 1, 1, 1)
  return (x / keep * jnp.floor(keep + draw)).astype(x.dtype)
