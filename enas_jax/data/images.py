"""Labelled images, and the splits and batches that are made of them.

Images stay in host memory as they were read, and the feed of a split puts them
on a device, where its batches are gathered; or they are read batch by batch.

Besides the letters of types.py, n is the number of examples of a split.
"""

from collections.abc import Callable
import dataclasses
import functools
import math
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import MinLen
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import options
from enas_jax.data import augment as augments
from enas_jax.data import grains, telling
from enas_jax.data import stream as streaming
from enas_jax.data.augment import Augment
from enas_jax.data.examples import (
    first,
    Held,
    hold_out,
    Images,
    statistics,
    Streamed,
    surveyed,
    whole,
)
from enas_jax.data.forms import numbers, odd, what
from enas_jax.data.preprocess import Preprocess
from enas_jax.errors import ConfigError, kind, lookup
from enas_jax.options import checked, Count, Small, Whole
from enas_jax.types import Key, MEASURES, Split

# The path of a folder, which "" is not.
Path = Annotated[options.Path, MinLen(1)]


@dataclasses.dataclass(frozen=True)
class Source:
  """A data set that reads its images when they are needed.

  `train` and `test` each read only their own split, so code that is given only
  `train` cannot see the test images. Each reads once, when it is first called;
  all splits that are made of it share these arrays. A split must be `Images` in
  numpy: images u8[n, *shape], labels of whole numbers [n] in 0 to classes - 1;
  or `Examples` that read such images.

  Attributes:
    shape: (H, W, C), the shape of an image.
    classes: The number of classes.
    train: Reads the training split; is a function without arguments. It may
      return `Examples`; when the source is made, it returns `Images`.
    test: Reads the test split as `train` does its own.
    mirrors: Whether a mirrored image still belongs to its class.
    names: The names of the classes in the order of their numbers; (): their
      numbers.

  Raises:
    ConfigError: A field is not as said here, or a split that is read is not.
      The key is "name", the option that says which data set it is.
  """

  shape: tuple[int, int, int]
  classes: int
  train: Callable[[], Images]
  test: Callable[[], Images]
  mirrors: bool = True
  names: tuple[str, ...] = ()

  task = "classification"

  def __post_init__(self):
    if len(self.shape) != 3:
      raise odd("its shape", "(height, width, channels)", self.shape)
    names = tuple(self.names) or tuple(map(str, range(self.classes)))
    form = f"a tuple of {self.classes} texts, one for each class"
    if isinstance(self.names, str):
      raise odd("its names", form, repr(self.names))
    texts = all(isinstance(name, str) for name in names)
    if not texts or len(names) != self.classes:
      raise odd("its names", form, f"{len(names)}: {names!r:.80}")
    object.__setattr__(self, "names", names)
    for split in ("train", "test"):
      read = getattr(self, split)
      if not callable(read):
        form = "a function that returns Images"
        raise odd(f"its {split}", form, kind(read))
      # A split of another source is held to what this one says.
      read = read.found if isinstance(read, _Part) else read
      object.__setattr__(self, split, _Part(self, split, read))

  @property
  def facts(self) -> dict[str, int]:
    """Returns the facts about the set that a network has to know."""
    return {"classes": self.classes}

  def search(
      self,
      *,
      batch: Annotated[Count, Small(32)],
      valid: Annotated[Count, Small(64)],
      eval_batch: Annotated[Count | None, Small(64)] = None,
      limit: Count | None = None,
      stream: bool = False,
      workers: Whole = 2,
      **augment: Any,
  ) -> tuple[Split, Split]:
    """Divides the training split in two, to train on and to reward on.

    The test split is not read, and nothing here leads to it.

    Args:
      batch: The number of images in a child step.
      valid: The number of images held out to reward on, the last ones.
      eval_batch: The number of held-out images in a reward, and in a step of a
        candidate's pass over them; None says as many as `batch`.
      limit: The number of training images that are used, the first ones, those
        held out among them; None: all.
      stream: Whether images are read by Grain when their batch comes, and not
        held in memory. They are all read once before, for their mean.
      workers: The processes that read for each split of a stream; 0: the one
        that trains reads itself.
      **augment: The options of `Augment`.

    Raises:
      ConfigError: "batch", "valid", "eval_batch", "pad" or "cutout" does not
        suit the number or the size of the images.
    """
    read = functools.partial(_Part.read, stream=stream, workers=workers)
    train, held = self._hold_out(first(read(self.train), limit), valid)
    mean, std = statistics(train)
    augment = self._augment(**augment)
    return (
        image_split(train, mean=mean, std=std, batch=batch, augment=augment),
        image_split(
            held,
            mean=mean,
            std=std,
            batch=batch if eval_batch is None else eval_batch,
            batch_key="batch" if eval_batch is None else "eval_batch",
            part="validation",
        ),
    )

  def final(
      self,
      *,
      batch: Annotated[Count, Small(32)],
      eval_batch: Annotated[Count, Small(64)],
      measure: Literal["test", "valid"] = "test",
      valid: Annotated[Count | None, Small(64)] = None,
      limit: Count | None = None,
      stream: bool = False,
      workers: Whole = 2,
      **augment: Any,
  ) -> tuple[Split, None, Split]:
    """Returns a split to train on, None to watch, and a split to measure on.

    Args:
      batch: The number of images in a training step.
      eval_batch: The number of images in a step of a measurement.
      measure: "test" trains on all training images and measures on the test
        split. "valid" divides the training images as `search` does, and does
        not read the test split.
      valid: The number of training images, the last ones, that are held out
        where `measure` is "valid"; else it is not used.
      limit: As in `search`; the test split is always used whole.
      stream: As in `search`.
      workers: As in `search`.
      **augment: The options of `Augment`.

    Raises:
      ConfigError: As in `search`; or "measure" is unknown.
    """
    part = lookup("measure", measure, MEASURES, "split")
    read = functools.partial(_Part.read, stream=stream, workers=workers)
    train = first(read(self.train), limit)
    if measure == "valid":
      train, held = self._hold_out(train, valid)
    else:
      held = read(self.test)
    mean, std = statistics(train)
    augment = self._augment(**augment)
    return (
        image_split(train, mean=mean, std=std, batch=batch, augment=augment),
        None,
        image_split(
            held,
            mean=mean,
            std=std,
            batch=eval_batch,
            batch_key="eval_batch",
            part=part,
        ),
    )

  def _hold_out(self, images: Any, count: int) -> tuple[Any, Any]:
    """Holds out the last training images; tells which classes they lack."""
    parts = hold_out(images, count)
    for part, images in zip(("train on", "validate on"), parts, strict=True):
      lacking = {*range(self.classes)} - {*np.unique(images.labels).tolist()}
      if lacking:
        names = telling.few(self.names[n] for n in sorted(lacking))
        telling.tell(
            f"No image to {part}, of {len(images.labels):,}, is of {names}."
            " config.data.valid says how many of the training images are held"
            " out."
        )
    return parts

  def _augment(self, **wanted: Any) -> Augment:
    augment = Augment(**wanted)
    return dataclasses.replace(augment, flip=augment.flip and self.mirrors)


