"""The operations of the macro space, by name."""

from collections.abc import Sequence

from flax import linen as nn
import jax
import jax.numpy as jnp

from enas_jax.ops import conv, layers, pool


def weights(
    module: nn.Module, names: Sequence[str], c: int, channel_fan_in: bool
) -> dict[str, tuple[jax.Array, ...]]:
  """Makes the weights of every operation on c channels, () for a pool.

  Args:
    module: The module whose parameters they become.
    names: The names of the operations.
    c: The number of channels.
    channel_fan_in: As in `MacroNetwork`.
  """

  def make(name: str) -> tuple[jax.Array, ...]:
    size = int(name[-1])
    if "pool" in name:
      return ()
    if name.startswith("sep"):
      depthwise = layers.depthwise_normal(size, c, channel_fan_in)
      return (
          module.param(f"{name}_depthwise", depthwise, (size, size, c)),
          module.param(f"{name}_pointwise", layers.he_normal(c), (c, c)),
      )
    full = layers.he_normal(size**2 * c)
    return (module.param(name, full, (size, size, c, c)),)

  return {name: make(name) for name in names}


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
