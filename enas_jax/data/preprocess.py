"""How a picture becomes the pixels, and pixels the numbers, of a network.

A set's reader, the batches of a training and whoever uses the trained network
later all go through `Preprocess`, so that they agree to the bit.
"""

from collections.abc import Iterator
import contextlib
import dataclasses
import logging
import pathlib
from typing import Any, TYPE_CHECKING
import warnings

import jax.numpy as jnp
import numpy as np

from enas_jax import process
from enas_jax.errors import ConfigError

if TYPE_CHECKING:
  import PIL.Image

_DEEP = ("I", "F")  # first letters of Pillow's modes of more than 8 bits
_TOO_DEEP = "more than 8 bits a channel."
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by the number of channels
_ORIENTATION = 0x0112  # the tag of EXIF
_LARGE = 1 << 24  # pixels from which on the memory is looked at
# Bytes that a pixel takes at most while it is read: of a grey picture 3 copies
# of a byte, of any other 5 copies of 4 bytes, to make white of the transparent.
_GREY, _ANY = 3 * 1, 5 * 4
_LINE = 300  # characters of the reason why a file cannot be read


class Unreadable(ConfigError):
  """Says that a picture cannot be decoded.

  Attributes:
    name: The file.
    reason: What the decoder says.
  """

  def __init__(self, name: str, reason: str):
    super().__init__("path", f"cannot read {name}: {reason}")
    self.name, self.reason = name, reason

  def __reduce__(self) -> tuple:
    """Says how another process makes it again."""
    return type(self), (self.name, self.reason)


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

  def pixels(
      self, picture: "PIL.Image.Image", resize: bool = True
  ) -> np.ndarray:
    """Returns the pixels of a Pillow image, u8[H, W, C].

    The picture is turned upright, as its EXIF data say. What is transparent in
    it, in whichever form, shows white behind it, unless the network reads how
    opaque a pixel is (4 channels). Of a picture of another size the central
    part that has the ratio of H and W is resized to it.

    Args:
      picture: The Pillow image.
      resize: Whether a picture may be of another size.

    Raises:
      ConfigError: of "path", more than 8 bits a channel, a broken file, or too
        little memory; of "size", another size where it may not be.
    """
    height, width, channels = self.shape
    name = getattr(picture, "filename", "") or "a picture"
    with _reading(name):
      _check(picture, name)
      picture = upright(picture)
      if not resize and picture.size != (width, height):
        raise ConfigError(
            "size",
            f"the images differ: {name} has {picture.width}x{picture.height}"
            f" pixels, others {width}x{height}. Give the size to resize to,"
            f" such as --config.data.size={min(width, height)}.",
        )
      mode = MODES[channels]
      if _is_grey(picture):  # is one channel for as long as it is large
        picture = picture.convert("L")
      elif picture.has_transparency_data and channels != 4:
        picture = _on_white(picture).convert(mode)
      else:
        picture = picture.convert(mode)
      if picture.size != (width, height):
        picture = _central(picture, width, height)
      return np.asarray(picture.convert(mode)).reshape(self.shape)

  def normalise(self, pixels: Any) -> Any:
    """Returns f32[..., C], what a network reads, of pixels u8[..., C]."""
    mean, std = np.float32(self.mean), np.float32(self.std)
    return (pixels.astype(jnp.float32) / 255 - mean) / std


def open_picture(path: str | pathlib.Path) -> "PIL.Image.Image":
  """Opens a Pillow image, of which only the header is read.

  Raises:
    ConfigError: of "path", no picture, one of more than 8 bits a channel, or
      one that the memory cannot hold.
  """
  from PIL import Image

  with _reading(path):
    picture = Image.open(path)
    try:
      _check(picture, path)
    except ConfigError:
      picture.close()
      raise
    return picture


def upright(picture: "PIL.Image.Image") -> "PIL.Image.Image":
  """Returns a picture as a viewer shows it; reads its pixels."""
  from PIL.Image import Transpose

  picture.load()  # a TIFF is turned by this
  try:
    orientation = int(picture.getexif().get(_ORIENTATION, 1))
  except Exception:  # a viewer shows a picture whose EXIF data are broken, too
    orientation = 1
  turn = {
      2: Transpose.FLIP_LEFT_RIGHT,
      3: Transpose.ROTATE_180,
      4: Transpose.FLIP_TOP_BOTTOM,
      5: Transpose.TRANSPOSE,
      6: Transpose.ROTATE_270,
      7: Transpose.TRANSVERSE,
      8: Transpose.ROTATE_90,
  }.get(orientation)
  return picture if turn is None else picture.transpose(turn)


def size_of(path: pathlib.Path) -> tuple[int, int]:
  """Returns width and height of a picture as a viewer shows it.

  Raises:
    ConfigError: As in `open_picture`; or the file is broken.
  """
  with open_picture(path) as picture, _reading(path):
    return upright(picture).size


@contextlib.contextmanager
def _reading(name: str | pathlib.Path) -> Iterator[None]:
  """Turns any error of Pillow into one line that names the picture.

  Pillow's own limit to the number of pixels is off meanwhile: `_check` looks at
  the memory that there is. So are its warnings and its log: each picture would
  add lines of its own.
  """
  from PIL import Image

  log = logging.getLogger("PIL")
  level = log.level
  log.setLevel(logging.CRITICAL)
  most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      yield
  except ConfigError:
    raise
  except Exception as error:  # decoders fail in any way on a broken file
    reason = " ".join(str(error).split())[:_LINE] or type(error).__name__
    raise Unreadable(str(name), reason) from None
  finally:
    Image.MAX_IMAGE_PIXELS = most
    log.setLevel(level)


def _check(picture: "PIL.Image.Image", name: str | pathlib.Path) -> None:
  """Raises ConfigError for what cannot become pixels of 8 bits."""
  if picture.mode.startswith(_DEEP):
    raise ConfigError("path", f"{name} has {_TOO_DEEP}")
  pixels = picture.width * picture.height
  if pixels > _LARGE:
    need = pixels * (_GREY if _is_grey(picture) else _ANY)
    free = process.free_memory()
    if need > free:
      raise ConfigError(
          "path",
          f"{name} has {picture.width:,} x {picture.height:,} pixels, which"
          f" take {need / 1e9:,.1f} GB of memory to read; {free / 1e9:,.1f} GB"
          " are free.",
      )


def _is_grey(picture: "PIL.Image.Image") -> bool:
  """Says whether a picture is of one channel, in which nothing is transparent.
  """
  return picture.mode in ("1", "L") and not picture.has_transparency_data


def _on_white(picture: "PIL.Image.Image") -> "PIL.Image.Image":
  """Returns a picture with white behind all that is transparent in it."""
  from PIL import Image

  if picture.mode == "La":  # has no way to RGBA of its own
    picture = picture.convert("LA")
  picture = picture.convert("RGBA")
  white = Image.new("RGBA", picture.size, "white")
  return Image.alpha_composite(white, picture)


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
