"""Augments a batch on the device, each example on its own.

The images are normalised before, so the zeros that fill a border or a hole are
the mean of the training images (ENAS §3.2; official `data_utils.py`).

Only training images come here. A reward, a test and a prediction read the whole
image: its central part was resized when it was read (`Preprocess`), and no
further crop is taken of it.
"""

import dataclasses
import math
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp

from enas_jax.options import checked, Ge, Gt, Le, Small, Whole


@dataclasses.dataclass(frozen=True)
class Augment:
  """Says what is done to a training image, in this order.

  Attributes:
    scale: The least share of the image's area that a random part has, which is
      resized to the size of the image; 1 is off, and 0.08 is usual for pictures
      of 224 pixels (Szegedy et al. 2015).
    ratio: The most by which a random part is wider than the image, or taller,
      where `scale` is below 1; 1 keeps the ratio of the image.
    pad: The number of zeros that pad each side before a crop to the size of the
      image; 0 is off.
    flip: Whether one image in two is mirrored, left to right.
    cutout: The side of the hole of Cutout in pixels; 0 is off.
    cutout_corner: Whether the top-left corner of the hole is drawn, not its
      centre.
  """

  scale: Annotated[float, Gt(0), Le(1)] = 1.0
  ratio: Annotated[float, Ge(1)] = 4 / 3
  pad: Annotated[Whole, Small(1)] = 4
  flip: bool = True
  cutout: Whole = 0
  # The official code draws the hole's top-left corner, so that its holes are
  # cut off at the lower and right border only. The Cutout paper draws the
  # centre.
  cutout_corner: bool = False

  def check(self, shape: tuple[int, int, int]) -> None:
    """Raises ConfigError if an image of shape (H, W, C) is too small for it."""
    side = min(shape[:2])
    checked("pad", self.pad, Annotated[int, Ge(0), Le(side)])
    checked("cutout", self.cutout, Annotated[int, Ge(0), Le(2 * side)])


def apply(augment: Augment, key: jax.Array, images: jax.Array) -> jax.Array:
  """Augments normalised images, f32[B, H, W, C] -> f32[B, H, W, C]."""
  shift_key, flip_key, hole_key = jax.random.split(key, 3)
  if augment.scale < 1:
    # A key of its own, so that all else is drawn as without it.
    part = parts(augment, jax.random.fold_in(key, 3), len(images))
    images = resized(images, part)
  if augment.pad or augment.flip:
    images = _shift_and_flip(augment, shift_key, flip_key, images)
  if augment.cutout:
    hole = _hole(augment, hole_key, images.shape)
    images = jnp.where(hole[..., None], 0, images)
  return images


class Part(NamedTuple):
  """A part of each image; all numbers are shares of the image's sides."""

  top: jax.Array  # f32[B]
  left: jax.Array  # f32[B]
  height: jax.Array  # f32[B]
  width: jax.Array  # f32[B]


def parts(augment: Augment, key: jax.Array, batch: int) -> Part:
  """Draws the random parts of the images of a batch.

  The area is uniform from `scale` to 1, and the logarithm of the ratio is
  uniform among those with which the part fits into the image. So the area stays
  uniform; what draws a pair again until it fits has fewer large areas.
  """
  area_key, ratio_key, top_key, left_key = jax.random.split(key, 4)
  area = jax.random.uniform(area_key, (batch,), minval=augment.scale)
  most = jnp.minimum(math.log(augment.ratio), -jnp.log(area))
  ratio = jnp.exp(
      most * jax.random.uniform(ratio_key, (batch,), minval=-1.0)
  )
  height = jnp.minimum(jnp.sqrt(area / ratio), 1)
  width = jnp.minimum(jnp.sqrt(area * ratio), 1)
  top = (1 - height) * jax.random.uniform(top_key, (batch,))
  left = (1 - width) * jax.random.uniform(left_key, (batch,))
  return Part(top, left, height, width)


def resized(images: jax.Array, part: Part) -> jax.Array:
  """Resizes the part of each image to the whole, [B, H, W, C], bilinearly.

  A part is no larger than the result, so no pixel of it is left out.
  """
  images = _sampled(images, part.top, part.height, 1)
  return _sampled(images, part.left, part.width, 2)


def _sampled(images, start, share, axis):
  """Resizes the part of each image along one axis."""
  size = images.shape[axis]
  # The centre of pixel n is at n + 1/2, in the part and in the result.
  at = (jnp.arange(size) + 0.5) * share[:, None] + size * start[:, None] - 0.5
  at = jnp.clip(at, 0, size - 1)
  low = jnp.floor(at).astype(int)
  shape = [len(images), 1, 1, 1]
  shape[axis] = size

  def take(index):
    return jnp.take_along_axis(images, index.reshape(shape), axis=axis)

  near, far = take(low), take(jnp.minimum(low + 1, size - 1))
  return near + (at - low).reshape(shape) * (far - near)


def _shift_and_flip(augment, shift_key, flip_key, images):
  batch, height, width, _ = images.shape
  # A crop of the padded image is a shift that brings in zeros.
  down, right = jax.random.randint(
      shift_key, (2, batch, 1), -augment.pad, augment.pad + 1
  )
  columns = jnp.arange(width)
  if augment.flip:
    flipped = jax.random.bernoulli(flip_key, shape=(batch, 1))
    columns = jnp.where(flipped, columns[::-1], columns)
  rows, row_inside = _clip(jnp.arange(height) + down, height)
  columns, column_inside = _clip(columns + right, width)
  # Two gathers, of whole rows and then of pixels, are as fast on a CPU as one
  # slice for each example, and need no padded copy.
  images = jnp.take_along_axis(images, rows[:, :, None, None], axis=1)
  images = jnp.take_along_axis(images, columns[:, None, :, None], axis=2)
  inside = row_inside[:, :, None] & column_inside[:, None, :]
  return jnp.where(inside[..., None], images, 0)


def _clip(index, size):
  """Returns (the index clipped to the image, whether it was inside)."""
  return jnp.clip(index, 0, size - 1), (index >= 0) & (index < size)


def _hole(augment, key, shape):
  """Draws the pixels of the holes, bool[B, H, W]; the border may cut a hole."""
  batch, height, width, _ = shape
  top, left = jax.random.randint(
      key, (2, batch, 1), 0, jnp.array([height, width])[:, None, None]
  )
  if not augment.cutout_corner:
    top, left = top - augment.cutout // 2, left - augment.cutout // 2
  rows, columns = jnp.arange(height), jnp.arange(width)
  row_inside = (rows >= top) & (rows < top + augment.cutout)
  column_inside = (columns >= left) & (columns < left + augment.cutout)
  return row_inside[:, :, None] & column_inside[:, None, :]