class _Part:
  """One split of a source, which is read once, when it is first wanted.

  Called, it returns the images in memory.
  """

  def __init__(self, source: Source, split: str, read: Callable[[], Any]):
    self._source, self._split = source, split
    self.found = functools.cache(read)
    self._whole = functools.cache(self._held)
    self._surveyed = functools.cache(self._survey)

  def __call__(self) -> Images:
    return self._whole()

  def read(self, stream: bool, workers: int) -> Images | Streamed:
    """Returns the images in memory, or what reads them batch by batch."""
    if not stream:
      return self()
    grains.check()
    return self._surveyed(workers)

  def _held(self) -> Images:
    found = self.found()
    if not isinstance(found, Images) and hasattr(found, "read"):
      found = whole(found)
    if not isinstance(found, Images):
      raise odd(f"what its {self._split} returns", "Images", kind(found))
    self._check_images(found.images)
    self._check_labels(found.labels, len(found.images))
    return found

  def _survey(self, workers: int) -> Streamed:
    found = self.found()
    if not hasattr(found, "read"):
      found = Held(self())
    if tuple(found.shape) != tuple(self._source.shape):
      form = f"of its shape {self._source.shape}"
      raise odd(f"the images of its {self._split}", form, found.shape)
    found = surveyed(found, workers)
    self._check_labels(found.labels, len(found.examples))
    return found

  def _check_images(self, images: Any) -> None:
    sides = tuple(self._source.shape)
    bytes_ = numbers(images) == "u" and images.itemsize == 1
    if not bytes_ or images.shape[1:] != sides:
      form = f"uint8[n, {', '.join(map(str, sides))}] in numpy"
      raise odd(f"the images of its {self._split}", form, what(images))

  def _check_labels(self, labels: Any, n: int) -> None:
    classes = self._source.classes
    if numbers(labels) not in ("i", "u") or labels.shape != (n,):
      form = f"int32[{n}] in numpy, one for each image"
      raise odd(f"the labels of its {self._split}", form, what(labels))
    if n and not 0 <= labels.min() <= labels.max() < classes:
      form = f"0 to {classes - 1} for its {classes} classes"
      seen = f"{labels.min()} to {labels.max()}"
      raise odd(f"the labels of its {self._split}", form, seen)


