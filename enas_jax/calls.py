"""Searches and trainings as calls; `enas_jax.main` is the same as a command.

  found = enas_jax.search("digits_micro:smoke", "runs/mine")
  found.readable, found.score
  trained = enas_jax.train(final_config, "runs/mine_final")
  trained.scores["test/accuracy"], trained.model().predict("picture.png")
"""

import os
import pathlib
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from enas_jax import build, folder, model, run
from enas_jax.build import configfile
from enas_jax.errors import ConfigError
from enas_jax.plan import Plan
from enas_jax.types import Arch


class Trained(NamedTuple):
  """A network that was trained alone."""

  folder: pathlib.Path  # of its run
  arch: Arch  # of numpy arrays; () of a baseline network
  encoding: list[int]  # its integers
  scores: dict[str, float]  # such as "test/accuracy"; {}: it diverged
  parameters: int  # how many the network has; 0: it diverged

  def model(self, **options: Any) -> model.Model:
    """Loads the network; the options are those of `enas_jax.load`."""
    return model.load(self.folder, **options)


class Found(NamedTuple):
  """What a search has derived."""

  folder: pathlib.Path  # of its run
  arch: Arch  # of numpy arrays
  encoding: list[int]  # its integers
  readable: list[str]  # the same in words
  score: float  # by shared weights, of the metric in `content`
  # What was retrained, and the random archs beside it; none where the config
  # does not retrain.
  retrained: Trained | None
  random: list[Trained]
  content: dict[str, Any]  # all that result.json holds


def search(
    config: ConfigDict | str,
    workdir: str | os.PathLike,
    *,
    show: bool = False,
) -> Found:
  """Searches, derives, and retrains where the config says so.

  A folder that holds a part of the same search goes on from there; one that
  holds all of it only returns what was found.

  Args:
    config: of a search, such as `get_config` of a file of configs/ returns; or
      what --config takes, a file or the name of a shipped experiment, and its
      variant.
    workdir: the folder of the run.
    show: whether the lines and tables of its log are shown, too.

  Raises:
    ConfigError: a value that cannot work; nothing was written.
    Interrupted: a KeyboardInterrupt; everything is saved, and the same call
      goes on.
    Diverged: a number is not finite, also after going back.
    Unwritable: the disk is full, or a limit was met; the same call goes on.
  """
  plan, result = _ran(config, workdir, show, training=False)
  path = folder.path_of(workdir)
  retrained, random = None, []
  if plan.retrain:
    inner = path / "retrain"
    retrained = _trained(plan.retrain, inner / "derived")
    random = [
        _trained(plan.retrain, inner / f"random_{n}")
        for n in range(plan.retrained)
    ]
  return Found(
      path,
      plan.space.unflatten(result["encoding"]),
      result["encoding"],
      result["readable"],
      result["score"],
      retrained,
      random,
      result,
  )


def train(
    config: ConfigDict | str,
    workdir: str | os.PathLike,
    *,
    show: bool = False,
) -> Trained:
  """Trains one network from scratch, or from the weights of `config.init`.

  Args:
    config: of a training, as in `search`.
    workdir: the folder of the run; what it holds goes on, as in `search`.
    show: whether the lines of its log are shown, too.

  Raises:
    ConfigError: a value that cannot work; nothing was written.
    Interrupted: a KeyboardInterrupt; everything is saved, and the same call
      goes on.
    Diverged: a number is not finite, also after going back.
    Unwritable: the disk is full, or a limit was met; the same call goes on.
  """
  plan, _ = _ran(config, workdir, show, training=True)
  return _trained(plan, folder.path_of(workdir))


def _ran(
    config: ConfigDict | str, workdir: Any, show: bool, training: bool
) -> tuple[Plan, dict[str, Any]]:
  """Runs a config that searches, or one that trains."""
  if isinstance(config, str):
    config = configfile.load("config", config)
  plan = build.plan(config, tell=print if show else None)
  if training is bool(plan.derive):
    raise ConfigError(
        "config",
        "searches; enas_jax.search runs it."
        if training
        else "trains one network; enas_jax.train runs it.",
    )
  return plan, run.run(plan, os.fspath(workdir), show=show)


def _trained(plan: Plan, path: pathlib.Path) -> Trained:
  """Returns what lies in the folder of a training that has ended."""
  result = folder.read_json(path / "result.json")
  encoding = result.get("encoding", [])
  return Trained(
      path,
      plan.space.unflatten(encoding) if encoding else (),
      encoding,
      {key: value for key, value in result.items() if "/" in key},
      result.get("parameters", 0),
  )
