"""The layers with parameters that the image spaces share.

No convolution has a bias, and a classifier has one only on demand (reference:
image_ops.py).
"""

from collections.abc import Callable
import functools
import math

from flax import linen as nn
import jax
from jax.ad_checkpoint import checkpoint_name
import jax.numpy as jnp
import numpy as np

from enas_jax.ops import choose, conv, norm, pool

_MOMENTUM = 0.9  # of the moving averages: new = 0.9 old + 0.1 batch
_DRAW = 1 << 16  # normals drawn at a time
# The standard deviation of a unit normal that is cut at two deviations.
_TRUNCATED_STD = 0.87962566103423978


def he_normal(fan_in: float | np.ndarray) -> Callable:
  """Returns the reference's initialiser, a cut normal of variance 2 / fan_in.

  Args:
    fan_in: A number, or an array that broadcasts against the parameter.
  """
  std = np.sqrt(2.0 / np.asarray(fan_in)) / _TRUNCATED_STD

  def init(key, shape, dtype=jnp.float32):
    size = math.prod(shape)
    unit = jnp.concatenate([
        _unit_normals(jax.random.fold_in(key, i))
        for i in range(max(1, math.ceil(size / _DRAW)))
    ])
    return _scaled(unit, jnp.asarray(std, dtype), shape)

  return init


@functools.partial(jax.jit, static_argnums=2)
def _scaled(unit, std, shape):
  """Returns the first of some unit normals, scaled, in that shape."""
  return unit[: math.prod(shape)].reshape(shape) * std


@jax.jit
def _unit_normals(key):
  """Draws unit normals cut at two standard deviations, f32[_DRAW].

  All parameters take them in one size and flat because XLA would take half a
  second to compile each size anew, and many seconds for a draw of five axes.
  """
  return jax.random.truncated_normal(key, -2.0, 2.0, (_DRAW,))


def depthwise_normal(
    size: int, channels: int, channel_fan_in: bool
) -> Callable:
  """Returns the initialiser of a depthwise kernel [size, size, channels].

  An output of such a kernel reads size * size numbers of one channel, and that
  is the fan-in. TensorFlow keeps the kernel as [size, size, channels, 1], so
  the reference's fan-in is size * size * channels, and its kernels start
  smaller by a factor of sqrt(channels). Test accuracies tell neither from the
  other (experiments/results/images.md, "Should depthwise kernels start at the
  reference's scale?").

  Args:
    size: The side of the window.
    channels: The number of channels.
    channel_fan_in: Whether the fan-in is the reference's.
  """
  return he_normal(size**2 * (channels if channel_fan_in else 1))


class BatchNorm(nn.Module):
  """A batch norm over all axes but the channels.

  With `track` it has moving averages. Without them it always uses the
  statistics of the batch at hand. A shared network must do so, since its
  averages would be a mixture over archs. Without `affine` it has no weights.
  """

  track: bool
  affine: bool = True

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    channels = x.shape[-1]
    scale, offset = jnp.ones(channels), jnp.zeros(channels)
    if self.affine:
      scale = self.param("scale", nn.initializers.ones, (channels,))
      offset = self.param("offset", nn.initializers.zeros, (channels,))
    if not self.track:
      return norm.batch_norm(x, scale, offset)[0]
    mean = self.variable("averages", "mean", jnp.zeros, (channels,))
    var = self.variable("averages", "var", jnp.ones, (channels,))
    if not train:
      return norm.normalize(x, mean.value, var.value, scale, offset)
    y, batch_mean, batch_var = norm.batch_norm(x, scale, offset)
    if not self.is_initializing():
      mean.value += (1 - _MOMENTUM) * (batch_mean - mean.value)
      var.value += (1 - _MOMENTUM) * (batch_var - var.value)
    return y


