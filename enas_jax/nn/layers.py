"""Layers for networks of one's own, fast in a search on CPU, GPU and TPU.

They are those of the house's own spaces (`ops/layers.py`), and ask the network
around them (`ops/mode.py`) whether it is searched: then a norm uses the
statistics of the batch, since averages would mix all architectures. In a final
network it tracks moving averages.

Flax's own layers work beside them. Its convolutions are slow in a branch on the
CPU, where XLA runs them on one thread (`ops/conv.py`).
"""

from flax import linen as nn
import jax

from enas_jax.ops import layers, mode, pool


class BatchNorm(nn.Module):
  """A batch norm of x[B, H, W, C], with a scale and an offset."""

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    final, train = mode.current()
    return layers.BatchNorm(final, name="norm")(x, train=train)


class ConvNorm(nn.Module):
  """A ReLU, a SAME convolution without a bias, and a batch norm.

  Attributes:
    channels: The channels of the result.
    size: The side of the window.
    stride: The pixels from one window to the next.
    relu: Whether the ReLU comes first.
  """

  channels: int
  size: int = 3
  stride: int = 1
  relu: bool = True

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps x[B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), channels].
    """
    final, train = mode.current()
    layer = layers.Conv(
        self.channels, self.size, final, self.stride, name="conv"
    )
    return layer(jax.nn.relu(x) if self.relu else x, train=train)


class DepthwiseNorm(nn.Module):
  """A ReLU, a SAME depthwise convolution without a bias, and a batch norm.

  Attributes:
    size: The side of the window.
    stride: The pixels from one window to the next.
    relu: Whether the ReLU comes first.
  """

  size: int = 3
  stride: int = 1
  relu: bool = True

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps x[B, H, W, C] to [B, ceil(H / stride), ceil(W / stride), C]."""
    final, train = mode.current()
    layer = layers.DepthwiseConv(self.size, final, self.stride, name="conv")
    return layer(jax.nn.relu(x) if self.relu else x, train=train)


class SeparableConv(nn.Module):
  """A ReLU, a depthwise and a pointwise convolution, and a batch norm.

  Attributes:
    channels: The channels of the result.
    size: The side of the depthwise window.
    stride: The pixels from one window to the next.
    stacks: How often all this is done; the first one has the stride.
  """

  channels: int
  size: int = 3
  stride: int = 1
  stacks: int = 1

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps x[B, H, W, C] as `ConvNorm` does."""
    final, train = mode.current()
    layer = layers.SeparableConv(
        self.channels, self.size, self.stride, final, self.stacks, name="conv"
    )
    return layer(x, train=train)


class Classifier(nn.Module):
  """A ReLU, the mean over all pixels, and a linear layer in float32.

  Attributes:
    classes: The number of classes.
  """

  classes: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Returns the logits f32[B, classes] of x[B, H, W, C]."""
    layer = layers.Classifier(self.classes, bias=True, name="linear")
    return layer(jax.nn.relu(x))


def avg_pool(x: jax.Array, stride: int = 1) -> jax.Array:
  """Returns the 3x3 SAME average of x[B, H, W, C]."""
  return pool.avg_pool(x, stride)


def max_pool(x: jax.Array, stride: int = 1) -> jax.Array:
  """Returns the 3x3 SAME maximum of x[B, H, W, C]."""
  return pool.max_pool(x, stride)
