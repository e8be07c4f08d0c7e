"""Draws images with a known best operation, a toy that a search must solve."""

import functools
from typing import Annotated

import numpy as np

from enas_jax.data.examples import check_room, Images
from enas_jax.data.images import Source
from enas_jax.options import Ge, Seed, Small

_PERIOD = 6  # rows
_WAVE = 3  # columns, the side of a pool: see below
_CONTRAST = 40  # standard deviation of the texture in grey levels
_NOISE = 10  # of each pixel, likewise
_BYTES = 3 * 8  # of a value while it is drawn: copies of float64


def load(
    *,
    size: Annotated[int, Ge(8), Small(8)] = 16,
    examples: Annotated[int, Ge(4)] = 512,
    test_examples: Annotated[int, Ge(4)] = 256,
    seed: Seed = 0,
) -> Source:
  """Returns textures of random rows; the rows after the first 6 give the class.

  The red and the green channel of an image each have 6 random rows, which
  repeat down the image, either unchanged or with the opposite sign each time.
  This makes 4 classes, equally frequent; the blue channel is noise. Any 6 rows
  in succession are random in the same way in every class, so it takes 7 rows to
  tell one class from another. In a micro space the best arch is therefore the
  separable convolution of 5 x 5 everywhere:

  * with the 3 x 3 stem before it, it sees 7 rows at once and 11 when it is
    applied for the second time: one is enough;
  * a 3 x 3 convolution sees 5 rows, and 7 only when applied for the second
    time: second best, by more the smaller the network is;
  * identity sees the 3 rows of the stem, and 6 with the shifted grids of two
    factorised reductions: nothing but chance;
  * a pool sees 5 rows: nothing. In a chain of pools the average is blind too:
    along a row the texture repeats every 3 columns with mean zero, which is
    what a pool of 3 columns removes. A chain of max pools, or pools of several
    cells, see part of it.

  This was measured once on the test split: a shared network of 1 + 2 cells, 2
  nodes and 8 filters with one operation everywhere reached, after 150 steps of
  Adam, 0.90, 0.71 and 0.29 in this order and, with average and max pooling,
  0.31 and 0.48; chance is 0.25.

  A mirrored or shifted image keeps its class. When a split is read, a set that
  the memory cannot hold raises ConfigError.

  Args:
    size: The number of pixels of a side.
    examples: The number of images in the train split.
    test_examples: The number of images in the test split.
    seed: The seed, which makes the whole set together with the other options.
  """
  return Source(
      shape=(size, size, 3),
      classes=4,
      train=functools.partial(_draw, [seed, 0], examples, size),
      test=functools.partial(_draw, [seed, 1], test_examples, size),
  )


def _draw(seed: list[int], n: int, size: int) -> Images:
  check_room(n, (size, size, 3), _BYTES)
  # RandomState is used because numpy promises that its stream never changes.
  random = np.random.RandomState(seed)
  labels = random.permutation(np.arange(n) % 4)
  pixels = random.normal(128, _NOISE, (n, size, size, 3))
  rows = random.normal(size=(n, _PERIOD, _WAVE, 2))
  rows -= rows.mean(2, keepdims=True)
  rows *= _CONTRAST / rows.std((1, 2), keepdims=True)
  at = np.arange(size)
  turn = np.stack([1 - 2 * (labels // 2), 1 - 2 * (labels % 2)], -1)
  sign = turn[:, None] ** (at // _PERIOD)[:, None]
  texture = rows[:, at % _PERIOD][:, :, at % _WAVE]
  pixels[..., :2] += texture * sign[:, :, None]
  pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
  return Images(pixels, labels.astype(np.int32))
