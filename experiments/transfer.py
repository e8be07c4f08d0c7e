"""Does a network that goes on from trained weights learn other classes sooner?

  python -m experiments.transfer --workdir=W [--seeds=0,1,2 --epochs=2,5,15]

Trains configs/digits_micro_final.py on the digits 0 to 4; then on all ten, from
these weights (`config.init`, with a fresh head) and from random ones, alike,
for so many epochs. Prints the test accuracy of each, and the mean and standard
deviation over the seeds. What has ended is not trained again.
"""

import json
import pathlib

from absl import flags
import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

import enas_jax
from enas_jax import command, data, folder
from enas_jax.configs import digits_micro_final
from enas_jax.errors import ConfigError

_HALF = 5  # classes


def _write(root: pathlib.Path) -> None:
  """Writes the digits as pictures: `half`, and `all` of them."""
  source = data.load("digits")
  for part, images in (("train", source.train()), ("test", source.test())):
    pairs = zip(images.images, images.labels, strict=True)
    for number, (pixels, label) in enumerate(pairs):
      for name in ("all", "half")[: 1 + (label < _HALF)]:
        place = root / name / part / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(place / f"{number:04}.png")


def _trained(
    root: pathlib.Path, name: str, run: str, variant: str, **changes: int | str
) -> float:
  """Trains on one of the two folders; returns the test accuracy."""
  config = digits_micro_final.get_config(variant)
  config.data.update(name="folder", path=str(root / name))
  config.update(changes)
  config.child.lr_first = config.epochs
  return enas_jax.train(config, root / run).scores["test/accuracy"]


def main() -> None:
  """Trains what is missing, and prints the table."""
  values = flags.FLAGS
  if not values.workdir:
    raise ConfigError("--workdir", "is required.")
  root = folder.path_of(values.workdir)
  variant = "smoke" if values.smoke else ""
  _write(root)
  found = {}
  for seed in map(int, values.seeds):
    first = f"half_{seed}"
    _trained(root, "half", first, variant, seed=seed)
    for epochs in map(int, values.epochs):
      for way, init in (("goes on", str(root / first)), ("from scratch", "")):
        run = f"{way.split()[-1]}_{epochs}_{seed}"
        score = _trained(
            root, "all", run, variant, seed=seed, epochs=epochs, init=init
        )
        found.setdefault((epochs, way), []).append(score)
        print(json.dumps([seed, epochs, way, score]), flush=True)
  table = Table("epochs", "weights", "test accuracy", box=None)
  for (epochs, way), scores in found.items():
    mean, spread = np.mean(scores), np.std(scores)
    table.add_row(str(epochs), way, f"{mean:.4f} ± {spread:.4f}")
  Console(highlight=False).print(table)


def cli() -> None:
  """Maps every way to end to a line and an exit code."""
  command.cli(
      main,
      command.workdir_flag(),
      flags.DEFINE_list("seeds", ["0", "1", "2"], "Of the trainings."),
      flags.DEFINE_list("epochs", ["2", "5", "15"], "Of all the classes."),
      flags.DEFINE_bool("smoke", False, "In small; the numbers mean nothing."),
  )


if __name__ == "__main__":
  cli()
