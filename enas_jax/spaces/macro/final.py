"""The layers of the macro space's final network, which runs chosen branches.
"""

from collections.abc import Sequence
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.ops import choose, layers
from enas_jax.spaces.macro import operations


class FinalLayer(nn.Module):
  """A layer of the final network with one operation.

  The reference's layer has no pools and only full convolutions (defects M2,
  M3).

  Attributes:
    names: The names of the operations.
    plain_convs: Whether a separable convolution is replaced by a full one.
    channel_fan_in: As in `MacroNetwork`.
  """

  names: tuple[str, ...]
  plain_convs: bool
  channel_fan_in: bool = False

  @nn.compact
  def __call__(
      self, x: jax.Array, op: jax.Array | int, *, train: bool
  ) -> jax.Array:
    """Applies operation `op` to x[B, H, W, C]; the result has the same shape.

    Where `op` is of numpy, only this operation is built. Where it is a jax
    i32[], each operation has weights, and one program serves all.
    """
    c = x.shape[-1]
    x = layers.Conv(c, 1, True)(jax.nn.relu(x), train=train)
    if isinstance(op, jax.Array):
      return self._chosen(x, op, train)
    name = self.names[op]
    size = int(name[-1])
    if "pool" in name:
      return operations.apply(name, x, {name: ()})
    if name.startswith("sep") and not self.plain_convs:
      separable = layers.SeparableConv(
          c, size, 1, True, stacks=1, channel_fan_in=self.channel_fan_in
      )
      return separable(x, train=train)
    return layers.Conv(c, size, True)(jax.nn.relu(x), train=train)

  def _chosen(self, x: jax.Array, op: jax.Array, train: bool) -> jax.Array:
    """Returns the result of the operation that `op` chooses at run time."""
    names = self.names
    if self.plain_convs:
      names = tuple(name.removeprefix("sep_") for name in names)
    weights = operations.weights(
        self, dict.fromkeys(names), x.shape[-1], self.channel_fan_in
    )
    branches = tuple(functools.partial(_branch, name) for name in names)
    y = choose.choose(op, branches, x, weights)
    normed = layers.BatchNorm(True)(y, train=train)
    convolves = np.array(["conv" in name for name in names])
    return jnp.where(jnp.asarray(convolves)[op], normed, y)


def _branch(name: str, x: jax.Array, weights: dict[str, tuple]) -> jax.Array:
  """Applies an operation; a convolution reads what is positive of x."""
  x = jax.nn.relu(x) if "conv" in name else x
  return operations.apply(name, x, weights)


class FinalMerge(nn.Module):
  """Joins a layer's result and the tensors that its skip bits choose.

  Attributes:
    concat: Whether they are concatenated and mixed by a 1 x 1 convolution.
      Off: they are summed.
  """

  concat: bool

  @nn.compact
  def __call__(
      self,
      x: jax.Array,
      tensors: Sequence[jax.Array],
      bits: np.ndarray,
      *,
      train: bool,
  ) -> jax.Array:
    """Returns the joined tensor, [B, H, W, C].

    Args:
      x: [B, H, W, C], the layer's result.
      tensors: The tensors of the skip bits, each of the same shape.
      bits: i32[len(tensors)], the skip bits.
      train: Whether moving averages move.
    """
    if not self.concat:
      x = operations.summed(x, tensors, bits)
      return layers.BatchNorm(True)(x, train=train)
    read = [t for t, bit in zip(tensors, bits, strict=True) if bit]
    joined = jax.nn.relu(jnp.concatenate([*read, x], -1))
    return layers.Conv(x.shape[-1], 1, True)(joined, train=train)
