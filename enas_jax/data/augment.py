"""Augmentation of a batch on the device, each example on its own.

Images are normalised already, so the zeros that fill a border or a hole are
the mean of the training images (ENAS §3.2; official `data_utils.py`).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from enas_jax.types import check_whole


class Augment(NamedTuple):
  """What is done to a training image, in this order."""

  pad: int = 4  # zeros on each side, then a crop of the first size; 0: off
  flip: bool = True  # left to right, one image in two
  cutout: int = 0  # side of the hole of Cutout in pixels; 0: off
  # The official code draws the hole's top-left corner, so that its holes are
  # cut off at the lower and right border only; the Cutout paper its centre.
  cutout_corner: bool = False


def check(augment: Augment, shape: tuple[int, int, int]) -> None:
  """Raises ConfigError if a value is out of range."""
  smallest = min(shape[:2])
  check_whole("config.augment.pad", augment.pad, high=smallest)
  check_whole("config.augment.cutout", augment.cutout, high=2 * smallest)


def apply(augment: Augment, key: jax.Array, images: jax.Array) -> jax.Array:
  """Augments normalised images, f32[B, H, W, C] -> f32[B, H, W, C]."""
  shift_key, flip_key, hole_key = jax.random.split(key, 3)
  if augment.pad or augment.flip:
    images = _shift_and_flip(augment, shift_key, flip_key, images)
  if augment.cutout:
    hole = _hole(augment, hole_key, images.shape)
    images = jnp.where(hole[..., None], 0, images)
  return images


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
  # Two gathers, of whole rows and then of pixels: on a CPU as fast as a slice
  # an example, and without the padded copy.
  images = jnp.take_along_axis(images, rows[:, :, None, None], axis=1)
  images = jnp.take_along_axis(images, columns[:, None, :, None], axis=2)
  inside = row_inside[:, :, None] & column_inside[:, None, :]
  return jnp.where(inside[..., None], images, 0)


def _clip(index, size):
  """The index held within the image, and where it was so already."""
  return jnp.clip(index, 0, size - 1), (index >= 0) & (index < size)


def _hole(augment, key, shape):
  """bool[B, H, W], a square that the border may cut off."""
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
