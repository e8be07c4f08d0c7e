"""Says what a trained network sees in pictures.

  python -m enas_jax.predict --model=F picture.png ...
  python -m enas_jax.predict --model=F FOLDER

F is the folder of a final training, or its `model/`; of several, --model=A,B,
the probabilities are averaged. A line for each picture has the three likeliest
classes and their probabilities; a folder stands for its pictures. Where it has
a subfolder for each class, the network is measured: the accuracy, and how often
a class (a row) was taken for another (a column); of more than twenty classes,
which are most often taken for which. With --json a line is an object of JSON. A
model with a space, a network or a task of your own needs --space=own.py:Name,
--network or --task: no code that it names is run.
"""

from collections.abc import Callable
import json
import pathlib

from absl import flags
import numpy as np
from rich.console import Console
from rich.table import Table

from enas_jax import command, model
from enas_jax.errors import ConfigError

_BEST = 3
_WIDE = 20  # classes of a table, and lines of a list where there are more
_LINE = 500  # characters


def main(paths: list[str]) -> None:
  """Predicts what the flags and the words after them name.

  Args:
    paths: pictures and folders.

  Raises:
    ConfigError: no model, nothing to look at, or a file that is no picture.
  """
  if not flags.FLAGS.model:
    raise ConfigError("--model", "is required.")
  if not paths:
    raise ConfigError("--model", "name pictures or a folder after the flags.")
  places = [pathlib.Path(path).expanduser() for path in paths]
  for place in places:
    if not place.exists():
      raise ConfigError(str(place), "there is no such file or folder.")
  models = model.together(flags.FLAGS.model, **command.own_parts())
  classes = models[0].classes

  def predict(images):
    return np.mean([each.predict(images) for each in models], 0)

  for path in places:
    if path.is_dir() and model.subfolders(path):
      _measured(path, model.evaluate(predict, classes, path), classes)
    else:
      _told(path, predict, classes)


def _told(
    path: pathlib.Path,
    predict: Callable[[pathlib.Path], np.ndarray],
    classes: list[str],
) -> None:
  """Prints the likeliest classes of a picture, or of those in a folder."""
  files = model.pictures(path) if path.is_dir() else [path]
  if not files:
    raise ConfigError(str(path), "has no pictures and no subfolders.")
  # One by one: a folder may hold more than the memory.
  for file in files:
    (each,) = predict(file)
    best = np.argsort(-each, kind="stable")[:_BEST]
    found = {classes[n]: float(each[n]) for n in best}
    if flags.FLAGS.json:
      print(json.dumps({"file": str(file), "best": found}), flush=True)
    else:
      words = (f"{name} {value:.3f}" for name, value in found.items())
      print(f"{file}  {'  '.join(words)}", flush=True)


def _measured(
    path: pathlib.Path, found: model.Evaluation, classes: list[str]
) -> None:
  """Prints what the network is worth on a folder of classes."""
  if flags.FLAGS.json:
    content = {
        "folder": str(path),
        "accuracy": found.accuracy,
        "right": found.right,
        "count": found.count,
        "classes": classes,
        "confusions": found.confusions.tolist(),
    }
    print(json.dumps(content))
    return
  print(
      f"{path}  accuracy {found.accuracy:.4f}: {found.right:,} of"
      f" {found.count:,} right"
  )
  if len(classes) <= _WIDE:
    numbers = [str(n) for n in range(len(classes))]
    table = Table("", *numbers, box=None)
    for n, name in enumerate(classes):
      table.add_row(f"{n} {name}", *map(str, found.confusions[n]))
  else:
    table = Table("class", "taken for", "times", box=None)
    wrong = found.confusions * (1 - np.eye(len(classes), dtype=int))
    for at in np.argsort(-wrong, axis=None, kind="stable")[:_WIDE]:
      n, other = divmod(int(at), len(classes))
      if wrong[n, other]:
        table.add_row(classes[n], classes[other], str(wrong[n, other]))
  # As wide as it gets: a row is a line, in a file too.
  Console(highlight=False, markup=False, width=_LINE).print(table)


def cli() -> None:
  """Maps every way to end to a line and an exit code."""
  command.cli(
      main,
      *command.model_flags(),
      flags.DEFINE_bool("json", False, "Lines are objects of JSON."),
      files=True,
  )


if __name__ == "__main__":
  cli()
