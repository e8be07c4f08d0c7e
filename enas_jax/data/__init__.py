"""The data sets by name. To add one, write a file and a line in DATASETS.

A data set is a function of its options that returns a source, of images
(`Source`) or of text (`TextSource`).
"""

from collections.abc import Callable
import difflib
import functools
from typing import Any

from enas_jax import options, registry
from enas_jax.data import digits, folder, ptb, pydoc, synthetic, tfds
from enas_jax.data.augment import Augment
from enas_jax.data.examples import Images
from enas_jax.data.images import Path, Source
from enas_jax.data.text import TextSource
from enas_jax.errors import ConfigError

__all__ = [
    "DATASETS",
    "SMALL",
    "Augment",
    "Images",
    "Source",
    "TextSource",
    "load",
    "loader",
]

# The loader of each name; any other name is looked up in TFDS.
DATASETS = {
    "digits": digits.load,
    "folder": folder.load,
    "ptb": ptb.load,
    "pydoc": pydoc.load,
    "synthetic": synthetic.load,
}

# For each task the data set that the `:smoke` variant uses.
SMALL = {"classification": "synthetic", "language_model": "pydoc"}


def loader(name: str, path: str | None = None) -> Callable:
  """Returns the function that loads the data set of that name.

  Args:
    name: The name of one of `DATASETS`, of one of your own as `registry.find`
      takes it, or of any image classification set in TFDS.
    path: The folder of TFDS's sets, which may hold one that TFDS does not know.

  Raises:
    ConfigError: There is no such set.
  """
  name = options.checked("name", name, str)
  try:
    if part := registry.named("name", name, "data", DATASETS):
      return part
  except ConfigError:
    if not tfds.knows(name):  # cifar10:3.0.2 is a version, no module
      raise
  if tfds.exists(name, options.checked("path", path, Path | None)):
    return functools.partial(tfds.load, name=name)
  near = difflib.get_close_matches(name, [*DATASETS, *tfds.names()], n=3)
  hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
  raise ConfigError(
      "name",
      f"unknown data set {name!r}. {hint}Choices:"
      f" {', '.join(sorted(DATASETS))}, any TFDS image classification set."
      f" {registry.OWN}",
  )


def load(name: str, **args: Any) -> Source | TextSource:
  """Returns the data set of that name without reading an image.

  A training text may be read for its vocabulary.

  Args:
    name: The name, as `loader` takes it.
    **args: The options of the loader. An option of None is left out, so the
      loader need not have it.

  Raises:
    ConfigError: There is no such set, it lacks an option that it needs or is
      given one that it does not take, or the loader refuses a value. The key is
      the name of the option.
  """
  args = {key: value for key, value in args.items() if value is not None}
  make = loader(name, args.get("path"))
  values = options.read(make, args, name=name)
  with registry.calling("name", name):
    source = make(**values)
  what = "a Source or a TextSource (enas_jax.data)"
  members = ("task", "facts", "search", "final")
  registry.demand("name", name, source, members, what)
  return source
