"""The product of a computation in half the width."""

import jax.numpy as jnp


def dot(a, b):
  """a @ b with operands in the type of a and float32 sums: f32[...].

  On the CPU only a product of rows with columns is fast in bfloat16. XLA merges
  a transpose into the product that reads it, and computes that in float32, but
  not across the border of a loop: so transpose outside the loop.
  """
  return jnp.dot(a, b.astype(a.dtype), preferred_element_type=jnp.float32)
