"""The user's own images, one folder a class."""

from collections.abc import Callable, Sequence
import contextlib
import dataclasses
import os
import pathlib
from typing import NamedTuple

import numpy as np

from enas_jax.data import listing, telling
from enas_jax.data.examples import Images
from enas_jax.data.images import Path, Source
from enas_jax.data.preprocess import (
  open_picture,
  Preprocess,
  size_of,
  Unreadable,
)
from enas_jax.errors import ConfigError
from enas_jax.options import Count

_FEW = 20_000  # pictures whose headers are read in a second or two


class Files(NamedTuple):
  """The pictures of a split; 200,000 of them take a few MB so."""

  names: np.ndarray  # bytes[n], their paths in the folder of the split
  labels: np.ndarray  # i32[n], the numbers of their classes


def load(*, path: Path, size: Count | None = None) -> Source:
  """Returns the images in `path`/train/<class>/ and `path`/test/<class>/.

  Classes are numbered in the order of their names, in which numbers sort as
  numbers. Where the folder of a class has no picture itself, those in the
  folders inside it are read. Folders and files that systems leave behind, such
  as `@eaDir` and `Thumbs.db`, are left out. The images are of one channel where
  all training images are grey, else of three; what is transparent is white, and
  all are upright (`Preprocess`). The last of the training images, however many,
  have the classes in the shares that all of them have, but for rounding: each
  class has one among them where there are as many as classes. Headers of the
  training images are read here, the images when a split is read.

  Args:
    path: The folder that holds `train` and `test`.
    size: The side in pixels to which the central square of each image is
      resized; None says that all images have the size of the first.

  Raises:
    ConfigError: A folder is missing or empty, or the classes of the splits
      differ; when a split is read, an image differs in size or cannot be read,
      or the memory cannot hold them.
  """
  root = pathlib.Path(path).expanduser()
  names, train = _files(root, "train")
  test_names, test = _files(root, "test")
  if test_names != names:
    odd = sorted(set(names) ^ set(test_names))
    raise ConfigError(
        "path",
        f"the classes in {root}/train and {root}/test differ: only one of them"
        f" has {telling.few(odd)}.",
    )
  shape, resize = _shape(train, root / "train", size), size is not None

  def read(files: Files, split: str) -> Callable[[], Pictures]:
    return lambda: Pictures(str(root / split), *files, shape, resize)

  return Source(
      shape=shape,
      classes=len(names),
      train=read(train, "train"),
      test=read(test, "test"),
      names=tuple(names),
  )


def _files(root: pathlib.Path, split: str) -> tuple[list[str], Files]:
  """Lists the classes of a split and its image files."""
  folder = root / split
  if not folder.is_dir():
    there = [f.name for f in listing.listed(root).folders]
    raise ConfigError(
        "path",
        f"there is no folder {folder}; {root} has"
        f" {telling.few(there) or 'no folder'}. It needs train and test, each"
        " with a folder for each class.",
    )
  top = listing.listed(folder)
  inner, pictures = {}, []
  for each in top.folders:
    found = listing.of_class(each)
    names = [os.fsencode(path.relative_to(folder)) for path in found.pictures]
    pictures.append(np.array(names, np.bytes_))
    # All paths of a large folder would take 100 MB.
    inner[each.name] = found._replace(pictures=found.pictures[:1])
  if len(inner) < 2:
    loose = len(top.pictures) + sum(map(len, pictures))
    flat = f", and {loose:,} pictures that say no class" if loose else ""
    raise ConfigError(
        "path",
        f"{folder} needs a folder for each of at least 2 classes, it has"
        f" {len(inner)}{f' ({next(iter(inner))})' if inner else ''}{flat}.",
    )
  for name, each in inner.items():
    if not each.pictures:
      inside = f" nor in {telling.few(f.name for f in each.folders)}"
      raise ConfigError(
          "path",
          f"no image in {folder / name}{inside if each.folders else ''}"
          f" ({' '.join(listing.SUFFIXES)}).",
      )
  loose = top._replace(folders=[], others=top.others + top.pictures)
  if line := listing.left_out(folder, [loose, *inner.values()]):
    telling.tell(line)
  names = [telling.printable(name) for name in inner]
  return names, _in_shares(pictures)


