"""Brings pictures of different sizes to one size."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
  import PIL.Image


def square(picture: "PIL.Image.Image", size: int) -> "PIL.Image.Image":
  """Returns the central square of a picture, resized to size x size pixels."""
  from PIL import Image

  side = min(picture.size)
  left, top = ((length - side) // 2 for length in picture.size)
  # The `box` of resize is not used because it reads pixels around the square.
  picture = picture.crop((left, top, left + side, top + side))
  return picture.resize((size, size), Image.Resampling.BILINEAR)
