"""Reads any image classification set of TFDS, without TensorFlow."""

from collections.abc import Sequence
import dataclasses
import functools
import shlex
from typing import Any

import numpy as np

from enas_jax.data.examples import Images
from enas_jax.data.images import Path, Source
from enas_jax.data.preprocess import Preprocess
from enas_jax.errors import ConfigError
from enas_jax.options import Count

_KEY = "name"
_PEEK = 16  # the number of examples that an error gives the sizes of
# Sets of characters, which a mirror turns into others or into none.
_CHARACTERS = (
    "binary_alpha_digits",
    "cmaterdb",
    "emnist",
    "kmnist",
    "mnist",
    "mnist_corrupted",
    "omniglot",
    "svhn_cropped",
)


def names() -> list[str]:
  """Lists the sets that the installed TFDS knows, of images or not."""
  import tensorflow_datasets as tfds

  return tfds.list_builders(with_community_datasets=False)


def knows(name: str) -> bool:
  """Says whether TFDS knows the set, in whichever version."""
  return _base(name) in names()


def exists(name: str, path: str | None) -> bool:
  """Says whether TFDS knows the set, or it is prepared in `path`."""
  import tensorflow_datasets as tfds

  if knows(name):
    return True
  try:
    tfds.builder(name, data_dir=path)
  except ValueError:
    return False
  return True


def load(
    name: str, *, path: Path | None = None, size: Count | None = None
) -> Source:
  """Returns a set that `python -m enas_jax.data.prepare NAME` has prepared.

  The test split is the set's `test`, or `validation` if it has no `test`.
  Nothing is ever downloaded here. The examples come in the order of the
  prepared files, which TFDS has shuffled.

  Args:
    name: The name in TFDS, such as `cifar10` or `mnist_corrupted/shot_noise`.
    path: The folder of the sets, TFDS's `data_dir`; None: its default.
    size: The side in pixels to which the central square of each image is
      resized; None leaves images as they are.

  Raises:
    ConfigError: TFDS does not know the set, it has no images and classes, it is
      not prepared, it has no test split, or its images vary in size; when a
      split is read, its examples have no labels.
  """
  builder = make_builder(name, path)
  image, label = find_features(name, builder)
  splits = builder.info.splits
  if not splits:
    raise ConfigError(
        _KEY,
        f"{name!r} is not prepared in {builder.data_path}. Run: "
        f"{command(name, path)}",
    )
  held = "test" if "test" in splits else "validation"
  if "train" not in splits or held not in splits:
    raise ConfigError(
        _KEY,
        f"{name!r} needs a split 'train' and one 'test' or 'validation', it"
        f" has {', '.join(splits)}.",
    )
  try:
    data = builder.as_data_source(split="train")
  except NotImplementedError:
    raise ConfigError(
        _KEY,
        f"{name!r} in {builder.data_path} is stored as"
        f" {builder.info.file_format.value}, which only TensorFlow reads."
        f" Prepare it elsewhere: {command(name, 'FOLDER')}",
    ) from None
  shape = builder.info.features[image].shape
  resize = size is not None
  if resize:
    shape = (size, size, shape[-1])
  elif None in shape:
    few = data.__getitems__(list(range(min(_PEEK, len(data)))))
    seen = sorted({"x".join(map(str, e[image].shape[1::-1])) for e in few})
    raise ConfigError(
        "size",
        f"the images of {name!r} differ: {', '.join(seen)} pixels. Give the"
        " size to resize to.",
    )
  read = functools.partial(
      Records, name, path, features=(image, label), shape=shape, resize=resize
  )
  classes = builder.info.features[label].num_classes
  return Source(
      shape=shape,
      classes=classes,
      train=functools.partial(read, "train"),
      test=functools.partial(read, held),
      mirrors=_base(name) not in _CHARACTERS,
      names=tuple(map(builder.info.features[label].int2str, range(classes))),
  )


def command(name: str, path: str | None) -> str:
  """Returns the command with which a person prepares the set."""
  where = "" if path is None else f" --data_dir={shlex.quote(path)}"
  return f"python -m enas_jax.data.prepare {name}{where}"


