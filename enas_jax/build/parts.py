"""The parts of a config, one by one: each block becomes an object.

Keys in errors are as in the config, without "config." before them: `plan`
adds it.
"""

from collections.abc import Callable, Iterator
import contextlib
import dataclasses
import json
from typing import Any

import jax
from ml_collections import ConfigDict

from enas_jax import data, hosts, optim, options, registry, rows, settings
from enas_jax.data import telling
from enas_jax.errors import ConfigError, suggest
from enas_jax.strategies import STRATEGIES
from enas_jax.strategies.random import random
from enas_jax.tasks import TASKS
from enas_jax.types import Arch, SearchSpace, Split, Strategy, Task

# The block of an option that a data set is given and `config.data` lacks.
_OWNER = {
    "batch": "child",
    **dict.fromkeys(options.of(data.Augment), "augment"),
}


# The blocks of every config, of a training and of a search.
BLOCKS = ("data", "augment", "task", "network", "child", "space")
OF_SEARCH = ("strategy", "objective", "derive", "retrain", "benchmark")


def check_form(key: str, config: Any) -> None:
  """Raises ConfigError unless this is a ConfigDict, and its blocks are."""
  if not isinstance(config, ConfigDict):
    raise ConfigError(key, f"must be a ConfigDict, got {config!r}.")
  for name in (*BLOCKS, *OF_SEARCH, *strategy_blocks(config)):
    value = config.get(name, ConfigDict())
    if not isinstance(value, ConfigDict):
      raise ConfigError(
          f"{key}.{name}", f"must be a block of keys, got {value!r}."
      )


def strategy_blocks(config: ConfigDict) -> tuple[str, ...]:
  """Returns the blocks of strategies: each bears the last word of its name."""
  asked = config.get("strategy", {})
  name = asked.get("name") if isinstance(asked, ConfigDict) else None
  own = [registry.short(name)] if isinstance(name, str) else []
  return (*STRATEGIES, *own)


def is_training(config: ConfigDict) -> bool:
  """Says whether a config trains one network, in place of a search.

  Raises:
    ConfigError: it does both.
  """
  one = "arch" in config or "name" in config.get("network", {})
  if one and "strategy" in config:
    raise ConfigError(
        "strategy",
        "searches, but config.arch or config.network.name trains one network.",
    )
  return one


@contextlib.contextmanager
def inside(block: str) -> Iterator[None]:
  """Puts a block before the key of every ConfigError that is raised."""
  try:
    yield
  except ConfigError as error:
    raise error.inside(block) from None


def run(
    config: ConfigDict, part: type[settings.Run], blocks: tuple[str, ...]
) -> settings.Run:
  """Returns the settings outside of all blocks; refuses unknown keys."""
  known = (*options.of(part), *blocks)
  for key in config:
    if key not in known:
      raise ConfigError(key, f"no such key. {suggest(key, known)}")
  values = {key: config[key] for key in config if key not in blocks}
  run = part(**options.read(part, values))
  if run.devices == 1 and not hosts.several():
    return run  # the usual case asks no device anything
  found, count = jax.device_count(), hosts.count()
  run = dataclasses.replace(run, devices=run.devices or found)
  if run.devices > found:
    raise ConfigError(
        "devices", f"{run.devices} is more than the {found} that JAX finds."
    )
  if count > 1 and run.devices < found:
    raise ConfigError(
        "devices",
        f"must be 0, for all, or the {found} that the {count} processes have,"
        f" got {run.devices}.",
    )
  batch = config.get("child", {}).get("batch")
  if isinstance(batch, int) and batch % run.devices:
    raise ConfigError(
        "child.batch",
        f"{batch} cannot be shared out among {run.devices} devices"
        " (config.devices).",
    )
  return run


def of_run(run: settings.Run) -> dict[str, Any]:
  """Returns the settings that the loop needs."""
  names = ("seed", "devices", "epochs", "steps_per_call")
  return {name: getattr(run, name) for name in names}


def block(
    config: ConfigDict, name: str, part: type, ours: tuple[str, ...] = ()
) -> Any:
  """Returns the settings in a block; a block that is absent is empty."""
  values = {k: v for k, v in config.get(name, {}).items() if k not in ours}
  with inside(name):
    for key in values:
      if key not in options.of(part):
        near = suggest(key, [*options.of(part), *ours])
        raise ConfigError(key, f"no such key. {near}")
    return part(**options.read(part, values))


def named(
    config: ConfigDict, block: str, ours: dict, key: str = "name"
) -> tuple[Callable, dict[str, Any]]:
  """Returns the part that a block names, and the other values of the block."""
  values, where = config.get(block, ConfigDict()).to_dict(), f"{block}.{key}"
  if key not in values:
    raise ConfigError(where, f"is required. {suggest('', ours)}")
  kind = key if block == "child" else block
  return registry.find(where, values.pop(key), kind, ours), values


