"""Data sets by name. To add one: one file and one line in DATASETS.

A data set is a function of its options that returns a source, of images
(`Source`) or of text (`TextSource`).
"""

from collections.abc import Callable
import difflib
import functools
from typing import Any

from enas_jax import options
from enas_jax.data import digits, folder, ptb, pydoc, synthetic, tfds
from enas_jax.data.augment import Augment
from enas_jax.data.images import Images, Path, Source
from enas_jax.data.text import TextSource
from enas_jax.errors import ConfigError

__all__ = [
    "DATASETS",
    "SMALL",
    "SOURCES",
    "Augment",
    "Images",
    "Source",
    "TextSource",
    "load",
    "loader",
]

# name -> (**args) -> Source. Any other name is one of TFDS.
DATASETS = {
    "digits": digits.load,
    "folder": folder.load,
    "ptb": ptb.load,
    "pydoc": pydoc.load,
    "synthetic": synthetic.load,
}


# The kind of source that each task reads, and the data set that stands in for
# any other in the `:smoke` variant.
SOURCES = {each.task: each for each in (Source, TextSource)}
SMALL = {"classification": "synthetic", "language_model": "pydoc"}


def loader(name: str, path: str | None = None) -> Callable:
  """Returns the function that loads the data set of that name.

  Args:
    name: one of `DATASETS`, or any image classification set in TFDS.
    path: the folder of sets of TFDS, which may hold one that it does not know.

  Raises:
    ConfigError: there is no such set.
  """
  name = options.checked("name", name, str)
  if name in DATASETS:
    return DATASETS[name]
  if tfds.exists(name, options.checked("path", path, Path | None)):
    return functools.partial(tfds.load, name=name)
  near = difflib.get_close_matches(name, [*DATASETS, *tfds.names()], n=3)
  hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
  raise ConfigError(
      "name",
      f"unknown data set {name!r}. {hint}Choices:"
      f" {', '.join(sorted(DATASETS))}, any TFDS image classification set.",
  )


def load(name: str, **args: Any) -> Source | TextSource:
  """Returns the data set of that name, of which no image has been read.

  Of a text, the words of its training part may be read for the vocabulary.

  Args:
    name: as `loader` takes it.
    **args: options of its loader; None leaves one to the loader, and so does
      not need to be one that it has.

  Raises:
    ConfigError: no such set, an option that it does not take or that it
      needs, or what its loader says. The key is the option's name.
  """
  args = {key: value for key, value in args.items() if value is not None}
  make = loader(name, args.get("path"))
  return make(**options.read(make, args, name=name))
