"""The values of a config: one that cannot work dies here.

With a `ConfigError` that names the key and the valid choices. What takes the
data or another file to know dies in `build`.
"""

import dataclasses
import math
from typing import Any

import jax
from ml_collections import ConfigDict

from enas_jax import data, optim
from enas_jax.errors import ConfigError, lookup, suggest
from enas_jax.spaces import SPACES
from enas_jax.strategies import STRATEGIES
from enas_jax.tasks import TASKS
from enas_jax.types import (
  check_arguments,
  check_number,
  check_type,
  check_whole,
  SearchSpace,
  Size,
)

# Keys whose value has a bound of its own; every other number is finite, >= 0.
_WHOLE = (
    "epochs",
    "eval_every",
    "steps_per_call",
    "devices",
    "child.batch",
    "child.lr_first",
    "child.lr_factor",
    "strategy.archs",
    "derive.archs",
    "derive.random",
    "derive.top",
    "evolution.population",
    "evolution.tournament",
    "reinforce.hidden",
)
_POSITIVE = (
    "child.lr",
    "reinforce.lr",
    "reinforce.eps",
    "reinforce.temperature",
)
_DECAY = (
    "child.momentum",
    "reinforce.b1",
    "reinforce.b2",
    "reinforce.baseline_decay",
)
_DTYPES = dict.fromkeys(("bfloat16", "float32"))
# The keys of a config, and of those of its blocks that are read here and there;
# what a block is passed to knows its own.
_ALWAYS = (
    *("seed", "dtype", "epochs", "checkpoint_seconds", "steps_per_call"),
    *("devices", "data", "augment", "task", "space", "network", "child"),
    "strategy",
)
_OF_FINAL = ("arch", "eval_every")
_OF_SEARCH = (*STRATEGIES, "objective", "derive", "retrain", "benchmark")
_KEYS = {
    "config.augment": data.Augment._fields,
    "config.strategy": (
        *("name", "steps", "archs", "same_batch", "warmup", "children"),
    ),
    "config.objective": ("cost", "target", "weight"),
    "config.derive": ("archs", "random", "top", "by", "finalists", "config"),
    "config.retrain": ("command", "random", "config"),
    "config.benchmark": ("path",),
}
# Of the strategy: as the paper, or as random search.
_CHILDREN = dict.fromkeys(("policy", "random"))
# Who chooses by shared weights what is derived; see derive.py.
BY_POLICY = "policy"
_DERIVE_BY = dict.fromkeys((BY_POLICY, "score"))


def check(config: ConfigDict) -> SearchSpace:
  """Checks all that takes no data to know; returns the space.

  Raises:
    ConfigError: a value that cannot work.
  """
  _check_numbers(config)
  _check_keys(config)
  lookup("config.dtype", config.dtype, _DTYPES, "type")
  _check_strategy(config)
  _check_learning(config)
  made = space(config)
  _check_objective(config, made)
  # The type is that of the whole config.
  _check_fields("config.network", made.module, config.network, ("dtype",))
  _check_devices(config)
  return made


def space(config: ConfigDict) -> SearchSpace:
  """The search space of a config.

  Raises:
    ConfigError: there is none of its name, or it cannot be of these values.
  """
  of = space_type(config)
  fields = arguments(config.space)
  _check_fields("config.space", of, fields)
  try:
    return of(**fields)
  except ConfigError as error:
    raise error.inside("config.space") from None


def space_type(config: ConfigDict) -> type[SearchSpace]:
  """Whose presets a config's arch may name."""
  name = config.space.name
  return lookup("config.space.name", name, SPACES, "search space")


def arguments(block: ConfigDict, *others: str) -> dict[str, Any]:
  """The block as arguments, without its name and other keys."""
  return {k: v for k, v in block.items() if k not in ("name", *others)}


def flat(config: ConfigDict) -> dict[str, Any]:
  """Every value under its dotted key."""
  out = {}
  for name, value in config.items():
    if isinstance(value, ConfigDict):
      out.update({f"{name}.{k}": v for k, v in flat(value).items()})
    else:
      out[name] = value
  return out


def _check_numbers(config: ConfigDict) -> None:
  for name, value in flat(config).items():
    if value is None:
      raise ConfigError(f"config.{name}", "must have a value, got None.")
    # The fields of a space and its network are checked by their types.
    if name.startswith(("space.", "network.")):
      continue
    key = f"config.{name}"
    if name in _WHOLE:
      check_whole(key, value, low=1)
    elif name in _POSITIVE:
      check_number(key, value, open_low=True)
    elif name in _DECAY:
      check_number(key, value, high=1.0, open_high=True)
    elif name == "seed":
      check_whole(key, value, high=2**32 - 1)
    elif not isinstance(value, (bool, str)):
      check_number(key, value)


