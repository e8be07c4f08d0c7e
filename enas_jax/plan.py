"""What a config means, once it is built: plain records, and no config."""

from collections.abc import Callable
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from enas_jax.settings import Derive
from enas_jax.strategies.fixed import fixed
from enas_jax.types import (
  Arch,
  Benchmark,
  SearchSpace,
  Split,
  Strategy,
  Task,
)

# The values that change nothing of what comes out. A run goes on under others.
_WITHOUT_EFFECT = (
    "benchmark.path",
    "checkpoint_seconds",
    "data.path",
    "data.workers",
    "derive.at_once",
    "derive.top",
    "init",  # the hash of its weights is compared
    "retrain.command",
)


class Experiment(NamedTuple):
  """All that the loop needs: of a search, or of the training of one network."""

  task: Task
  strategy: Strategy  # proposes what is rewarded, and is told
  children: Strategy  # proposes those that train the shared weights
  tx: optax.GradientTransformation
  rates: np.ndarray  # f32[epochs], the child's learning rate
  train: Split
  held: Split  # validation in a search; what a training is measured on
  watched: Split | None  # validation in a training that looks at it
  part: str  # "valid" or "test", what `held` is of
  arch: Arch | None  # of a training, numpy; None in a search
  seed: int
  devices: int
  epochs: int
  steps_per_call: int  # child steps a dispatch
  eval_every: int = 1  # epochs between two looks of a training
  warmup: int = 0  # the first epochs, which have no strategy steps
  strategy_steps: int = 0  # an epoch
  count: int = 1  # M, archs of a strategy step
  same_batch: bool = False  # all M are rewarded on one batch
  at_once: int = 1  # archs that are rewarded at a time

  @property
  def child_steps(self) -> int:
    """The child steps of an epoch."""
    return self.train.steps

  @property
  def steps(self) -> int:
    """The steps of the whole run, of both kinds."""
    late = self.epochs - self.warmup
    return self.epochs * self.child_steps + late * self.strategy_steps

  def place(self, step: int | jax.Array) -> tuple:
    """Returns the epoch of a step and its place in that; int or i32[]."""
    smaller = jnp.minimum if isinstance(step, jax.Array) else min
    early = smaller(step, self.warmup * self.child_steps)
    first, at = divmod(early, self.child_steps)
    epoch, later = divmod(step - early, self.child_steps + self.strategy_steps)
    return first + epoch, at + later

  def length(self, epoch: int) -> int:
    """Returns the steps of an epoch, of both kinds."""
    late = epoch >= self.warmup
    return self.child_steps + (self.strategy_steps if late else 0)

  def fraction(self, step: jax.Array) -> jax.Array:
    """Returns the fraction of the child steps that are done after a step."""
    epoch, at = self.place(step)
    done = epoch * self.child_steps + jnp.minimum(at + 1, self.child_steps)
    return done / (self.epochs * self.child_steps)

  def rewarded(self, step: int) -> int:
    """Returns how many strategy steps are done before a step."""
    epoch, at = self.place(step)
    return step - epoch * self.child_steps - min(at, self.child_steps)

  def left(self, step: int) -> dict[str, int]:
    """Returns how many steps of each kind are left."""
    strategy = self.rewarded(self.steps) - self.rewarded(step)
    child = self.steps - step - strategy
    return {"child": child, "strategy": strategy}


class Start(NamedTuple):
  """What a training begins with, where that is not random."""

  path: str  # of a trained model
  fresh: tuple[str, ...]  # the weights that are random all the same


class Facts(NamedTuple):
  """What a network of a plan is made of, as plain data, defaults included."""

  space: dict[str, Any] | None  # its name and options; None: there is none
  network: dict[str, Any]  # its arguments; "name" of one without a space
  task: dict[str, Any]  # its name and options
  classes: tuple[str, ...]  # their names in order; (): there are none


class Timed(NamedTuple):
  """An objective of latency, which is measured as the search begins."""

  task: Task  # of the final network
  target: float  # milliseconds of a validation batch, up to which all is free
  weight: float  # is taken off where an arch takes twice as long


class Plan(NamedTuple):
  """A run: what is trained, and what follows a search."""

  experiment: Experiment
  record: dict[str, Any]  # the config as plain data, for config.json
  checkpoint_seconds: float
  space: SearchSpace | None  # None: a baseline network, which has no arch
  facts: Facts
  start: Start | None = None  # of a training; None: random weights
  notes: tuple[str, ...] = ()  # what was told while the data were read
  # The rest is of a search.
  derive: Derive | None = None
  uniform: Strategy | None = None  # random search, which every report has
  benchmark: Benchmark | None = None  # what archs score in truth, if known
  # Numpy or traced arch -> Size, of the network that the final config of the
  # search trains; None: all are of one size, or nothing asks for it.
  size: Callable | None = None
  # The same at the sizes of the search, where the space itself says it.
  size_here: Callable | None = None
  penalty: Callable | None = None  # arch -> f32[], what its cost takes off
  timed: Timed | None = None  # what is timed before the search begins
  milliseconds: Callable | None = None  # arch -> its time, once that is done
  finalist: "Plan | None" = None  # how finalists are trained
  finalist_block: str = ""  # the block of the config that says so
  retrain: "Plan | None" = None  # how what is derived is trained
  retrained: int = 0  # of the random candidates, likewise
  # Of the last two plans: an encoding -> what `of` returns, made anew; another
  # process can be sent it.
  anew: Callable | None = None
  # The arguments of the command that retrains, but for --config.arch and
  # --workdir; none where `retrain` does.
  command: tuple[str, ...] = ()

  def of(self, encoding: list[int]) -> "Plan":
    """Returns the plan to train another arch of the space by this recipe."""
    arch = self.space.unflatten(encoding)
    strategy = fixed(arch)
    return self._replace(
        experiment=self.experiment._replace(
            arch=arch, strategy=strategy, children=strategy
        ),
        record={**self.record, "arch": text_of(encoding)},
    )


def text_of(encoding: list[int]) -> str:
  """Returns the text of an encoding, as `config.arch` has it."""
  return " ".join(map(str, encoding)) or "[]"


def effective(record: dict[str, Any]) -> dict[str, Any]:
  """Returns the values of a record that change what comes out of its run.

  Args:
    record: as `Plan.record` has it.

  Returns:
    Each value by its dotted key.
  """
  without = {*_WITHOUT_EFFECT}
  if record.get("objective", {}).get("cost"):
    # What is counted is the network of the config that it names.
    without.remove("retrain.command")
  return {
      key: value
      for key, value in flat(record).items()
      if re.sub(r"^(derive|retrain)\.config\.", "", key) not in without
  }


def flat(record: dict[str, Any]) -> dict[str, Any]:
  """Returns every value under its dotted key."""
  out = {}
  for name, value in record.items():
    if isinstance(value, dict):
      out.update({f"{name}.{key}": v for key, v in flat(value).items()})
    else:
      out[name] = value
  return out
