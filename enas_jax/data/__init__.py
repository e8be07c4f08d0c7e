"""Data sets by name. To add one: one file and one line in DATASETS."""

import difflib

from enas_jax.data import digits, folder, ptb, pydoc, synthetic, tfds
from enas_jax.data.augment import Augment
from enas_jax.data.images import Images, Source
from enas_jax.data.text import TextSource
from enas_jax.errors import ConfigError
from enas_jax.types import check_arguments

__all__ = [
    "DATASETS",
    "Augment",
    "Images",
    "Source",
    "TextSource",
    "load",
]

# name -> (**args) -> Source. Any other name is one of TFDS.
DATASETS = {
    "digits": digits.load,
    "folder": folder.load,
    "ptb": ptb.load,
    "pydoc": pydoc.load,
    "synthetic": synthetic.load,
}


def load(name: str, **args) -> Source | TextSource:
  """The data set of that name; no image and no text but the training's is read.

  Args:
    name: of `DATASETS`, or of any image classification set in TFDS.
    **args: of its loader. The one called `x` is `config.data.x` in errors.

  Raises:
    ConfigError: no such set, an argument that it does not take or that it
      needs, or what its loader says.
  """
  if name in DATASETS:
    check_arguments("config.data", name, DATASETS[name], args)
    return DATASETS[name](**args)
  if not tfds.exists(name, args.get("path")):
    near = difflib.get_close_matches(name, [*DATASETS, *tfds.names()], n=3)
    hint = f"Did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise ConfigError(
        "config.data.name",
        f"unknown data set {name!r}. {hint}Choices:"
        f" {', '.join(sorted(DATASETS))}, any TFDS image classification set.",
    )
  check_arguments("config.data", name, tfds.load, {"name": name, **args})
  return tfds.load(name, **args)
