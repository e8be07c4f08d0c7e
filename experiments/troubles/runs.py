"""Runs that several rows look at; each is made once."""

import functools
import itertools
import json
import pathlib
import signal
import sys
from typing import NamedTuple

from experiments.troubles import house
from experiments.troubles.house import Ended

EPOCHS = 500
OTHERS = "4 0 3 1 4 3"  # six integers, as another library may order them
_SMALL = ("--config=nasbench201_final:smoke", "--config.network.filters=2")


class Run(NamedTuple):
  """A run and its folder."""

  path: pathlib.Path
  ended: Ended


def trains(workdir: object, *more: str) -> list[str]:
  """Returns the flags of a final training of seconds."""
  return [*_SMALL, f"--config.arch={OTHERS}", f"--workdir={workdir}", *more]


@functools.cache
def training() -> Run:
  """Trains on a folder of twelve classes, all of it in the home folder.

  Its output goes into its own folder, as with `tee`.
  """
  home = house.folder()
  names = {str(n): 6 for n in range(1, 13)}
  house.pictures(home / "set", names)
  path = home / "run"
  path.mkdir()
  (path / "shell.log").touch()
  flags = trains(
      "~/run",
      "--config.data.name=folder",
      "--config.data.path=~/set",
      "--config.data.eval_batch=24",
  )
  ended = house.command(*flags, HOME=str(home))
  assert not ended.code, ended
  (path / "shell.log").write_text(ended.out, encoding="utf-8")
  return Run(path, ended)


@functools.cache
def search() -> Ended:
  """Searches in a locale of ASCII, on a folder whose classes are 155 to 5.

  One image is held out, and the benchmark is of CIFAR-10.
  """
  place = house.folder("café")
  house.pictures(place / "set", {"bad": 5, "good": 155})
  ops = ("none", "skip_connect", "nor_conv_3x3")
  cells = itertools.product(ops, repeat=6)
  table = {
      "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*cell): {
          "test_acc_200": 10.0 + n / 10
      }
      for n, cell in enumerate(cells)
  }
  file = place / "nasbench201_cifar10.json"
  file.write_text(json.dumps(table))
  flags = (
      "--config=nasbench201:smoke",
      "--config.data.name=folder",
      f"--config.data.path={place / 'set'}",
      "--config.data.valid=1",
      "--config.data.eval_batch=1",
      "--config.epochs=8",
      f"--config.benchmark.path={file}",
      f"--workdir={place / 'run'}",
  )
  process = house.started([*house.MAIN, *flags], place, **ASCII)
  out, err = process.communicate(timeout=240)
  return Ended(process.returncode, out, err, 0.0)


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@functools.cache
def interrupted() -> Run:
  """Presses Ctrl-C while the first command of a shell loop trains.

  The data lie in `set` beside the run.
  """
  place = house.folder()
  house.pictures(place / "set", {"a": 40, "b": 40}, 40)
  flags = " ".join(
      f"'{flag}'" for flag in trains("run$n", *of_set(place / "set"))
  )
  python = f"{sys.executable} -m enas_jax.main"
  shell = f"for n in 1 2; do echo started $n; {python} {flags}; done"
  shell = shell.replace("'--workdir=run$n'", "--workdir=run$n")
  process = house.started(["bash", "-c", shell], place)
  said = house.until(process, "epoch 2/")
  ended = house.end(process, signal.SIGINT, group=True)
  return Run(place / "run1", ended._replace(out=said + ended.out))


def of_set(path: pathlib.Path) -> tuple[str, ...]:
  """Returns the flags of a long training on a folder of pictures."""
  return (
      "--config.data.name=folder",
      f"--config.data.path={path}",
      "--config.data.eval_batch=40",
      f"--config.epochs={EPOCHS}",
      "--config.eval_every=1000",
      "--config.checkpoint_seconds=1000.0",
  )
