"""Pictures of different sizes, made alike."""


def square(picture, size: int):
  """The central square of a Pillow image, size x size pixels."""
  from PIL import Image

  side = min(picture.size)
  left, top = ((length - side) // 2 for length in picture.size)
  # Not the `box` of resize: it looks at pixels around the square too.
  picture = picture.crop((left, top, left + side, top + side))
  return picture.resize((size, size), Image.Resampling.BILINEAR)
