"""Labelled images, and the splits and batches that are made of them.

Images stay in host memory as they were read. The code that trains or measures
puts the arrays of a split on a device, where its batches are gathered.

Besides the letters of types.py, n is the number of examples of a split.
"""

from collections.abc import Callable
import dataclasses
import math
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import MinLen
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import options, process
from enas_jax.data import augment as augments
from enas_jax.data import telling
from enas_jax.data.augment import Augment
from enas_jax.data.forms import numbers, odd, read_once, what
from enas_jax.data.preprocess import Preprocess
from enas_jax.errors import ConfigError, kind, lookup
from enas_jax.options import checked, Count, Ge, Le, Small
from enas_jax.types import MEASURES, Split

_CHUNK = 1024  # images that are counted together on the host

# The path of a folder, which "" is not.
Path = Annotated[options.Path, MinLen(1)]


class Images(NamedTuple):
  """Labelled images, in numpy arrays on the host or in arrays on a device.

  Attributes:
    images: u8[n, H, W, C], 0 to 255. Grey images have an axis of one channel.
    labels: i32[n], the number of each image's class, 0 to classes - 1.
  """

  images: np.ndarray
  labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Source:
  """A data set that reads its images when they are needed.

  `train` and `test` each read only their own split, so code that is given only
  `train` cannot see the test images. Each reads once, when it is first called;
  all splits that are made of it share these arrays. A split must be `Images` in
  numpy: images u8[n, *shape], labels of whole numbers [n] in 0 to classes - 1.

  Attributes:
    shape: (H, W, C), the shape of an image.
    classes: The number of classes.
    train: Reads the training split; is a function without arguments.
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
    read_once(self, ("train", "test"), "Images")

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
      **augment: Any,
  ) -> tuple[Split, Split]:
    """Divides the training split in two, to train on and to reward on.

    The test split is not read, and nothing here leads to it.

    Args:
      batch: The number of images in a child step.
      valid: The number of images held out to reward on, the last ones.
      eval_batch: The number of held-out images in a reward, and in a step of a
        candidate's pass over them; None says as many as `batch`.
      **augment: The options of `Augment`.

    Raises:
      ConfigError: "batch", "valid", "eval_batch", "pad" or "cutout" does not
        suit the number or the size of the images.
    """
    train, held = self._hold_out(valid)
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
      **augment: The options of `Augment`.

    Raises:
      ConfigError: As in `search`; or "measure" is unknown.
    """
    part = lookup("measure", measure, MEASURES, "split")
    if measure == "valid":
      train, held = self._hold_out(valid)
    else:
      train, held = self.train(), self.test()
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

  def _read(self, split: str, read: Callable[[], Images]) -> Images:
    """Reads a split; raises ConfigError if it is not as the source says."""
    found = read()
    if not isinstance(found, Images):
      raise odd(f"what its {split} returns", "Images", kind(found))
    images, labels = found
    sides = tuple(self.shape)
    bytes_ = numbers(images) == "u" and images.itemsize == 1
    if not bytes_ or images.shape[1:] != sides:
      form = f"uint8[n, {', '.join(map(str, sides))}] in numpy"
      raise odd(f"the images of its {split}", form, what(images))
    n = len(images)
    if numbers(labels) not in ("i", "u") or labels.shape != (n,):
      form = f"int32[{n}] in numpy, one for each image"
      raise odd(f"the labels of its {split}", form, what(labels))
    if n and not 0 <= labels.min() <= labels.max() < self.classes:
      form = f"0 to {self.classes - 1} for its {self.classes} classes"
      seen = f"{labels.min()} to {labels.max()}"
      raise odd(f"the labels of its {split}", form, seen)
    return found

  def _hold_out(self, count: int) -> tuple[Images, Images]:
    """Holds out the last training images; tells which classes they lack."""
    parts = hold_out(self.train(), count)
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


class ImageBatch(NamedTuple):
  """A batch as a network reads it, on a device."""

  images: jax.Array  # f32[B, H, W, C], normalised
  labels: jax.Array  # i32[B]
  weight: jax.Array  # f32[B], 0 for an example that only fills the batch
  share: jax.Array  # f32[], always 1 because every batch is whole


def check_room(n: int, shape: tuple[int, int, int], each: int = 1) -> None:
  """Raises ConfigError of "size" if the memory cannot hold n images.

  Args:
    n: The number of images.
    shape: (H, W, C) of an image.
    each: The bytes of a value.
  """
  need, free = n * math.prod(shape) * each, process.free_memory()
  if need > free:
    height, width, channels = shape
    raise ConfigError(
        "size",
        f"{n:,} images of {width:,} x {height:,} pixels and {channels} channels"
        f" take {need / 1e9:,.1f} GB of memory; {free / 1e9:,.1f} GB are free."
        " Take a smaller size, or fewer images.",
    )


def hold_out(images: Images, count: int) -> tuple[Images, Images]:
  """Holds out the last `count` examples, unshuffled; returns (train, valid).

  The official `data_utils.py` holds out 5,000 of CIFAR-10's 50,000.

  Raises:
    ConfigError: The count leaves one of the two without an example.
  """
  high = len(images.labels) - 1
  checked("valid", count, Annotated[int, Ge(1), Le(high)])
  return (
      Images(images.images[:-count], images.labels[:-count]),
      Images(images.images[-count:], images.labels[-count:]),
  )


def statistics(images: Images) -> tuple[np.ndarray, np.ndarray]:
  """Returns mean and standard deviation of each channel, f32[C] each.

  Pixels are scaled to [0, 1]. The images must be those to train on, without the
  held-out examples (official `data_utils.py`). The deviation is at least one
  grey level, so that a constant channel is not divided by zero.
  """
  channels = images.images.shape[-1]
  # Sums over counts of grey levels are exact, and need no float copy.
  counts = np.zeros((channels, 256), np.int64)
  for start in range(0, len(images.images), _CHUNK):
    chunk = images.images[start : start + _CHUNK]
    for channel in range(channels):
      counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
  levels = np.arange(256) / 255
  weight = counts / counts.sum(1, keepdims=True)
  mean = weight @ levels
  square = (weight * (levels - mean[:, None]) ** 2).sum(1)
  deviation = np.maximum(np.sqrt(square), 1 / 255)
  return mean.astype(np.float32), deviation.astype(np.float32)


def image_split(
    images: Images,
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
  that batch statistics never see an invented image.

  Args:
    images: u8[n, H, W, C] and i32[n] on the host; they are the split's arrays.
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
  if augment is not None:
    augment.check(images.images.shape[1:])
  steps = math.ceil(n / batch)
  numbers = (tuple(map(float, np.ravel(value))) for value in (mean, std))
  reads = Preprocess(images.images.shape[1:], *numbers)

  def rows(key):
    order = jnp.arange(n, dtype=jnp.int32)
    weight = jnp.ones(steps * batch)
    if key is None:
      weight = weight.at[n:].set(0)
    else:
      order = jax.random.permutation(key, order)
    index = jnp.concatenate([order, order[: steps * batch - n]])
    return index.reshape(steps, batch), weight.reshape(steps, batch)

  def gather(arrays, row, key):
    index, weight = row
    pixels = reads.normalise(arrays.images[index])
    if augment is not None and key is not None:
      pixels = augments.apply(augment, key, pixels)
    labels = arrays.labels[index]
    return ImageBatch(pixels, labels, weight, jnp.float32(1))

  return Split(
      images, steps, rows, gather, batch, "images", preprocess=reads
  )
