"""Matrix products with operands that may be of half the width."""

import jax
import jax.numpy as jnp


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
  """Returns a @ b as f32[...], with operands of a's type and float32 sums.

  XLA merges a transpose into the product that reads it, but not across the
  border of a loop. A transposed second operand costs nothing. With a transposed
  first operand the CPU may take twice as long, and it computes bfloat16 in
  float32. So transpose a first operand outside the loop.
  """
  return jnp.dot(a, b.astype(a.dtype), preferred_element_type=jnp.float32)
