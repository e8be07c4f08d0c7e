"""Config -> Experiment: the only place where names become objects.

Every value that cannot work dies here or in `check`, before anything is
written, with a `ConfigError` that names the key and the valid choices.
"""

from collections.abc import Callable
import dataclasses
import functools
import glob
import hashlib
import json
import os
import runpy
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import optax

from enas_jax import arch as archs
from enas_jax import benchmark as benchmarks
from enas_jax import check, data, optim
from enas_jax.benchmark import Benchmark
from enas_jax.errors import ConfigError, one_line, suggest
from enas_jax.strategies import STRATEGIES
from enas_jax.strategies.evolution import neighbours
from enas_jax.tasks import TASKS
from enas_jax.types import (
  Arch,
  check_arguments,
  check_whole,
  SearchSpace,
  Split,
  Strategy,
  Task,
)

# What a retraining takes over from its search beside the space: these; the
# data, and what they bear.
ALIKE = ("seed", "dtype", "devices")
SAME = (
    ("data", "name"),
    ("data", "path"),
    ("data", "size"),
    ("augment", "pad"),
    ("augment", "flip"),
    ("data", "length"),
)
# The same as keys of a final config.
TAKEN = ("space", *ALIKE, *map(".".join, SAME))
# Values of `data` that say how the set is split; the loader gets the others.
_OF_SPLITS = ("valid", "eval_batch", "length", "vary", "measure")


class Experiment(NamedTuple):
  """What a config means: the parts of one run."""

  space: SearchSpace
  task: Task
  strategy: Strategy
  children: Strategy  # proposes those that train the shared weights
  uniform: Strategy  # random search, which every report has
  tx: optax.GradientTransformation
  train: Split
  watched: Split | None  # validation in a final training that has one
  held: Split  # validation in a search, `config.data.measure` in a training
  part: str  # "valid" or "test", what `held` is of
  arch: Arch | None  # of a final training, numpy; None in a search
  epochs: int
  warmup: int  # of these, the first that have no strategy steps
  child_steps: int  # an epoch
  strategy_steps: int  # an epoch
  archs: int  # M of a strategy step
  same_batch: bool  # all M are rewarded on one batch
  benchmark: Benchmark | None  # what architectures score in truth, if known
  # Of a search in a space whose architectures differ in size: numpy or
  # traced arch -> Size, of its final network at the sizes of the search.
  size: Callable | None
  penalty: Callable | None  # arch -> f32[], what its size takes off a reward
  rates: Any  # f32[epochs], the child's learning rate

  @property
  def steps(self) -> int:
    """Of the whole run, both kinds."""
    late = self.epochs - self.warmup
    return self.epochs * self.child_steps + late * self.strategy_steps

  def place(self, step):
    """(its epoch, its place in the epoch); of an int or an i32[]."""
    smaller = jnp.minimum if isinstance(step, jax.Array) else min
    early = smaller(step, self.warmup * self.child_steps)
    first, at = divmod(early, self.child_steps)
    epoch, later = divmod(step - early, self.child_steps + self.strategy_steps)
    return first + epoch, at + later

  def length(self, epoch: int) -> int:
    """Steps of an epoch, both kinds."""
    late = epoch >= self.warmup
    return self.child_steps + (self.strategy_steps if late else 0)

  def progress(self, step):
    """Fraction of the child steps that are done after a step."""
    epoch, at = self.place(step)
    done = epoch * self.child_steps + jnp.minimum(at + 1, self.child_steps)
    return done / (self.epochs * self.child_steps)


