"""How a picture becomes the pixels, and pixels the numbers, of a network.

A set's reader, the batches of a training and whoever uses the trained network
later all go through `Preprocess`, so that they agree to the bit.
"""

import dataclasses
import pathlib
from typing import Any, TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from enas_jax.errors import ConfigError

if TYPE_CHECKING:
  import PIL.Image

SUFFIXES = (
    *(".bmp", ".gif", ".jpeg", ".jpg", ".pgm"),
    *(".png", ".ppm", ".tif", ".tiff", ".webp"),
)
_DEEP = ("I", "F")  # first letters of Pillow's modes of more than 8 bits
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by the number of channels


@dataclasses.dataclass(frozen=True)
class Preprocess:
  """What is done to a picture before a network reads it.

  Attributes:
    shape: (H, W, C) of what the network reads.
    mean: of each channel, for pixels in [0, 1]; a reader has no use for it.
    std: of each channel, likewise.
  """

  shape: tuple[int, int, int]
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()

  def pixels(self, picture: "PIL.Image.Image") -> np.ndarray:
    """Returns the pixels of a Pillow image, u8[H, W, C].

    Channels are converted as Pillow does, so what says how opaque a pixel is
    is dropped. Of a picture of another size the central part that has the
    ratio of H and W is resized to it.

    Raises:
      ConfigError: of "path", more than 8 bits a channel, or a broken file.
    """
    height, width, channels = self.shape
    if picture.mode.startswith(_DEEP):
      raise ConfigError("path", f"{_name(picture)} has {_TOO_DEEP}")
    try:
      picture = picture.convert(MODES[channels])
    except (OSError, SyntaxError, ValueError) as error:
      raise ConfigError(
          "path", f"cannot read {_name(picture)}: {error}"
      ) from None
    if picture.size != (width, height):
      picture = _central(picture, width, height)
    return np.asarray(picture).reshape(self.shape)

  def normalise(self, pixels: Any) -> Any:
    """Returns f32[..., C], what a network reads, of pixels u8[..., C]."""
    mean, std = np.float32(self.mean), np.float32(self.std)
    return (pixels.astype(jnp.float32) / 255 - mean) / std


_TOO_DEEP = "more than 8 bits a channel."


def open_picture(path: str | pathlib.Path) -> "PIL.Image.Image":
  """Opens a Pillow image, of which only the header is read.

  Raises:
    ConfigError: of "path", no picture, or of more than 8 bits a channel.
  """
  from PIL import Image

  try:
    picture = Image.open(path)
  except (
      *(OSError, SyntaxError, ValueError),
      Image.DecompressionBombError,
  ) as error:
    raise ConfigError("path", f"cannot read {path}: {error}") from None
  if picture.mode.startswith(_DEEP):
    picture.close()
    raise ConfigError("path", f"{path} has {_TOO_DEEP}")
  return picture


def is_picture(path: pathlib.Path) -> bool:
  """Says whether a file's name is that of a picture."""
  hidden = path.name.startswith(".")
  return path.suffix.lower() in SUFFIXES and not hidden


def _name(picture: "PIL.Image.Image") -> str:
  return getattr(picture, "filename", "") or "a picture"


def _central(
    picture: "PIL.Image.Image", width: int, height: int
) -> "PIL.Image.Image":
  """Returns the central part of a picture, width x height pixels."""
  from PIL import Image

  own, tall = picture.size
  across = min(own, max(1, round(tall * width / height)))
  down = min(tall, max(1, round(own * height / width)))
  left, top = (own - across) // 2, (tall - down) // 2
  # Not the `box` of resize: it looks at pixels around the part too.
  picture = picture.crop((left, top, left + across, top + down))
  return picture.resize((width, height), Image.Resampling.BILINEAR)
