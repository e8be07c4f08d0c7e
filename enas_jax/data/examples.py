"""Labelled images, held in memory or read when their batch comes.

Besides the letters of types.py, n is the number of images.
"""

from collections.abc import Iterator, Sequence
import contextlib
import dataclasses
import math
from typing import Annotated, Any, NamedTuple, Protocol

from annotated_types import Ge, Le
import numpy as np

from enas_jax import process
from enas_jax.data import grains, telling
from enas_jax.data.preprocess import Unreadable
from enas_jax.errors import ConfigError
from enas_jax.options import checked

_CHUNK = 256  # images that are read and counted together
_HINT = ", or read them batch by batch (config.data.stream=True)"


class Images(NamedTuple):
  """Labelled images, in numpy arrays on the host or in arrays on a device.

  Attributes:
    images: u8[n, H, W, C], 0 to 255. Grey images have an axis of one channel.
    labels: i32[n], the number of each image's class, 0 to classes - 1.
  """

  images: np.ndarray
  labels: np.ndarray


class Examples(Protocol):
  """Images that are read when they are asked for; can be pickled.

  Attributes:
    what: What they are and where, such as "pictures in D/train".
    shape: (H, W, C) of an image.
  """

  what: str
  shape: tuple[int, int, int]

  def __len__(self) -> int:
    """Returns n."""

  def read(self, numbers: Sequence[int]) -> Images:
    """Reads the images of these numbers, 0 to n - 1, in numpy arrays.

    Raises:
      ConfigError: One of them cannot be read.
    """

  def mark(self) -> Any:
    """Returns numpy arrays that tell these images from others, unread."""


@dataclasses.dataclass(frozen=True)
class Held:
  """Images that a source has in memory, as `Examples`."""

  images: Images
  what: str = "images in memory"

  @property
  def shape(self) -> tuple[int, int, int]:
    return self.images.images.shape[1:]

  def __len__(self) -> int:
    return len(self.images.labels)

  def read(self, numbers: Sequence[int]) -> Images:
    """Returns the images of these numbers."""
    numbers = np.asarray(numbers)
    return Images(*(leaf[numbers] for leaf in self.images))

  def mark(self) -> Images:
    """Returns the images."""
    return self.images


class Streamed(NamedTuple):
  """Images in a row of `Examples`, of which only the labels are in memory.

  Attributes:
    examples: All of them.
    start: The number of the first image.
    labels: i32[n], of these images.
    counts: i64[chunks, C, 256], how often each grey level is in each chunk of
      all examples.
    workers: The processes that read; 0: this one.
  """

  examples: Examples
  start: int
  labels: np.ndarray
  counts: np.ndarray
  workers: int

  def read(self, numbers: Sequence[int]) -> Images:
    """Reads images by their numbers among these, 0 to n - 1."""
    return self.examples.read(np.asarray(numbers) + self.start)

  def mark(self) -> Any:
    """Returns numpy arrays that tell these images from others, unread."""
    return self.examples.mark(), np.array([self.start, len(self.labels)])


def check_room(
    n: int, shape: tuple[int, int, int], each: int = 1, hint: str = ""
) -> None:
  """Raises ConfigError of "size" if the memory cannot hold n images.

  Args:
    n: The number of images.
    shape: (H, W, C) of an image.
    each: The bytes of a value.
    hint: What else helps, for the error.
  """
  need, free = n * math.prod(shape) * each, process.free_memory()
  if need > free:
    height, width, channels = shape
    raise ConfigError(
        "size",
        f"{n:,} images of {width:,} x {height:,} pixels and {channels} channels"
        f" take {need / 1e9:,.1f} GB of memory; {free / 1e9:,.1f} GB are free."
        f" Take a smaller size, or fewer images{hint}.",
    )


def whole(examples: Examples) -> Images:
  """Reads all images into memory.

  Raises:
    ConfigError: The memory cannot hold them, or some cannot be read.
  """
  n = len(examples)
  check_room(n, examples.shape, hint=_HINT)
  images = np.empty((n, *examples.shape), np.uint8)
  labels = np.empty(n, np.int32)
  for i in telling.counted(range(n), examples.what):
    if i % _CHUNK == 0:
      some = slice(i, min(i + _CHUNK, n))
      with _all_told(examples, i):
        images[some], labels[some] = examples.read(range(n)[some])
  return Images(images, labels)


def surveyed(examples: Examples, workers: int) -> Streamed:
  """Reads all images once, and keeps their labels and counts of grey levels.

  Args:
    examples: The images.
    workers: The processes that read; 0: this one.

  Raises:
    ConfigError: Some images cannot be read.
  """
  n = len(examples)
  if isinstance(examples, Held):
    workers = 0  # a process would be given all images first
  chunks = _Chunks(examples)
  labels, counts = [], []
  with grains.reading(chunks, workers) as found:
    for i in telling.counted(range(n), examples.what):
      if i % _CHUNK == 0:
        with _all_told(examples, i):
          some = next(found)
        for kept, one in zip((counts, labels), some, strict=True):
          kept.append(one)
  labels = np.concatenate(labels) if labels else np.empty(0, np.int32)
  return Streamed(examples, 0, labels, np.array(counts), workers)


