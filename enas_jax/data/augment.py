"""Augments a batch on the device, each example on its own.

The images are normalised before, so the zeros that fill a border or a hole are
the mean of the training images (ENAS §3.2; official `data_utils.py`).
"""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp

from enas_jax.options import checked, Ge, Le, Small, Whole


@dataclasses.dataclass(frozen=True)
class Augment:
  """Says what is done to a training image, in this order.

  Attributes:
    pad: The number of zeros that pad each side before a crop to the size of the
      image; 0 is off.
    flip: Whether one image in two is mirrored, left to right.
    cutout: The side of the hole of Cutout in pixels; 0 is off.
    cutout_corner: Whether the top-left corner of the hole is drawn, not its
      centre.
  """

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
