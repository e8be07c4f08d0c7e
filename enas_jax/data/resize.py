"""Makes pictures of different sizes alike."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
  import PIL.Image


def square(picture: "PIL.Image.Image", size: int) -> "PIL.Image.Image":
  """Returns the central square of a picture, size x size pixels."""
  from PIL import Image

  side = min(picture.size)
  left, top = ((length - side) // 2 for length in picture.size)
  # Not the `box` of resize: it looks at pixels around the square too.
  picture = picture.crop((left, top, left + side, top + side))
  return picture.resize((size, size), Image.Resampling.BILINEAR)