def experiment(config: ConfigDict) -> Experiment:
  """Builds the parts; loads the data.

  Raises:
    ConfigError: a value that cannot work.
  """
  space = check.check(config)
  arguments = config.get(config.strategy.name, ConfigDict()).to_dict()
  arch = None
  if config.strategy.name == "fixed":
    arch = archs.parse("config.arch", config.arch, space)
    arguments["arch"] = arch

  benchmark = None
  if config.get("benchmark", {}).get("path"):
    benchmark = benchmarks.read(
        "config.benchmark.path", config.benchmark.path, space
    )

  source, train, watched, held = _data(config, space, arch is not None)
  if "retrain" in config:
    _check_recipes(config, space)
  child_steps = train.steps
  # A strategy that is told nothing has no steps.
  strategy_steps = config.strategy.get("steps", 0)

  network = space.network(
      **source.facts, **config.network, dtype=config.dtype
  )
  chain = optim.OPTIMISERS[config.child.optimiser]
  tx, rates = chain(
      epochs=config.epochs,
      steps=child_steps,
      **check.arguments(config.child, "optimiser", "batch"),
  )

  strategy = STRATEGIES[config.strategy.name](space, **arguments)
  uniform = STRATEGIES["random"](space)
  children = config.strategy.get("children", "policy")

  task = TASKS[config.task.name](network, **check.arguments(config.task))
  size = penalty = None
  if arch is None and hasattr(space, "size"):
    final = network.clone(final=True)
    size = functools.partial(space.size, network=final, image=source.shape)
  if config.get("objective", {}).get("cost"):
    penalty = _penalty(size, **config.objective)
    task = _penalised(task, penalty)

  return Experiment(
      space=space,
      task=task,
      strategy=strategy,
      children=uniform if children == "random" else strategy,
      uniform=uniform,
      tx=tx,
      train=train,
      watched=watched,
      held=held,
      part="valid" if arch is None else config.data.get("measure", "test"),
      arch=arch,
      epochs=config.epochs,
      warmup=config.strategy.get("warmup", 0),
      child_steps=child_steps,
      strategy_steps=strategy_steps,
      archs=config.strategy.get("archs", 1),
      same_batch=config.strategy.get("same_batch", False),
      benchmark=benchmark,
      size=size,
      penalty=penalty,
      rates=rates,
  )


def _penalty(size: Callable, cost: str, target: float, weight: float):
  """What `config.objective` takes off the reward of an architecture."""

  def penalty(arch):
    over = getattr(size(arch), cost) / target - 1
    return weight * jnp.maximum(over, 0.0)

  return penalty


def _penalised(task: Task, penalty: Callable) -> Task:
  def reward(params, model_state, arch, batch, key):
    own = task.reward(params, model_state, arch, batch, key)
    return own - penalty(arch)

  return task._replace(reward=reward)


def settled(config: ConfigDict) -> ConfigDict:
  """A copy of `config` whose arch is integers, with the space they are of.

  A file, or the one of a folder, and a preset bring their space with them. So
  the record of a run says what it trains, whatever becomes of the file.

  Raises:
    ConfigError: the file is no `arch.json`, or of a space this cannot be.
  """
  config = ConfigDict(config.to_dict())
  if "arch" not in config:
    return config
  preset = check.space_type(config).presets.get(config.arch)
  if preset:
    config.space.update(preset.space)
  elif found := archs.read("config.arch", config.arch):
    if found["space"]["name"] != config.space.name:
      raise ConfigError(
          "config.arch",
          f"{config.arch} is of the space {found['space']['name']!r}, this"
          f" config of {config.space.name!r}.",
      )
    config.space = found["space"]
  space = check.space(config)
  arch = archs.parse("config.arch", config.arch, space)
  config.arch = " ".join(map(str, space.flatten(arch))) or "[]"
  return config


def finalists_by(config: ConfigDict) -> str:
  """The block of a search whose final config trains finalists."""
  return "derive" if config.derive.config else "retrain"


def finalist(config: ConfigDict, encoding: list[int] | None) -> ConfigDict:
  """The final config that tries one finalist, on validation data alone.

  Args:
    config: of the search.
    encoding: of the architecture; None: whatever the recipe has.
  """
  final = _alone(config, config[finalists_by(config)].config, encoding)
  final.data.measure = "valid"
  if "valid" in config.data:
    final.data.valid = config.data.valid
  return final


def retraining(config: ConfigDict, encoding: list[int] | None) -> ConfigDict:
  """The final config of a search that retrains; arguments as `finalist`."""
  final = _alone(config, config.retrain.config, encoding)
  final.data.measure = "test"
  return final


def _alone(config, recipe, encoding) -> ConfigDict:
  # A ConfigDict of a ConfigDict shares its blocks.
  final = ConfigDict(recipe.to_dict())
  for key in ALIKE:
    final[key] = config[key]
  final.space = ConfigDict(config.space.to_dict())
  for block, key in SAME:
    if key in config.get(block, {}):
      final[block][key] = config[block][key]
  if encoding:
    final.arch = " ".join(map(str, encoding))
  return final


