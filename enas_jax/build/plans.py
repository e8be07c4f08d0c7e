"""The plan of a config: of a search with what follows it, or of a training."""

import functools
from typing import Any

import jax
from ml_collections import ConfigDict

from enas_jax import archfile, nn, options, process, registry, settings
from enas_jax.build import (
  checks,
  configfile,
  objectives,
  parts,
  recipes,
  spaces,
)
from enas_jax.build import start as starts
from enas_jax.build.facts import facts
from enas_jax.data import telling
from enas_jax.derive import benchmark as benchmarks
from enas_jax.derive.objective import penalised
from enas_jax.errors import ConfigError
from enas_jax.plan import Experiment, Plan, text_of
from enas_jax.strategies.evolution import neighbours, second_neighbours
from enas_jax.strategies.fixed import fixed
from enas_jax.strategies.random import random
from enas_jax.tasks import TASKS
from enas_jax.types import Arch, Benchmark, SearchSpace


def plan(
    config: ConfigDict,
    sources: dict[str, Any] | None = None,
    tell: telling.Tell | None = None,
) -> Plan:
  """Returns what a config means; reads the data, and writes nothing.

  Args:
    config: of a search or of a training.
    sources: is filled with the data sets that are read; plans that are given
      the same dict share them.
    tell: is given the plan's notes one by one, while the data are read.

  Raises:
    ConfigError: a value that cannot work.
  """
  sources = {} if sources is None else sources
  notes = []

  def hear(line: str) -> None:
    if line not in notes:  # as of a set that two plans divide alike
      notes.append(line)
      if tell:
        tell(line)

  parts.check_form("config", config)
  with parts.inside("config"), telling.heard(hear):
    make = _training if parts.is_training(config) else _search
    made = make(config, sources)
  return made._replace(notes=tuple(notes))


def _search(config: ConfigDict, sources: dict) -> Plan:
  blocks = (*parts.BLOCKS, *parts.OF_SEARCH, *parts.strategy_blocks(config))
  run = parts.run(config, settings.Run, blocks)
  space, values = spaces.read(config, {})
  with registry.calling("space.name", config.space.name):
    any_arch = jax.device_get(random(space).ask((), jax.random.key(0)))
    checks.conversions(space, any_arch)
  asked, strategy, uniform = parts.strategies(config, run, space)
  if config.get("network", {}).get("final"):
    raise ConfigError("network.final", "is for trainings, got True.")
  source, (train, held) = parts.data_set(config, sources, final=False)
  network = parts.network(config, space.network, source, run)
  chain = parts.optimiser(config, run, train)
  task = parts.task(config, network, chain, any_arch)
  checks.network(config, space, task, train, any_arch, shared=True)
  checks.strategy(asked, strategy, any_arch, network)
  benchmark = _benchmark(config, space)
  image = getattr(source, "shape", None)
  size_here = functools.partial(
      space.size, network=_final(network), image=image
  )
  final = recipes.network(config, space.network, source, run)
  final = _final(final) if space.carries else final
  make_final = functools.partial(parts.task, config, final, chain, any_arch)
  objective = objectives.read(config)
  size = objectives.size(
      space,
      final,
      image,
      make_final,
      train,
      objective,
      wanted=benchmark is not None and not benchmark.sized,
  )
  penalty = objectives.penalty(objective, size)
  experiment = Experiment(
      task=penalised(task, penalty) if penalty else task,
      strategy=strategy,
      children=uniform if asked.children == "random" else strategy,
      tx=chain.tx,
      rates=chain.rates,
      train=train,
      held=held,
      watched=None,
      part="valid",
      arch=None,
      warmup=asked.warmup,
      strategy_steps=asked.steps,
      count=asked.archs,
      same_batch=asked.same_batch,
      at_once=asked.at_once,
      **parts.of_run(run),
  )
  record = _recorded(config, space=values)
  made = Plan(
      experiment=experiment,
      record=record,
      checkpoint_seconds=run.checkpoint_seconds,
      space=space,
      derive=parts.block(config, "derive", settings.Derive, ("config",)),
      uniform=uniform,
      benchmark=benchmark,
      facts=facts(
          config, space, record["space"], space.network, network, source
      ),
      size=size,
      size_here=size_here if space.sized else None,
      penalty=penalty,
      timed=objectives.timed(objective, make_final),
  )
  return _with_recipes(config, sources, made, any_arch)


def _final(network: Any) -> Any:
  """Returns a network as it is in a training, where that is another one."""
  final = hasattr(network, "final")
  return network.clone(final=True) if final else network


def _benchmark(config: ConfigDict, space: SearchSpace) -> Benchmark | None:
  """Returns the table of true scores; None: they are not known."""
  asked = parts.block(config, "benchmark", settings.Benchmark)
  if not asked.path:
    return None
  with parts.inside("benchmark"):
    table = benchmarks.read("path", asked.path, space, asked.data)
  return table._replace(training=table.training or asked.training or None)


