"""What makes a search win, where the truth is known?

  python -m experiments.ablations --config=configs/proxy_macro.py \
      --config.benchmark.path=experiments/tables/macro_cifar10.jsonl \
      --workdir=W [--seeds=0,1,2 --variants=configured,random,evolution]

runs the config's search with each variant and each seed in a folder W/V_N of
its own. A variant changes what `_VARIANTS` says, and nothing else; anything
else of the config can be changed for all (--config.epochs=5). What is finished
is not run again. Nothing is retrained by the searches. In place of that, the
program that made the table (experiments/truth.py) trains all architectures that
were derived, each with as many seeds as the table has, into W/truth.jsonl. So
luck decides less than in one retraining, and an architecture compiles nothing.

The table printed at the end, and W/ablations.json, have for each variant the
mean value of what was derived, its percentile, equivalent trainings, cost and
gain (enas_jax/derive/worth.py), and its equivalent trainings over those of the
first variant with the same seed. Means of factors are geometric, with 95 %
bootstrap intervals over the seeds.
"""

from enas_jax import process

if __name__ == "__main__":
  process.start_anew()  # before the imports that take a second

import pathlib
from typing import Any

from absl import flags
from ml_collections import ConfigDict
import numpy as np

from enas_jax import build, command, folder, run
from enas_jax.derive import benchmark, worth
from enas_jax.errors import ConfigError, lookup
from enas_jax.keeper import Diverged
from enas_jax.plan import Plan
from enas_jax.report.display import Display
from experiments import many, truth

# Rewards less their moving average, which forgets within ten rewards.
_MOVING = {"reinforce.step_baseline": False, "reinforce.baseline_decay": 0.9}
# What each variant changes, by dotted key.
_VARIANTS = {
    "configured": {},
    "random": {"strategy.name": "random"},
    "evolution": {"strategy.name": "evolution"},
    "lstm": {"reinforce.hidden": 64},
    "factorised": {"reinforce.hidden": 0},
    "policy_children": {"strategy.children": "policy"},
    "no_warmup": {"strategy.children": "policy", "strategy.warmup": 0},
    "no_entropy": {"reinforce.entropy_weight": 0.0},
    "step_baseline": {"reinforce.step_baseline": True},
    "same_batch": {"strategy.same_batch": True},
    "moving_baseline": _MOVING,
    "own_batches": {**_MOVING, "strategy.same_batch": False},
    "accuracy": {"task.score": "accuracy"},
    "by_score": {"derive.by": "score"},
    "by_policy": {"derive.by": "policy"},
}
_COLUMNS = {
    "value": "value, %",
    "percentile": "percentile",
    "equivalent": "equivalent trainings",
    "cost": "cost in trainings",
    "gain": "gain",
    "ratio": "over the first",
}


def changed(config: ConfigDict, variant: str, seed: int) -> ConfigDict:
  """Returns the config of a variant with that seed.

  Raises:
    ConfigError: There is no such variant, or it changes what the config lacks.
  """
  changes = lookup("--variants", variant, _VARIANTS, "variant")
  own = ConfigDict(config.to_dict())
  for key, value in {**changes, "seed": seed}.items():
    *blocks, name = key.split(".")
    block = own
    for each in blocks:
      block = block.get(each, ConfigDict())
    if name not in block:
      raise ConfigError("--variants", f"{variant}: no key config.{key} here.")
    with block.unlocked():
      block[name] = value
  return own


def searched(
    config: ConfigDict,
    variants: list[str],
    seeds: list[int],
    path: pathlib.Path,
) -> dict[tuple[str, int], dict[str, Any]]:
  """Runs the searches that are not finished; returns the results of all.

  Those that diverged are left out.

  Raises:
    ConfigError: A value that cannot work; nothing was written.
  """
  sources, plans = {}, {}
  for variant in variants:
    for seed in seeds:
      plan = build.plan(changed(config, variant, seed), sources)
      plans[variant, seed] = plan._replace(retrain=None)
      folder.finished(path / f"{variant}_{seed}", plan.record)
  found = {}
  for (variant, seed), plan in plans.items():
    try:
      found[variant, seed] = run.run(plan, str(path / f"{variant}_{seed}"))
    except Diverged as error:
      print(f"{variant}, seed {seed}, diverged: {error}")
  return found