def config_hash(config: ConfigDict) -> str:
  """Twelve hexadecimal digits that change with any value."""
  text = json.dumps(config.to_dict(), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def _data(config: ConfigDict, space: SearchSpace, final: bool):
  """The source, and its splits to train on, to watch and to hold out."""
  # An empty value is for the loader to choose; not every set takes each.
  wanted = {
      key: value
      for key, value in config.data.items()
      if value and key not in _OF_SPLITS
  }
  source = data.load(**wanted)
  if source.task != config.task.name:
    raise ConfigError(
        "config.task.name",
        f"{config.data.name!r} is data for the task {source.task!r}, got"
        f" {config.task.name!r}.",
    )
  for fact in source.facts:
    if fact not in {field.name for field in dataclasses.fields(space.module)}:
      raise ConfigError(
          "config.data.name",
          f"{config.data.name!r} gives {fact!r}, which no network of the space"
          f" {config.space.name!r} takes.",
      )
  split = source.final if final else source.search
  chosen = {key: config.data[key] for key in _OF_SPLITS if key in config.data}
  name, ours = config.data.name, ("batch", "augment")
  check_arguments("config.data", name, split, chosen, ours)
  if "augment" in config and source.task != "classification":
    raise ConfigError("config.augment", f"{name!r} is no set of images.")
  splits = split(
      batch=config.child.batch, **chosen, **config.get("augment", {})
  )
  if final:
    return source, *splits
  train, held = splits
  return source, train, None, held


def _check_recipes(config: ConfigDict, space: SearchSpace) -> None:
  """What would only die or fall short after the search dies now."""
  drawn, wanted = config.derive.random, config.retrain.random
  check_whole("config.retrain.random", wanted)
  if wanted > drawn:
    raise ConfigError(
        "config.retrain.random",
        f"{wanted} is more than the {drawn} drawn (config.derive.random).",
    )
  finalists, most = config.derive.finalists, 1 + neighbours(space)
  check_whole("config.derive.finalists", finalists)
  if finalists and not 2 <= finalists <= most:
    raise ConfigError(
        "config.derive.finalists",
        f"must be 0, for none, or 2 to {most}, which are what is chosen and"
        f" its neighbours, got {finalists}.",
    )
  if finalists:
    _check_recipe(
        config,
        finalists_by(config),
        finalist,
        "config.derive.finalists",
        "config.derive.config or config.retrain.config",
    )
  if wanted or config.retrain.config:
    _check_recipe(
        config,
        "retrain",
        retraining,
        "config.retrain.random",
        "config.retrain.config",
    )
  else:
    made = recipe(config)
    _check_final("config.retrain.command", made, config.space.name)


def recipe(config: ConfigDict) -> ConfigDict:
  """The config that the command names with which a search ends.

  Raises:
    ConfigError: there is no such file, or it fails.
  """
  key, text = "config.retrain.command", config.retrain.command
  path, *variant = text.split(":", 1)
  if not os.path.isfile(path):
    near = suggest(path, glob.glob("configs/*_final.py"))
    raise ConfigError(key, f"there is no file {path!r}. {near}")
  try:
    return runpy.run_path(path)["get_config"](*variant)
  except ConfigError as error:  # of the variant
    why = str(error).partition(": ")[2]
    raise ConfigError(key, f"{text!r}: {why}") from None
  except Exception as error:  # anything can happen in a user's file
    raise ConfigError(key, f"{path} fails: {one_line(error)}") from None


def _check_recipe(
    config: ConfigDict, block: str, final: Callable, wanted: str, where: str
) -> None:
  """Checks a block's final config, which the key `wanted` asks for."""
  recipe = config[block].config
  if not recipe:
    raise ConfigError(
        wanted,
        f"nothing is trained without a final config in {where}, which a config"
        " file sets, as configs/digits_micro.py does.",
    )
  _check_final(f"config.{block}.config", recipe, config.space.name)
  try:
    made = final(config, None)
    # Reads the data for their size alone, of a retraining the test split
    # too; nothing of them is kept.
    _data(made, check.check(made), True)
  except ConfigError as error:
    raise error.inside(f"config.{block}") from None


def _check_final(key: str, recipe: ConfigDict, space: str) -> None:
  name = recipe.get("space", {}).get("name")
  if "arch" not in recipe or name != space:
    raise ConfigError(
        key,
        f"must be a final config of the space {space!r}, got a"
        f" {'final config' if 'arch' in recipe else 'search'} of {name!r}.",
    )
