"""The stem of an image network: its layers before the first cell.

A stem that halves nothing is a 3 x 3 convolution and its batch norm, as in the
reference (micro_child.py). Otherwise it has one such convolution of stride 2
for each halving, with a ReLU between two of them; each but the last has half
the channels, as in DARTS for ImageNet (Liu et al. 2019, model.py).
"""

from collections.abc import Iterator
import math
from typing import Annotated

import jax
import numpy as np

from enas_jax.errors import ConfigError
from enas_jax.ops import layers, size
from enas_jax.options import Ge, Le, Small

# The option of a network that says how often its stem halves the image.
Halvings = Annotated[int, Ge(0), Le(2), Small(0)]

_LEAST = 4  # pixels that a stem leaves of a side, for two later halvings


def check(halvings: int, shape: tuple[int, int, int]) -> None:
  """Raises ConfigError of "stem" if a stem is too deep for an image.

  Args:
    halvings: The number of its halvings; none suit every image.
    shape: (H, W, C) of the image.
  """
  height, width, _ = shape
  if halvings and min(height, width) < _LEAST << halvings:
    raise ConfigError(
        "stem",
        f"{halvings} halvings need pictures of at least {_LEAST << halvings}"
        f" pixels a side, these have {width:,} x {height:,}. Take a smaller"
        " stem (0, 1 or 2), or a larger config.data.size.",
    )


def apply(
    x: jax.Array,
    channels: int,
    halvings: int,
    track: bool,
    *,
    name: str | None = None,
    train: bool,
) -> jax.Array:
  """Returns the result of a stem; to be called inside of a flax module.

  Args:
    x: [B, H, W, C], the image.
    channels: The channels of the result.
    halvings: The number of times that it halves the image, rounding up.
    track: Whether batch norms track moving averages.
    name: The name of the last convolution in the parameters; those before it
      are called "halving_1" and so on.
    train: Is passed on to the layers.
  """
  *before, last = _layers(channels, halvings)
  for n, (width, stride) in enumerate(before, 1):
    conv = layers.Conv(width, 3, track, stride, name=f"halving_{n}")
    x = jax.nn.relu(conv(x, train=train))
  width, stride = last
  return layers.Conv(width, 3, track, stride, name=name)(x, train=train)


def sides(shape: tuple[int, ...], halvings: int) -> tuple[int, int]:
  """Returns height and width of the result for an image [H, W, ...]."""
  height, width = shape[:2]
  for _ in range(halvings):
    height, width = size.halved(height, width)
  return height, width


def counted(
    channels: int, halvings: int, shape: tuple[int, int, int]
) -> np.ndarray:
  """Returns the pair of a stem, as `ops.size` counts.

  Args:
    channels: The channels of the result.
    halvings: The number of times that it halves the image.
    shape: (H, W, C) of the image.
  """
  inputs, pair = shape[-1], np.zeros(2, int)
  for width, stride in _layers(channels, halvings):
    shape = sides(shape, stride - 1)
    pair += size.conv(inputs, width, 3, math.prod(shape))
    inputs = width
  return pair


def _layers(channels: int, halvings: int) -> Iterator[tuple[int, int]]:
  """Yields the channels and the stride of each convolution."""
  for _ in range(1, halvings):
    yield -(-channels // 2), 2
  yield channels, 2 if halvings else 1