def make_builder(name: str, path: str | None, **kwargs: Any) -> Any:
  """Returns TFDS's builder of a set, prepared or not.

  Args:
    name: The name in TFDS.
    path: The folder of the sets; None is TFDS's own.
    **kwargs: Further arguments of `tensorflow_datasets.builder`.

  Raises:
    ConfigError: There is no such set, or TFDS cannot describe it.
  """
  import tensorflow_datasets as tfds

  try:
    return tfds.builder(name, data_dir=path, **kwargs)
  # TFDS raises these for a set, configuration or version that it does not have,
  # and for a set whose description needs a missing package or file.
  except (AssertionError, ImportError, OSError, ValueError) as error:
    reason = str(error).partition("\n")[0]
    raise ConfigError(_KEY, f"TFDS cannot offer {name!r}: {reason}") from None


def find_features(name: str, builder: Any) -> tuple[str, str]:
  """Finds the names of the image and of the class of an example.

  They are those that the set declares for supervised learning, or else its only
  ones.

  Args:
    name: The user's name of the set, for errors.
    builder: TFDS's builder of the set.

  Raises:
    ConfigError: The set does not have 8-bit images with one class each.
  """
  import tensorflow_datasets as tfds

  features = builder.info.features
  found = []
  wanted = (tfds.features.Image, tfds.features.ClassLabel)
  for at, kind in enumerate(wanted):
    declared = builder.info.supervised_keys or ()
    options = [k for k, f in features.items() if type(f) is kind]
    if len(declared) == 2 and declared[at] in options:
      options = [declared[at]]
    found.append(options)
  if any(len(options) != 1 for options in found):
    kinds = [f"{k} ({type(features[k]).__name__})" for k in sorted(features)]
    raise ConfigError(
        _KEY,
        f"{name!r} is not a set of images with one class each; its features:"
        f" {', '.join(kinds)}.",
    )
  image, label = found[0][0], found[1][0]
  if features[image].np_dtype != np.uint8:
    raise ConfigError(
        _KEY,
        f"the images of {name!r} are {features[image].np_dtype.__name__},"
        " not of 8 bits.",
    )
  return image, label


@dataclasses.dataclass(frozen=True)
class Records:
  """The examples of a split, as `Examples`.

  Attributes:
    name: The name in TFDS.
    path: The folder of the sets; None: TFDS's own.
    split: The name of the split.
    features: The names of the image and of the class of an example.
    shape: (H, W, C) of what is read.
    resize: Whether an image may be of another size.
  """

  name: str
  path: str | None
  split: str
  features: tuple[str, str]
  shape: tuple[int, int, int]
  resize: bool

  @functools.cached_property
  def _data(self) -> Any:
    return make_builder(self.name, self.path).as_data_source(split=self.split)

  def __getstate__(self) -> dict[str, Any]:
    # Each process opens the files itself.
    return {k: v for k, v in self.__dict__.items() if k != "_data"}

  @property
  def what(self) -> str:
    return f"images of {self.name}, {self.split}"

  def __len__(self) -> int:
    return len(self._data)

  def read(self, numbers: Sequence[int]) -> Images:
    """Reads the images of these numbers.

    Raises:
      ConfigError: They have no labels.
    """
    image, label = self.features
    found = self._data.__getitems__([int(n) for n in numbers])
    images = np.empty((len(found), *self.shape), np.uint8)
    for i, example in enumerate(found):
      pixels = example[image]
      images[i] = _resize(pixels, self.shape) if self.resize else pixels
    labels = np.array([example[label] for example in found], np.int32)
    if labels.size and labels.min() < 0:
      raise ConfigError(
          _KEY, f"the {self.split!r} examples of {self.name!r} have no labels."
      )
    return Images(images, labels)

  def mark(self) -> np.ndarray:
    """Returns what says which version it is, and the sizes of its files."""
    builder = make_builder(self.name, self.path)
    info = builder.info.splits[self.split]
    said = f"{builder.info.full_name} {info.shard_lengths} {info.num_bytes}"
    return np.frombuffer(said.encode(), np.uint8)


def _resize(pixels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
  from PIL import Image

  picture = Image.fromarray(pixels.squeeze(-1) if shape[-1] == 1 else pixels)
  return Preprocess(shape).pixels(picture)


def _base(name: str) -> str:
  """Returns a set's name without its configuration and version."""
  return name.partition("/")[0].partition(":")[0]