def strategies(
    config: ConfigDict, run: settings.Run, space: SearchSpace
) -> tuple[settings.Search, Strategy, Strategy]:
  """Returns what `config.strategy` says, the strategy, and random search."""
  asked = block(config, "strategy", settings.Search)
  make = registry.find("strategy.name", asked.name, "strategy", STRATEGIES)
  chosen = registry.short(asked.name)
  if chosen in (*BLOCKS, *OF_SEARCH, *options.of(settings.Run)):
    raise ConfigError(
        "strategy.name",
        f"config.{chosen} is something else; call {asked.name!r} otherwise.",
    )
  arguments = {}
  for name, function in {**STRATEGIES, chosen: make}.items():
    with inside(name):
      if name in config or name == chosen:
        values = config.get(name, {})
        arguments[name] = options.read(
            function, values, name=name, ours=("space",)
        )
  with registry.calling("strategy.name", asked.name), inside(chosen):
    strategy = make(space, **arguments[chosen])
  _check_made("strategy.name", asked.name, strategy, Strategy)
  if asked.archs < strategy.least:
    raise ConfigError(
        "strategy.archs",
        f"must be at least {strategy.least}, as config.{chosen} compares"
        f" those of a step, got {asked.archs}.",
    )
  if asked.warmup >= run.epochs:
    raise ConfigError(
        "strategy.warmup",
        f"{asked.warmup} leaves none of the {run.epochs} config.epochs.",
    )
  return asked, strategy, random(space)


def _check_made(key: str, name: str, made: Any, form: type) -> None:
  """Raises ConfigError unless a part has made what it should."""
  if not isinstance(made, form):
    raise ConfigError(
        key,
        f"{name!r} must return a {form.__name__} ({form.__module__}), got"
        f" {made!r:.80}.",
    )


def data_set(
    config: ConfigDict, sources: dict, final: bool
) -> tuple[Any, tuple[Split | None, ...]]:
  """Returns the source and its splits, which are on the host.

  A key of `config.data` is an option of the loader of the set, or of how its
  source is split. None is not given: the loader has its own.
  """
  values = {
      key: value
      for key, value in config.get("data", {}).items()
      if value is not None
  }
  augment = config.get("augment", {})
  with inside("data"):
    if "name" not in values:
      raise ConfigError("name", f"is required. {suggest('', data.DATASETS)}")
    name = values.pop("name")
    takes = options.of(data.loader(name, values.get("path")), ("name",))
    own = {key: values.pop(key) for key in [*values] if key in takes}
    same = json.dumps([name, own], sort_keys=True, default=repr)
    if same not in sources:
      sources[same] = data.load(name, **own)
    source = sources[same]
  _check_task(config, source)
  split = source.final if final else source.search
  with inside("data"):
    known = options.of(split, ("batch",))
    for key in values:
      if key not in known:
        near = suggest(key, {*takes, *known})
        raise ConfigError(key, f"no such key of {name!r}. {near}")
  if "batch" in config.get("child", {}):
    values["batch"] = config.child.batch
  with _owned():
    values = options.read(split, values, name=name)
  if source.task == "classification":
    with inside("augment"):
      values.update(options.read(data.Augment, augment))
  elif "augment" in config:
    raise ConfigError("augment", f"{name!r} is no set of images.")
  with _owned(), registry.calling("name", name):
    return source, split(**values)


def _check_task(config: ConfigDict, source: Any) -> None:
  """Raises ConfigError unless the task of the config is that of the data."""
  named(config, "task", TASKS)
  # A task of a user's own knows what it reads.
  if config.task.name in TASKS and source.task != config.task.name:
    raise ConfigError(
        "task.name",
        f"{config.data.name!r} is data for the task {source.task!r}, got"
        f" {config.task.name!r}.",
    )


@contextlib.contextmanager
def _owned() -> Iterator[None]:
  """Puts the block of its option before the key of a data set's error."""
  try:
    yield
  except ConfigError as error:
    raise error.inside(_OWNER.get(error.key, "data")) from None


def network(
    config: ConfigDict, make: Callable, source: Any, run: settings.Run
) -> Any:
  """Returns the network of the config for a data set."""
  values = config.get("network", ConfigDict()).to_dict()
  owner = values.pop("name", None) or config.space.name
  takes = options.of(make)
  for fact in source.facts:
    if fact not in takes:
      raise ConfigError(
          "data.name",
          f"{config.data.name!r} gives {fact!r}, which no network of"
          f" {'this space' if 'space' in config else 'this name'} takes.",
      )
  with inside("network"):
    # The type is that of the whole config.
    ours = (*source.facts, "dtype")
    values = options.read(make, values, ours=ours)
  with registry.calling("network", owner):
    made = make(**source.facts, **values, dtype=run.dtype)
  # A network may refuse an image that is too small for it.
  check, shape = (
      getattr(of, name, None)
      for of, name in ((made, "check_image"), (source, "shape"))
  )
  if check and shape:
    with registry.calling("network", owner), inside("network"):
      check(shape)
  return made


def optimiser(
    config: ConfigDict, run: settings.Run, train: Split
) -> optim.Optimiser:
  """Returns what moves the child's weights."""
  make, values = named(config, "child", optim.OPTIMISERS, "optimiser")
  values.pop("batch", None)
  ours = ("epochs", "steps")
  with inside("child"):
    name = config.child.optimiser
    values = options.read(make, values, name=name, ours=ours)
    with registry.calling("optimiser", name):
      made = make(epochs=run.epochs, steps=train.steps, **values)
    _check_made("optimiser", name, made, optim.Optimiser)
    if made.note:
      telling.tell(str(made.note))
    return made


def task(
    config: ConfigDict,
    network: Any,
    chain: optim.Optimiser,
    arch: Arch,
) -> Task:
  """Returns the task of the config.

  Args:
    config: of a search or of a training.
    network: of the config.
    chain: says which weights a child step moves.
    arch: any of the network's.
  """
  make, values = named(config, "task", TASKS)
  name = config.task.name
  with inside("task"):
    values = options.read(make, values, name=name, ours=("network",))
    with registry.calling("name", name):
      made = make(network, **values)
    _check_made("name", name, made, Task)
  with inside("child"):
    return rows.wrapped(made, network, arch, chain)
