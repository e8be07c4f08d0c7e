"""The product of a computation in half the width."""

import jax
import jax.numpy as jnp


def dot(a: jax.Array, b: jax.Array) -> jax.Array:
  """Returns a @ b with operands in the type of a and float32 sums: f32[...].

  XLA merges a transpose into the product that reads it, but not across the
  border of a loop. Of the second operand that costs nothing; with the first
  transposed the CPU may take twice as long, and computes bfloat16 in float32:
  so transpose a first operand outside the loop.
  """
  return jnp.dot(a, b.astype(a.dtype), preferred_element_type=jnp.float32)