class ImageBatch(NamedTuple):
  """A batch as a network reads it, on a device."""

  images: jax.Array  # f32[B, H, W, C], normalised
  labels: jax.Array  # i32[B]
  weight: jax.Array  # f32[B], 0 for an example that only fills the batch
  share: jax.Array  # f32[], always 1 because every batch is whole


def image_split(
    images: Images | Streamed,
    *,
    mean: np.ndarray,
    std: np.ndarray,
    batch: int,
    augment: Augment | None = None,
    batch_key: str = "batch",
    part: str = "training",
) -> Split:
  """Makes a split of images with batches of `ImageBatch`.

  A row of the plan is (index i32[B], weight f32[B]). A shuffled pass is a
  permutation; its last batch is filled up with the first examples of the
  permutation, all with weight 1. It has as many steps, all of full batches, as
  the official queue counts as an epoch. A pass in order has every example once
  with weight 1; its last batch is filled up with real examples at weight 0, so
  that batch statistics never see an invented image. In the plan of a stream the
  place of the batch in the pass, i32[B] of one number, stands for the index.

  Args:
    images: u8[n, H, W, C] and i32[n] on the host, which are the split's arrays;
      or what reads them batch by batch.
    mean: f32[C] of the `statistics` of the images to train on.
    std: f32[C] of these statistics.
    batch: B, at most n.
    augment: The augmentation that `Split.batch` applies when given a key.
    batch_key: The name of `batch` in errors.
    part: The name of the split in errors.

  Raises:
    ConfigError: The batch is larger than the split, or the augmentation is
      larger than the image.
  """
  n = len(images.labels)
  checked(batch_key, batch, Count)
  if batch > n:
    raise ConfigError(
        batch_key, f"{batch} is more than the {n} examples of the {part} split."
    )
  streams = isinstance(images, Streamed)
  shape = images.examples.shape if streams else images.images.shape[1:]
  if augment is not None:
    augment.check(shape)
  steps = math.ceil(n / batch)
  levels = (tuple(map(float, np.ravel(value))) for value in (mean, std))
  reads = Preprocess(shape, *levels)
  rows = functools.partial(_rows, n, steps, batch, streams)
  gather = functools.partial(_gather, reads, augment, streams)
  split = Split(
      images, steps, rows, gather, batch, "images", preprocess=reads
  )
  if not streams:
    return split
  return split._replace(
      arrays=Images(
          jax.ShapeDtypeStruct((1, batch, *shape), np.uint8),
          jax.ShapeDtypeStruct((1, batch), np.int32),
      ),
      stream=streaming.Stream(images, steps, batch),
  )


def _rows(
    n: int, steps: int, batch: int, streams: bool, key: Key | None
) -> tuple[jax.Array, jax.Array]:
  """Returns the plan of a pass: `Split.rows` of `image_split`."""
  weight = jnp.ones(steps * batch)
  if key is None:
    weight = weight.at[n:].set(0)
  weight = weight.reshape(steps, batch)
  if not streams:
    return streaming.order(n, steps, batch, key), weight
  place = jnp.arange(steps, dtype=jnp.int32)
  return jnp.broadcast_to(place[:, None], (steps, batch)), weight


def _gather(
    reads: Preprocess,
    augment: Augment | None,
    streams: bool,
    arrays: Images,
    row: tuple[jax.Array, jax.Array],
    key: Key | None,
) -> ImageBatch:
  """Makes the batch of a row: `Split.batch` of `image_split`."""
  index, weight = row
  if streams:  # gathered as from the memory, so that all numbers round alike
    window = len(arrays.images)
    arrays = jax.tree.map(
        lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), arrays
    )
    index = index % window * len(index) + jnp.arange(len(index))
  pixels = reads.normalise(arrays.images[index])
  if augment is not None and key is not None:
    pixels = augments.apply(augment, key, pixels)
  labels = arrays.labels[index]
  return ImageBatch(pixels, labels, weight, jnp.float32(1))