class Conv(nn.Module):
  """A SAME convolution and its batch norm; 1 x 1 is a matrix product."""

  channels: int
  size: int
  track: bool
  stride: int = 1
  affine: bool = True

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    fan_in = self.size**2 * x.shape[-1]
    shape = (self.size, self.size, x.shape[-1], self.channels)
    kernel = self.param("kernel", he_normal(fan_in), shape)
    if self.size == 1:
      x = conv.pointwise(conv.strided(x, self.stride), kernel[0, 0])
    else:
      x = conv.dense(x, kernel, self.stride)
    x = checkpoint_name(x, choose.PRODUCT)
    return BatchNorm(self.track, self.affine)(x, train=train)


class DepthwiseConv(nn.Module):
  """A SAME depthwise convolution and its batch norm."""

  size: int
  track: bool
  stride: int = 1

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    shape = (self.size, self.size, x.shape[-1])
    kernel = self.param("kernel", he_normal(self.size**2), shape)
    x = conv.depthwise(x, kernel, self.stride)
    return BatchNorm(self.track)(x, train=train)


class FactorizedReduction(nn.Module):
  """Halves height and width and returns `channels` channels (ENAS §2.2).

  It reads only the even/even and the odd/odd positions, as in the reference.
  """

  channels: int
  track: bool

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    half = self.channels // 2
    init = he_normal(x.shape[-1])
    even = self.param("even", init, (x.shape[-1], half))
    odd = self.param("odd", init, (x.shape[-1], self.channels - half))
    x = conv.factorized_reduction(x, even, odd)
    return BatchNorm(self.track)(x, train=train)


class SeparableConv(nn.Module):
  """Stacks of ReLU, depthwise, pointwise, BN; the first has the stride.

  `depthwise_normal` says what `channel_fan_in` means.
  """

  channels: int
  size: int
  stride: int
  track: bool
  stacks: int = 2
  channel_fan_in: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    for stack in range(self.stacks):
      stride = 1 if stack else self.stride
      inputs = x.shape[-1]
      depthwise = self.param(
          f"depthwise_{stack}",
          depthwise_normal(self.size, inputs, self.channel_fan_in),
          (self.size, self.size, inputs),
      )
      pointwise = self.param(
          f"pointwise_{stack}", he_normal(inputs), (inputs, self.channels)
      )
      x = conv.depthwise(jax.nn.relu(x), depthwise, stride)
      x = conv.pointwise(checkpoint_name(x, choose.PRODUCT), pointwise)
      x = checkpoint_name(x, choose.PRODUCT)
      x = BatchNorm(self.track)(x, train=train)
    return x


class AuxiliaryHead(nn.Module):
  """Computes logits from the middle of a network (reference: micro_child.py).

  The pooling window is 5 x 5, or the whole map where that is smaller. The
  second convolution's kernel is as large as the map that the pooling leaves: 2
  x 2 for images of 32 x 32; for images of 224 x 224 it is 18 x 18, and 4 x 4
  behind a stem of two halvings. Of a map that is no square the longer side
  counts.
  """

  classes: int
  track: bool

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    size = min(5, *x.shape[1:3])
    x = pool.avg_pool_valid(jax.nn.relu(x), size, 3)
    x = jax.nn.relu(Conv(128, 1, self.track)(x, train=train))
    side = max(x.shape[1:3])
    x = jax.nn.relu(Conv(768, side, self.track)(x, train=train))
    return Classifier(self.classes)(x)


class Classifier(nn.Module):
  """A global average pooling and a linear layer, in float32."""

  classes: int
  keep: float = 1.0
  bias: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, *, dropout: bool = False) -> jax.Array:
    x = x.astype(jnp.float32).mean((1, 2))
    if dropout and self.keep < 1.0:
      x = nn.Dropout(1.0 - self.keep, deterministic=False)(x)
    init = he_normal(x.shape[-1])
    logits = x @ self.param("kernel", init, (x.shape[-1], self.classes))
    if self.bias:
      logits += self.param("offset", nn.initializers.zeros, (self.classes,))
    return logits
