"""The user's own images, one folder a class."""

import functools
import pathlib

import numpy as np

from enas_jax.data.images import Images, Path, Source
from enas_jax.data.preprocess import (
  is_picture,
  open_picture,
  Preprocess,
  SUFFIXES,
)
from enas_jax.errors import ConfigError
from enas_jax.options import Count

Files = list[tuple[pathlib.Path, int]]  # with the number of the class


def load(*, path: Path, size: Count | None = None) -> Source:
  """Returns the images in `path`/train/<class>/ and `path`/test/<class>/.

  Classes are numbered in the order of their names. The images are of one
  channel where all training images are grey, else of three. The headers of
  the training images are read here, the images when a split is read.

  Args:
    path: The folder that holds `train` and `test`.
    size: The side in pixels to which the central square of each image is
      resized; None says that all images have the size of the first.

  Raises:
    ConfigError: A folder is missing or empty, or the classes of the splits
      differ; when a split is read, an image differs in size or cannot be read.
  """
  root = pathlib.Path(path).expanduser()
  names, train = _files(root / "train")
  test_names, test = _files(root / "test")
  if test_names != names:
    odd = sorted(set(names) ^ set(test_names))
    raise ConfigError(
        "path",
        f"the classes in {root}/train and {root}/test differ: only one of them"
        f" has {', '.join(odd)}.",
    )
  shape, resize = _shape(train, size), size is not None
  return Source(
      shape=shape,
      classes=len(names),
      train=functools.partial(_read, train, shape, resize),
      test=functools.partial(_read, test, shape, resize),
      names=tuple(names),
  )


def _files(folder: pathlib.Path) -> tuple[list[str], Files]:
  """Lists the classes of a split and its image files."""
  if not folder.is_dir():
    raise ConfigError("path", f"there is no folder {folder}.")
  classes = sorted(
      p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")
  )
  if len(classes) < 2:
    raise ConfigError(
        "path",
        f"{folder} needs a folder for each of at least 2 classes, it has"
        f" {len(classes)}.",
    )
  files = []
  for number, each in enumerate(classes):
    found = sorted(p for p in each.iterdir() if is_picture(p))
    if not found:
      raise ConfigError("path", f"no image in {each} ({' '.join(SUFFIXES)}).")
    files.extend((p, number) for p in found)
  # They are shuffled so that the last examples, which may be held out, are not
  # those of the last class. RandomState is used because numpy promises that its
  # stream never changes.
  order = np.random.RandomState(0).permutation(len(files))
  return [each.name for each in classes], [files[i] for i in order]


def _shape(files: Files, size: int | None) -> tuple[int, int, int]:
  from PIL import Image

  grey = True
  for path, _ in files:
    with open_picture(path) as picture:
      grey = grey and Image.getmodebase(picture.mode) == "L"
  with open_picture(files[0][0]) as picture:
    width, height = picture.size if size is None else (size, size)
  return height, width, 1 if grey else 3


def _read(files: Files, shape: tuple[int, int, int], resize: bool) -> Images:
  height, width, _ = shape
  reads = Preprocess(shape)
  images = np.empty((len(files), *shape), np.uint8)
  for image, (path, _) in zip(images, files, strict=True):
    with open_picture(path) as picture:
      if not resize and picture.size != (width, height):
        raise ConfigError(
            "size",
            f"the images differ: {path} has {picture.width}x{picture.height}"
            f" pixels, others {width}x{height}. Give the size to resize to.",
        )
      image[:] = reads.pixels(picture)
  return Images(images, np.array([label for _, label in files], np.int32))