def judged(
    plan: Plan, found: dict[Any, dict[str, Any]], path: pathlib.Path
) -> dict[Any, dict[str, float | None]]:
  """Trains what was derived as the table did; says what each search is worth.

  Args:
    plan: Of any of the searches, with its recipe and its table.
    found: Results of searches by any key.
    path: The folder of the table of what was derived.
  """
  table = plan.benchmark
  encodings = {tuple(each["encoding"]): None for each in found.values()}
  count = table.trainings.shape[1]
  truth.made(plan, path, table.metric, list(map(list, encodings)), count)
  own = benchmark.read("--workdir", str(path / truth.TABLE), plan.space)
  out = {}
  for key, result in found.items():
    encoding = tuple(result["encoding"])
    others = np.delete(table.trainings, table.rows.get(encoding, []), 0)
    values = own.trainings[own.rows[encoding]]
    equivalent = worth.equivalent(others, values)
    flops = result["cost"]["flops"]
    out[key] = {
        "value": float(values.mean()),
        **worth.report(equivalent, flops, table.training),
    }
  return out


def compared(
    worths: dict[tuple[str, int], dict[str, float | None]], variants: list[str]
) -> dict[str, Any]:
  """Returns the means over the seeds of each variant."""
  out = {}
  for variant in variants:
    rows = {
        seed: {**row, "ratio": _ratio(row, worths.get((variants[0], seed)))}
        for (one, seed), row in worths.items()
        if one == variant
    }
    out[variant] = {
        key: many.averaged(key, [row[key] for row in rows.values()])
        for key in _COLUMNS
    }
    out[variant]["per_seed"] = [
        {"seed": seed, **row} for seed, row in rows.items()
    ]
  return out


def _ratio(row: dict[str, Any], first: dict[str, Any] | None) -> float | None:
  """Returns how many times the equivalent trainings of the first these are."""
  return row["equivalent"] / first["equivalent"] if first else None


def main() -> None:
  """Runs the variants and shows what each is worth."""
  values = flags.FLAGS
  command.refuse({"seed": "give --seeds"})
  seeds, variants = many.seeds(values.seeds), [*dict.fromkeys(values.variants)]
  config = values.config
  if config is None or not config.get("benchmark", {}).get("path"):
    raise ConfigError("config.benchmark.path", "give the table.")
  plan = build.plan(config)
  if plan.retrain is None or plan.benchmark.recipe is None:
    raise ConfigError(
        "config.benchmark.path",
        "must be a table of experiments/truth.py, by the config's own recipe.",
    )
  path = folder.path_of(values.workdir or "runs/ablations")
  found = searched(config, variants, seeds, path)
  if not found:
    raise Diverged("every search diverged.")
  out = compared(judged(plan, found, path), variants)
  folder.write_json(path / "ablations.json", out)
  display = Display(path / "log.txt")
  named = ", ".join(map(str, seeds))
  display.table(
      f"Means over the seeds {named}; values are {plan.benchmark.metric}",
      ("", *_COLUMNS.values()),
      [
          (variant, *(many.cell(row[key]) for key in _COLUMNS))
          for variant, row in out.items()
      ],
  )
  display.close()


def cli() -> None:
  """Defines the flags, which other programs have too, and runs `main`."""
  defined = (
      command.config_flag(),
      command.workdir_flag(),
      flags.DEFINE_list(
          "variants", ["configured", "random", "evolution"], "Which."
      ),
      flags.DEFINE_list("seeds", ["0", "1", "2"], "One search each."),
  )
  command.cli(main, *defined)


if __name__ == "__main__":
  cli()
