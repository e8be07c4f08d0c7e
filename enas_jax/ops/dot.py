"""The product of a computation in half the width."""

import jax.numpy as jnp


def dot(a, b):
  """a @ b with operands in the type of a and float32 sums: f32[...]."""
  return jnp.dot(a, b.astype(a.dtype), preferred_element_type=jnp.float32)