@contextlib.contextmanager
def _all_told(examples: Examples, start: int) -> Iterator[None]:
  """Reads on where a picture is broken, and makes one error of all of them.

  Else there would be an error for each start of a run.

  Args:
    examples: The images.
    start: The number of the first one that is not known to be whole.
  """
  try:
    yield
  except ConfigError as error:
    broken = [*_broken(examples, start)] if error.key == "path" else []
    if not broken:
      raise
    some = f"{len(broken):,} pictures" if broken[1:] else "1 picture"
    alike = len({each.reason for each in broken}) == 1
    raise ConfigError(
        "path",
        f"{some} cannot be read: {telling.few(each.name for each in broken)}"
        f" ({'' if alike else 'the first: '}{broken[0].reason})."
        f" Delete or replace {'them' if broken[1:] else 'it'}, and type the"
        " same command again.",
    ) from None


def _broken(examples: Examples, start: int) -> Iterator[Unreadable]:
  """Yields an error for each picture that cannot be read."""
  numbers = range(start, len(examples))
  for number in telling.counted(numbers, f"of {examples.what}", brief=True):
    try:
      examples.read([number])
    except Unreadable as error:
      yield error


@dataclasses.dataclass(frozen=True)
class _Chunks:
  """The counts of grey levels and the labels of chunk after chunk."""

  examples: Examples

  def __len__(self) -> int:
    return math.ceil(len(self.examples) / _CHUNK)

  def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
    stop = min((number + 1) * _CHUNK, len(self.examples))
    images, labels = self.examples.read(range(number * _CHUNK, stop))
    return _levels(images), labels


def first(images: Images | Streamed, count: int | None) -> Images | Streamed:
  """Returns the first `count` examples, unshuffled; None: all of them.

  Raises:
    ConfigError: There are not so many.
  """
  if count is None:
    return images
  checked("limit", count, Annotated[int, Ge(1), Le(len(images.labels))])
  labels = images.labels[:count]
  if isinstance(images, Streamed):
    return images._replace(labels=labels)
  return Images(images.images[:count], labels)


def hold_out(images: Images | Streamed, count: int) -> tuple[Any, Any]:
  """Holds out the last `count` examples, unshuffled; returns (train, valid).

  The official `data_utils.py` holds out 5,000 of CIFAR-10's 50,000.

  Raises:
    ConfigError: The count leaves one of the two without an example.
  """
  high = len(images.labels) - 1
  checked("valid", count, Annotated[int, Ge(1), Le(high)])
  train, valid = images.labels[:-count], images.labels[-count:]
  if isinstance(images, Streamed):
    start = images.start + len(train)
    return (
        images._replace(labels=train),
        images._replace(labels=valid, start=start),
    )
  return (
      Images(images.images[:-count], train),
      Images(images.images[-count:], valid),
  )


def statistics(images: Images | Streamed) -> tuple[np.ndarray, np.ndarray]:
  """Returns mean and standard deviation of each channel, f32[C] each.

  Pixels are scaled to [0, 1]. The images must be those to train on, without the
  held-out examples (official `data_utils.py`). The deviation is at least one
  grey level, so that a constant channel is not divided by zero.
  """
  # Sums over counts of grey levels are exact, and need no float copy.
  counts = sum(_counts(images))
  levels = np.arange(256) / 255
  weight = counts / counts.sum(1, keepdims=True)
  mean = weight @ levels
  square = (weight * (levels - mean[:, None]) ** 2).sum(1)
  deviation = np.maximum(np.sqrt(square), 1 / 255)
  return mean.astype(np.float32), deviation.astype(np.float32)


def _counts(images: Images | Streamed) -> Iterator[np.ndarray]:
  """Yields counts i64[C, 256] of grey levels that add up to those of all."""
  n, done = len(images.labels), 0
  if isinstance(images, Streamed) and images.start == 0:
    yield images.counts[: n // _CHUNK].sum(0)
    done = n // _CHUNK * _CHUNK
  for start in range(done, n, _CHUNK):
    stop = min(start + _CHUNK, n)
    if isinstance(images, Streamed):
      yield _levels(images.read(range(start, stop)).images)
    else:
      yield _levels(images.images[start:stop])


def _levels(images: np.ndarray) -> np.ndarray:
  """Returns how often each grey level is in each channel, i64[C, 256]."""
  return np.stack([
      np.bincount(images[..., channel].ravel(), minlength=256)
      for channel in range(images.shape[-1])
  ])
