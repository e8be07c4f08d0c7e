"""The operations of the macro space, by name."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from enas_jax.ops import conv, pool


def apply(name: str, x: jax.Array, weights: dict[str, tuple]) -> jax.Array:
  """Applies one operation to x, without its entry convolution and its norm.

  Args:
    name: The name of the operation.
    x: [B, H, W, C], its input.
    weights: Name of an operation -> its weights, () for a pool.
  """
  own = weights[name]
  match name.rpartition("_")[0]:
    case "conv":
      return conv.dense(x, *own)
    case "sep_conv":
      depthwise, pointwise = own
      return conv.pointwise(conv.depthwise(x, depthwise), pointwise)
    case "avg_pool":
      return pool.avg_pool(x)
    case "max_pool":
      return pool.max_pool(x)


def summed(
    x: jax.Array, tensors: Sequence[jax.Array], bits: jax.Array
) -> jax.Array:
  """Returns the sum of x and of the tensors that have a bit of 1.

  Args:
    x: [B, H, W, C], the first term.
    tensors: The other terms, each of the same shape.
    bits: i32[len(tensors)] of jax or numpy; where it is of numpy, only the
      terms with a bit of 1 are built.
  """
  total = x.astype(jnp.float32)
  for tensor, bit in zip(tensors, bits, strict=True):
    if isinstance(bit, jax.Array):
      total += bit * tensor
    elif bit:
      total += tensor
  return total.astype(x.dtype)