def _check_keys(config: ConfigDict) -> None:
  own = _OF_FINAL if "arch" in config else _OF_SEARCH
  for block, known in {"config": (*_ALWAYS, *own), **_KEYS}.items():
    _, _, name = block.partition(".")
    for key in config.get(name, {}) if name else config:
      if key not in known:
        raise ConfigError(
            f"{block}.{key}", f"no such key. {suggest(key, known)}"
        )


def _check_strategy(config: ConfigDict) -> None:
  """What proposes architectures, when, and what is derived of them."""
  block = config.strategy
  lookup("config.strategy.name", block.name, STRATEGIES, "strategy")
  if (block.name == "fixed") != ("arch" in config):
    raise ConfigError(
        "config.strategy.name",
        "only 'fixed' goes with a config that has an arch, and with no other,"
        f" got {block.name!r}.",
    )
  for name, function in STRATEGIES.items():
    if name in config or name == block.name:
      chosen, ours = config.get(name, {}), ("space", "arch")
      check_arguments(f"config.{name}", name, function, chosen, ours)
  check_type("config.strategy.same_batch", block.get("same_batch", False), bool)
  learnt = config.get(block.name, {})
  if learnt.get("step_baseline") and block.get("archs", 1) == 1:
    raise ConfigError(
        "config.strategy.archs",
        "must be at least 2 with config.reinforce.step_baseline, the mean of a"
        " step's rewards, got 1.",
    )
  if "children" in block:
    key = "config.strategy.children"
    lookup(key, block.children, _CHILDREN, "source of children")
  if "steps" in block:
    check_whole("config.strategy.steps", block.steps)
  if "warmup" in block:
    key, value = "config.strategy.warmup", block.warmup
    check_whole(key, value)
    if value >= config.epochs:
      raise ConfigError(
          key, f"{value} leaves none of the {config.epochs} config.epochs."
      )
  if "derive" in config:
    lookup("config.derive.by", config.derive.by, _DERIVE_BY, "way to derive")


def _check_learning(config: ConfigDict) -> None:
  """The task and the optimiser of the child."""
  key, name = "config.task.name", config.task.name
  task = lookup(key, name, TASKS, "task")
  chosen = arguments(config.task)
  check_arguments("config.task", name, task, chosen, ("network",))
  key, name = "config.child.optimiser", config.child.optimiser
  chain = lookup(key, name, optim.OPTIMISERS, "optimiser")
  chosen = arguments(config.child, "optimiser", "batch")
  check_arguments("config.child", name, chain, chosen, ("epochs", "steps"))


def _check_objective(config: ConfigDict, space: SearchSpace) -> None:
  block = config.get("objective", {})
  choices = dict.fromkeys(Size._fields)
  if not block.get("cost"):
    if block.get("target") or block.get("weight"):
      raise ConfigError(
          "config.objective.cost",
          "a target and a weight need one."
          f" Choices: {', '.join(choices)}.",
      )
    return
  lookup("config.objective.cost", block.cost, choices, "cost")
  if not hasattr(space, "size"):
    raise ConfigError(
        "config.objective.cost",
        f"all architectures of the space {config.space.name!r} cost the same.",
    )
  for key in ("target", "weight"):
    check_number(f"config.objective.{key}", block.get(key), open_low=True)


def _check_fields(block: str, of: type, values, ours=()) -> None:
  """Checks a block of the config by the types of a dataclass's fields.

  An int counts parts, at least one; a float whose name ends in `keep` is a
  probability, any other is not negative. `ours` do not come from the block.
  """
  known = {
      field.name: field.type
      for field in dataclasses.fields(of)
      if field.name not in ours
  }
  for name, value in values.items():
    key = f"{block}.{name}"
    if name not in known:
      raise ConfigError(key, f"no such key. {suggest(name, known)}")
    if known[name] is float:
      keep = name.endswith("keep")
      high = 1.0 if keep else math.inf
      check_number(key, value, high=high, open_low=keep)
    else:
      check_type(key, value, known[name])
      if known[name] is int:
        check_number(key, value, low=1)


def _check_devices(config: ConfigDict) -> None:
  count, batch = config.devices, config.child.batch
  if count == 1:  # the usual case asks no device anything
    return
  if count > jax.device_count():
    raise ConfigError(
        "config.devices",
        f"{count} is more than the {jax.device_count()} that JAX finds.",
    )
  if batch % count:
    raise ConfigError(
        "config.child.batch",
        f"{batch} cannot be shared out among {count} devices"
        " (config.devices).",
    )
