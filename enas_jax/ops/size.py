"""Counts the parameters and operations of layers, and sums them up.

A pair is i64[2] of numpy: the parameters, and the floating point operations of
the forward pass of one image, two for each multiplication of a product
(`derive/flops.py` counts the same in a program). `pixels` is the number of
pixels of a layer's result.
"""

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.types import Size


def norm(channels: int) -> np.ndarray:
  """Returns the pair of a batch norm: scale and offset."""
  return np.array([2 * channels, 0])


def pointwise(inputs: int, outputs: int, pixels: int) -> np.ndarray:
  """Returns the pair of a 1 x 1 convolution, without a norm."""
  return inputs * outputs * np.array([1, 2 * pixels])


def conv(inputs: int, outputs: int, side: int, pixels: int) -> np.ndarray:
  """Returns the pair of BN(conv side x side).

  With side 1 it is also the pair of a factorised reduction.
  """
  return pointwise(side**2 * inputs, outputs, pixels) + norm(outputs)


def separable(channels: int, side: int, pixels: int) -> np.ndarray:
  """Returns the pair of BN(pointwise(depthwise side x side))."""
  depthwise = pointwise(side**2, channels, pixels)
  return depthwise + conv(channels, channels, 1, pixels)


def classifier(inputs: int, classes: int, bias: bool = False) -> np.ndarray:
  """Returns the pair of the linear layer behind the average of all pixels."""
  return pointwise(inputs, classes, 1) + np.array([classes * bias, 0])


def halved(height: int, width: int) -> tuple[int, int]:
  """Returns the sides of an image after a stride of 2."""
  return -(-height // 2), -(-width // 2)


def total(base: np.ndarray, *terms: tuple) -> Size:
  """Returns the sum of `base` and of the pairs of tables, with multiplicities.

  Args:
    base: A pair.
    *terms: Each is (table i64[..., 2], times i[...]), where `times` says how
      often each pair of the table counts. Where it is of jax, so is the sum.
  """
  traced = any(isinstance(times, jax.Array) for _, times in terms)
  params, flops = base
  for table, times in terms:
    if traced:
      times = jnp.asarray(times, jnp.int32)
      params += (times * table[..., 0].astype(np.int32)).sum()
      flops += (times * table[..., 1].astype(np.float32)).sum()
    else:
      own = (table * np.asarray(times, int)[..., None]).reshape(-1, 2).sum(0)
      params, flops = params + own[0], flops + own[1]
  return Size(params, flops)


def one_hot(index: jax.Array, count: int) -> jax.Array:
  """Returns bool[..., count], of numpy or jax like `index`."""
  return index[..., None] == np.arange(count)
