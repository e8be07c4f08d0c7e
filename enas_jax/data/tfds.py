"""Reads any image classification set of TFDS, without TensorFlow."""

import functools
import shlex
from typing import Any

import numpy as np

from enas_jax.data import telling
from enas_jax.data.images import check_room, Images, Path, Source
from enas_jax.data.preprocess import Preprocess
from enas_jax.errors import ConfigError
from enas_jax.options import Count

_KEY = "name"
_CHUNK = 1024  # examples that are decoded together
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
      _read, builder, image=image, label=label, shape=shape, resize=resize
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


def _read(builder, split, *, image, label, shape, resize) -> Images:
  data = builder.as_data_source(split=split)
  total = len(data)
  check_room(total, shape)
  images = np.empty((total, *shape), np.uint8)
  labels = np.empty(total, np.int32)
  what = f"images of {builder.name}, {split}"
  for i in telling.counted(range(total), what):
    at = i % _CHUNK
    if at == 0:
      found = data.__getitems__(list(range(i, min(i + _CHUNK, total))))
    pixels = found[at][image]
    images[i] = _resize(pixels, shape) if resize else pixels
    labels[i] = found[at][label]
  if labels.size and labels.min() < 0:
    raise ConfigError(
        _KEY, f"the {split!r} examples of {builder.name!r} have no labels."
    )
  return Images(images, labels)


def _resize(pixels: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
  from PIL import Image

  picture = Image.fromarray(pixels.squeeze(-1) if shape[-1] == 1 else pixels)
  return Preprocess(shape).pixels(picture)


def _base(name: str) -> str:
  """Returns a set's name without its configuration and version."""
  return name.partition("/")[0].partition(":")[0]