def _in_shares(classes: list[np.ndarray]) -> Files:
  """Orders files so that any number of the last ones keeps the shares.

  They are shuffled first. Image j of the n of a class stands at (j + 1) / n of
  the way, so the last images are one of each class.
  """
  shuffled, labels, places = [], [], []
  for number, files in enumerate(classes):
    # RandomState is used because numpy promises that its stream never changes.
    order = np.random.RandomState(number).permutation(len(files))
    shuffled.append(files[order])
    labels.append(np.full(len(files), number, np.int32))
    places.append(np.arange(1, len(files) + 1) / len(files))
  labels = np.concatenate(labels)
  order = np.lexsort((labels, np.concatenate(places)))
  return Files(np.concatenate(shuffled)[order], labels[order])


def _shape(
    files: Files, folder: pathlib.Path, size: int | None
) -> tuple[int, int, int]:
  """Returns (H, W, C) of what is read, and tells it.

  The number of channels is known at the first picture with colours. Headers of
  few pictures are all read, so that it is told how many are of another kind.
  """
  from PIL import Image

  n = len(files.names)
  grey = colour = other = 0
  for name in telling.counted(files.names, f"headers in {folder}", brief=True):
    try:
      with open_picture(_path(folder, name)) as picture:
        coloured = Image.getmodebase(picture.mode) != "L"
        other += size is not None and picture.size != (size, size)
    except Unreadable:
      continue  # is told with all others when they are read
    grey, colour = grey + (not coloured), colour + coloured
    if colour and n > _FEW:
      break
  width, height = (size, size) if size else _first_size(files, folder)
  channels = "3 channels" if colour else "1 channel"
  line = f"Pictures are read as {width} x {height} pixels in {channels}."
  odd = []
  if n <= _FEW and colour and grey:
    odd.append(f"{grey:,} grey")
  if n <= _FEW and other:
    odd.append(f"{other:,} of another size, cut to a square and resized")
  if odd:
    line += f" Among the {n:,} in {folder}: {'; '.join(odd)}."
  telling.tell(line)
  return height, width, 3 if colour else 1


def _first_size(files: Files, folder: pathlib.Path) -> tuple[int, int]:
  """Returns width and height of the first picture that can be read."""
  for name in files.names:
    with contextlib.suppress(Unreadable):
      return size_of(_path(folder, name))
  return size_of(_path(folder, files.names[0]))  # raises what is wrong with it


@dataclasses.dataclass(frozen=True)
class Pictures:
  """The pictures of a split, as `Examples`.

  Attributes:
    folder: The folder of the split.
    names: bytes[n], their paths in the folder, which take little memory so.
    labels: i32[n], the numbers of their classes.
    shape: (H, W, C) of what is read.
    resize: Whether a picture may be of another size.
  """

  folder: str
  names: np.ndarray
  labels: np.ndarray
  shape: tuple[int, int, int]
  resize: bool

  @property
  def what(self) -> str:
    return f"pictures in {self.folder}"

  def __len__(self) -> int:
    return len(self.names)

  def read(self, numbers: Sequence[int]) -> Images:
    """Reads the pictures of these numbers.

    Raises:
      ConfigError: One differs in size, or cannot be read.
    """
    images = np.empty((len(numbers), *self.shape), np.uint8)
    reads = Preprocess(self.shape)
    for i, name in enumerate(self.names[numbers]):
      with open_picture(_path(self.folder, name)) as picture:
        images[i] = reads.pixels(picture, self.resize)
    return Images(images, self.labels[numbers])

  def mark(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns their names, labels and sizes on the disk."""
    sizes = [os.stat(_path(self.folder, name)).st_size for name in self.names]
    return self.names.view(np.uint8), self.labels, np.array(sizes)


def _path(folder: str | pathlib.Path, name: bytes) -> str:
  return os.path.join(folder, os.fsdecode(name))