def _training(config: ConfigDict, sources: dict, arch: Arch = None) -> Plan:
  """Returns the plan of a config that trains one network.

  Args:
    config: of the training.
    sources: data sets that were loaded already; recipes share them.
    arch: of a recipe, whose config names none: any of its space.
  """
  run = parts.run(config, settings.Training, (*parts.BLOCKS, "arch"))
  if "name" in config.get("network", {}):
    make, _ = parts.named(config, "network", nn.NETWORKS)
    space, arch, record = None, (), _recorded(config)
  else:
    space, arch, record = _arched(config, arch)
    make = space.network
  source, splits = parts.data_set(config, sources, final=True)
  train, watched, held = splits
  network = parts.network(config, make, source, run)
  if space and space.carries:
    network = _final(network)
  chain = parts.optimiser(config, run, train)
  task = parts.task(config, network, chain, arch)
  checks.network(config, space, task, train, arch, shared=False)
  strategy = fixed(arch)
  start = None
  made_of = facts(config, space, record.get("space"), make, network, source)
  if run.init:
    wider = {key: value + 1 for key, value in source.facts.items()}
    task, start = starts.started(
        run.init,
        task,
        parts.task(config, network.clone(**wider), chain, arch),
        train,
        made_of,
        source.facts,
        {
            "space": space,
            "network": make,
            "task": parts.named(config, "task", TASKS)[0],
        },
        arch,
    )
  return Plan(
      experiment=Experiment(
          task=task,
          strategy=strategy,
          children=strategy,
          tx=chain.tx,
          rates=chain.rates,
          train=train,
          held=held,
          watched=watched,
          part=config.data.get("measure", "test"),
          arch=arch,
          eval_every=run.eval_every,
          **parts.of_run(run),
      ),
      record=record,
      checkpoint_seconds=run.checkpoint_seconds,
      space=space,
      facts=made_of,
      start=start,
  )


def record(config: ConfigDict) -> dict[str, Any]:
  """Returns what `config.json` of a run of this config holds.

  No data is read for it.

  Raises:
    ConfigError: a space or an arch that cannot be.
  """
  parts.check_form("config", config)
  with parts.inside("config"):
    if "name" in config.get("network", {}):
      return _recorded(config)
    if parts.is_training(config):
      return _arched(config, None)[2]
    return _recorded(config, space=spaces.read(config, {})[1])


def _recorded(config: ConfigDict, **found: Any) -> dict[str, Any]:
  """Returns a config as plain data, with what was found out of its space.

  Where it goes on from a model, the hash of its weights is recorded, too.
  """
  path = options.checked("init", config.get("init", ""), options.Path)
  if path:
    found["init_sha256"] = starts.weights(path)
  return configfile.recorded({**config.to_dict(), **found})


def _arched(
    config: ConfigDict, arch: Arch | None
) -> tuple[SearchSpace, Arch, dict[str, Any]]:
  """Returns the space, the arch and the record of a training.

  Args:
    config: of the training.
    arch: that of a recipe; None: what `config.arch` names.
  """
  brought = spaces.brought(config) if arch is None else {}
  space, values = spaces.read(config, brought)
  found = {"space": values}
  if arch is None:
    arch = archfile.parse("arch", config.arch, space)
    found["arch"] = text_of(space.flatten(arch))
  return space, arch, _recorded(config, **found)


def _with_recipes(
    config: ConfigDict, sources: dict, made: Plan, arch: Arch
) -> Plan:
  """Adds what follows a search: finalists, retrainings or a command.

  What would only die or fall short after the search dies now.

  Args:
    config: of the search.
    sources: data sets that were loaded already.
    made: the plan so far.
    arch: any of the space.
  """
  retrain = parts.block(config, "retrain", settings.Retrain, ("config",))
  derive, near = made.derive, neighbours(made.space)
  most = 1 + near + second_neighbours(made.space)
  if retrain.random > derive.random:
    raise ConfigError(
        "retrain.random",
        f"{retrain.random} is more than the {derive.random} drawn"
        " (config.derive.random).",
    )
  _check_room(derive.at_once, made.experiment.devices)
  if derive.finalists and not 2 <= derive.finalists <= most:
    raise ConfigError(
        "derive.finalists",
        f"must be 0, for none, or 2 to {most:,}, which are what is chosen, its"
        f" {near:,} neighbours, and those that differ in two choices, got"
        f" {derive.finalists}.",
    )

  def recipe(block: str, measure: str) -> Plan:
    final = recipes.completed(config, block, measure)
    with parts.inside(f"{block}.config"):
      made = _training(final, sources, arch)
    return made._replace(anew=functools.partial(_anew, final))

  own = {n for n in ("derive", "retrain") if config.get(n, {}).get("config")}
  made = made._replace(retrained=retrain.random)
  if derive.finalists:
    block = "derive" if "derive" in own else "retrain"
    if block not in own:
      raise _lacking(
          "derive.finalists", "config.derive.config or config.retrain.config"
      )
    made = made._replace(
        finalist=recipe(block, "valid"), finalist_block=block
    )
  elif "derive" in own:  # of no use, but what is there has to be right
    recipe("derive", "valid")
  if "retrain" in own:
    if retrain.command:
      raise ConfigError(
          "retrain.command",
          "does nothing here; config.retrain.config retrains.",
      )
    made = made._replace(retrain=recipe("retrain", "test"))
    benchmarks.check_recipe("benchmark.path", made)
    return made
  benchmarks.check_recipe("benchmark.path", made)
  if retrain.random:
    raise _lacking("retrain.random", "config.retrain.config")
  return made._replace(command=recipes.command(config))


def _anew(final: ConfigDict, encoding: list[int]) -> Plan:
  """Returns the plan of a recipe for an arch, in whichever process."""
  arch = spaces.read(final, {})[0].unflatten(encoding)
  return _training(final, {}, arch).of(encoding)


def _check_room(at_once: int, devices: int) -> None:
  """Raises ConfigError unless so many trainings can run at a time."""
  if at_once == 1:
    return
  key = "derive.at_once"
  registry.extra(key, "submitit", "sweep")
  if jax.process_count() > 1:
    raise ConfigError(key, f"must be 1 on several hosts, got {at_once}.")
  process.slots(
      key,
      at_once,
      platform=jax.default_backend(),
      found=jax.local_device_count(),
      each=devices,
      taken=devices,
  )


def _lacking(key: str, where: str) -> ConfigError:
  return ConfigError(
      key,
      f"nothing is trained without a final config in {where}, which a config"
      " file sets, as enas_jax.configs.digits_micro does.",
  )
