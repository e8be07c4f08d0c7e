"""The layers of the macro space's shared network: the search runs these."""

from collections.abc import Sequence
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.ops import choose, conv, layers, norm
from enas_jax.spaces.macro import operations

# Of the norm behind a convolution of the shared network; elsewhere 1e-5. The
# reference's two kinds of batch norm differ in this, too.
_EPS = 1e-3


class SharedLayer(nn.Module):
  """A layer of the shared network: every operation, one program.

  Every operation has weights of its own, the entry convolution included.

  Attributes:
    names: the operations.
  """

  names: tuple[str, ...]

  @nn.compact
  def __call__(
      self, x: jax.Array, op: jax.Array | int, *, train: bool
  ) -> jax.Array:
    """Returns operation `op`, an i32[], of x[B, H, W, C], of the same shape."""
    del train  # both ways by the statistics of the batch
    c, every = x.shape[-1], len(self.names)

    def normed(x, what, count, row, eps):
      scale = self.param(f"scale_{what}", nn.initializers.ones, (count, c))
      offset = self.param(f"offset_{what}", nn.initializers.zeros, (count, c))
      y, _, _ = norm.batch_norm(x, scale[row], offset[row], eps)
      return jax.nn.relu(y)

    entry = self.param("entry", layers.he_normal(c), (every, c, c))
    x = normed(conv.pointwise(x, entry[op]), "entry", every, op, 1e-5)
    weights = {name: self._weights(name, c) for name in self.names}
    branches = tuple(
        functools.partial(operations.apply, name) for name in self.names
    )
    x = choose.choose(op, branches, x, weights)
    convolves = np.array(["conv" in name for name in self.names])
    if not convolves.any():
      return x
    # Outside of the choice: the gradient of a convolution does not need its
    # result, so that running the chosen branch again on the way back costs no
    # second convolution.
    row = jnp.asarray(np.maximum(np.cumsum(convolves) - 1, 0))[op]
    y = normed(x, "conv", convolves.sum(), row, _EPS)
    if isinstance(op, jax.Array):
      return jnp.where(jnp.asarray(convolves)[op], y, x)
    return y if convolves[op] else x

  def _weights(self, name: str, c: int):
    """Returns those of one operation, from c channels to c; a pool has none."""
    size = int(name[-1])
    square, area = layers.he_normal(c), layers.he_normal(size**2)
    if "pool" in name:
      return ()
    if name.startswith("sep"):
      return (
          self.param(f"{name}_depthwise", area, (size, size, c)),
          self.param(f"{name}_pointwise", square, (c, c)),
      )
    full = layers.he_normal(size**2 * c)
    return (self.param(name, full, (size, size, c, c)),)


class SharedMerge(nn.Module):
  """Joins a layer's result and the tensors that its skip bits name.

  Attributes:
    concat: whether all are mixed by a 1 x 1 convolution; off: summed.
  """

  concat: bool

  @nn.compact
  def __call__(
      self,
      x: jax.Array,
      tensors: Sequence[jax.Array],
      bits: jax.Array,
      *,
      train: bool,
  ) -> jax.Array:
    """Returns what is joined, [B, H, W, C].

    Args:
      x: [B, H, W, C].
      tensors: of the same shape.
      bits: i32[len(tensors)], of jax or numpy.
      train: passed on.
    """
    if self.concat:
      c = x.shape[-1]
      # One row a tensor; how many are read is not known here.
      shape = (len(tensors) + 1, c, c)
      mix = self.param("mix", layers.he_normal(c), shape)
      x = _mixed(x, mix[-1])
      for tensor, bit, row in zip(tensors, bits, mix[:-1], strict=True):
        x = choose.choose(bit, (_without, _with), (x, tensor), row)
    else:
      x = operations.summed(x, tensors, bits)
    return layers.BatchNorm(False)(x, train=train)


def _mixed(tensor, row):
  return conv.pointwise(jax.nn.relu(tensor), row)


def _without(x, row):
  """x[0], where bit 0 leaves the tensor x[1] out."""
  return x[0]


def _with(x, row):
  """x[0] and the tensor x[1], mixed by `row`."""
  return x[0] + _mixed(x[1], row)
