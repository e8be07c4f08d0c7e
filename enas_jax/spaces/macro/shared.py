"""The layers of the macro space's shared network, which a search runs."""

from collections.abc import Sequence
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.ops import choose, conv, layers, norm
from enas_jax.spaces.macro import operations

# The epsilon of the norm behind a convolution of the shared network; elsewhere
# it is 1e-5. The reference's two kinds of batch norm also differ in this.
_EPS = 1e-3


class SharedLayer(nn.Module):
  """A layer of the shared network; one program serves every operation.

  Every operation has weights of its own, including those of its entry
  convolution.

  Attributes:
    names: The names of the operations.
    channel_fan_in: As in `MacroNetwork`.
    arithmetic: As in `MacroNetwork`.
  """

  names: tuple[str, ...]
  channel_fan_in: bool = False
  arithmetic: bool = False

  @nn.compact
  def __call__(
      self, x: jax.Array, op: jax.Array | int, *, train: bool
  ) -> jax.Array:
    """Applies operation `op`, i32[], to x[B, H, W, C], and keeps the shape."""
    del train  # the norms use the statistics of the batch at all times
    c, every = x.shape[-1], len(self.names)

    def normed(x, what, count, row, eps):
      scale = self.param(f"scale_{what}", nn.initializers.ones, (count, c))
      offset = self.param(f"offset_{what}", nn.initializers.zeros, (count, c))
      y, _, _ = norm.batch_norm(x, scale[row], offset[row], eps)
      return jax.nn.relu(y)

    entry = self.param("entry", layers.he_normal(c), (every, c, c))
    x = normed(conv.pointwise(x, entry[op]), "entry", every, op, 1e-5)
    weights = operations.weights(self, self.names, c, self.channel_fan_in)
    branches = tuple(
        functools.partial(operations.apply, name) for name in self.names
    )
    if self.arithmetic and isinstance(op, jax.Array):
      x = _assembled(self.names, op, x, weights)
    else:
      x = choose.choose(op, branches, x, weights)
    convolves = np.array(["conv" in name for name in self.names])
    if not convolves.any():
      return x
    # The norm stands outside of the choice. The gradient of a convolution does
    # not need its result, so running the chosen branch again in the backward
    # pass costs no second convolution.
    row = jnp.asarray(np.maximum(np.cumsum(convolves) - 1, 0))[op]
    y = normed(x, "conv", convolves.sum(), row, _EPS)
    if isinstance(op, jax.Array):
      return jnp.where(jnp.asarray(convolves)[op], y, x)
    return y if convolves[op] else x


def _assembled(names, op, x, weights):
  """Returns what operation `op` makes of x[B, H, W, C], without a branch.

  All convolutions are one, with the kernel of the chosen one: a separable
  kernel is the product of its two, and a small kernel has a rim of zeros.
  """
  size, kernel, y = max(int(name[-1]) for name in names), 0.0, 0.0
  for n, name in enumerate(names):
    own = weights[name]
    if "pool" in name:
      pooled = operations.apply(name, x, weights)
      y = y + jnp.where(op == n, pooled, 0)
      continue
    if name.startswith("sep"):
      depthwise, pointwise = own
      full = depthwise[..., None] * pointwise
    else:
      (full,) = own
    rim = (size - len(full)) // 2
    full = jnp.pad(full, ((rim, rim), (rim, rim), (0, 0), (0, 0)))
    kernel = kernel + jnp.where(op == n, full, 0.0)
  return y + conv.dense(x, kernel) if np.ndim(kernel) else y


class SharedMerge(nn.Module):
  """Joins a layer's result and the tensors that its skip bits choose.

  Attributes:
    concat: Whether all are mixed by a 1 x 1 convolution. Off: they are summed.
    track: Whether the norm tracks moving averages, in the final network.
    arithmetic: As in `MacroNetwork`.
  """

  concat: bool
  track: bool = False
  arithmetic: bool = False

  @nn.compact
  def __call__(
      self,
      x: jax.Array,
      tensors: Sequence[jax.Array],
      bits: jax.Array,
      *,
      train: bool,
  ) -> jax.Array:
    """Returns the joined tensor, [B, H, W, C].

    Args:
      x: [B, H, W, C], the layer's result.
      tensors: The tensors of the skip bits, each of the same shape.
      bits: i32[len(tensors)] of jax or numpy, the skip bits.
      train: Is passed on to the norm.
    """
    if self.concat:
      c = x.shape[-1]
      # Each tensor has a matrix, since which ones are read is not known here.
      shape = (len(tensors) + 1, c, c)
      mix = self.param("mix", layers.he_normal(c), shape)
      x = _mixed(x, mix[-1])
      for tensor, bit, row in zip(tensors, bits, mix[:-1], strict=True):
        if self.arithmetic and isinstance(bit, jax.Array):
          x = x + _mixed(tensor, jnp.where(bit, row, 0.0))
        else:
          x = choose.choose(bit, (_without, _with), (x, tensor), row)
    else:
      x = operations.summed(x, tensors, bits)
    return layers.BatchNorm(self.track)(x, train=train)


def _mixed(tensor, row):
  """Returns relu(tensor) mixed by the matrix `row`."""
  return conv.pointwise(jax.nn.relu(tensor), row)


def _without(x, row):
  """Returns x[0]; the bit 0 leaves the tensor x[1] out."""
  return x[0]


def _with(x, row):
  """Returns x[0] plus the tensor x[1] mixed by the matrix `row`."""
  return x[0] + _mixed(x[1], row)
