"""The options that a config may have, whether or not its file sets them.

A flag can change only what a config has already. `add` gives it the options of
its parts that flags name, so that each of them can be said on the command line.
"""

from collections.abc import Mapping
import types
import typing
from typing import Annotated, Any, Literal

from ml_collections import config_dict, ConfigDict

from enas_jax import data, nn, optim, options, registry, settings
from enas_jax.build import configfile, parts, spaces
from enas_jax.errors import ConfigError
from enas_jax.options import Option
from enas_jax.strategies import STRATEGIES
from enas_jax.tasks import TASKS

# What a network is given by the data, the kind of the run and the whole config.
_GIVEN = ("classes", "vocabulary", "final", "dtype")
_PLAIN = (bool, int, float, str)
_OF_SEARCH = {
    "strategy": settings.Search,
    "objective": settings.Objective,
    "derive": settings.Derive,
    "retrain": settings.Retrain,
    "benchmark": settings.Benchmark,
}


def add(config: ConfigDict, given: Mapping[str, str]) -> None:
  """Adds the options that flags name and the config lacks, in place.

  An option is added without a value; the flag brings it.

  Args:
    config: What a file returned.
    given: The values of flags by their dotted keys. Those that name a part say
      whose options there are.
  """
  for key in given:
    name, _, option = key.rpartition(".")
    block = config.get(name, ConfigDict()) if name else config
    if not isinstance(block, ConfigDict) or option in block or "." in name:
      continue
    found = of(config, name, given).get(option)
    kind = found and _plain(found.annotation)
    if kind:
      with config.unlocked():
        if name and name not in config:
          config[name] = ConfigDict()
        target = config[name] if name else config
        with target.unlocked():
          target[option] = config_dict.placeholder(kind)


def of(
    config: ConfigDict, block: str, given: Mapping[str, str]
) -> dict[str, Option]:
  """Returns the options that a block of a config may have.

  Args:
    config: What a file returned.
    block: The name of the block; "": what stands outside of all blocks.
    given: As in `add`.

  Returns:
    {} where the block, or the part that it names, is not known.
  """
  named = ConfigDict(config.to_dict())
  for where, key in configfile.NAMES:
    if f"{where}.{key}" in given:
      named[where] = {**named.get(where, {}), key: given[f"{where}.{key}"]}
  try:
    return _of(named, block)
  except (AttributeError, ConfigError):
    # A line of its own comes when the config is read.
    return {}


def _of(config: ConfigDict, block: str) -> dict[str, Option]:
  training = parts.is_training(config)
  if not block:
    return options.of(settings.Training if training else settings.Run)
  if block == "augment":
    return options.of(data.Augment)
  if block in ("data", "child"):
    return _of_data(config, block, training)
  if block == "task":
    return options.of(parts.named(config, "task", TASKS)[0], ("network",))
  if block in ("network", "space"):
    return _of_network(config, block)
  if training:
    return {}
  if block in _OF_SEARCH:
    return options.of(_OF_SEARCH[block])
  name = config.strategy.name
  chosen = registry.find("strategy.name", name, "strategy", STRATEGIES)
  own = {**STRATEGIES, registry.short(name): chosen}
  return options.of(own[block], ("space",)) if block in own else {}


def _of_data(
    config: ConfigDict, block: str, training: bool
) -> dict[str, Option]:
  """Returns the options of a data set and its splits, or of the child."""
  loader = data.loader(config.data.name, config.data.get("path"))
  own = options.of(loader, ("name",))  # refuses what cannot be read
  hints = typing.get_type_hints(getattr(loader, "func", loader))
  split = getattr(hints.get("return"), "final" if training else "search", None)
  of_split = options.of(split) if split else {}
  batch = {"batch": of_split.pop("batch")} if "batch" in of_split else {}
  if block == "data":
    return {**own, **of_split}
  make, _ = parts.named(config, "child", optim.OPTIMISERS, "optimiser")
  return {**options.of(make, ("epochs", "steps")), **batch}


def _of_network(config: ConfigDict, block: str) -> dict[str, Option]:
  """Returns the options of a space, or of its network, or of a baseline."""
  if "name" in config.get("network", {}):
    make, _ = parts.named(config, "network", nn.NETWORKS)
    return options.of(make, _GIVEN) if block == "network" else {}
  make, values = spaces.part(config)
  if block == "space":
    return options.of(make)
  values = {key: value for key, value in values.items() if value is not None}
  values = options.read(make, values, name=config.space.name)
  with registry.calling("name", config.space.name):
    space = make(**values)
  return options.of(space.network, _GIVEN)


def _plain(annotation: Any) -> type | None:
  """Returns the type as which a flag is read; None where it cannot be one."""
  origin, args = typing.get_origin(annotation), typing.get_args(annotation)
  if origin is Annotated:
    return _plain(args[0])
  if origin is Literal:
    return _plain(type(args[0]))
  if origin in (typing.Union, types.UnionType):
    kinds = [_plain(each) for each in args if each is not type(None)]
    return next(filter(None, kinds), None)
  if annotation is Any:  # as of a path
    return str
  return annotation if annotation in _PLAIN else None
