"""Does a search find more than random search, at the same budget?

  python -m experiments.search_vs_random --config=configs/nasbench201.py \
      --strategies=reinforce,random,evolution --seeds=0,1,2 --workdir=W

runs the config, which may be any that searches and may be changed like any
(--config.epochs=5), with each strategy and each seed in a folder W/S_N of its
own: with the same number of child steps, rewards and finalists (neighbours of
what a strategy finds), so that the strategies differ in what they propose
alone. What is finished is not run again. With --at_once=N, N at a time run in
processes of their own, which change no result, and what fails is told and left
out; --launch=slurm queues them all (experiments/sweep.py says more of both).
Then W/comparison.json and a table tell, as means over the seeds: the best and
the mean of each strategy's own candidates by shared weights (those of random
search are random), with a benchmark's table what the derived architecture truly
has, its rank and regret, the mean of the candidates and Kendall's tau of the
shared weights, and what needs no search, the accuracy of the largest network
and Kendall's tau of the sizes, and what the search is worth in trainings
(enas_jax/derive/worth.py), which is told as geometric means with 95 % bootstrap
intervals over the seeds; where the config retrains, the test metric of the
derived and the random architectures; where it has finalists, what the best of
them has on the validation split when trained alone; wall seconds and FLOPs.
`minus_random` is the difference to random search of the same seed, in the best
of these measures that there is; of a perplexity, less than nothing is better.

  python -m experiments.search_vs_random --table=T --strategy=reinforce \
      --samples=500 --seeds=0,1,2 --json

trains no network: a reward is the validation accuracy of the benchmark's
table T (enas_jax/derive/benchmark.py), in [0, 1], so this measures a strategy
alone. The strategy gets the values that configs/nasbench201.py has for it.
Reported, as means over the seeds and in percent: the test accuracy of the best
sample by validation accuracy, and the mean test accuracy of the last 100
samples, which says what the strategy has learnt. With --json the last line is
one object.
"""

from enas_jax import process

if __name__ == "__main__":
  process.start_anew()  # before the imports that take a second

import json
import pathlib

from absl import flags
import jax
from ml_collections import ConfigDict
import numpy as np

from enas_jax import build, command, folder, registry, run, steps
from enas_jax.configs import nasbench201
from enas_jax.derive import benchmark
from enas_jax.errors import ConfigError
from enas_jax.keeper import Diverged
from enas_jax.plan import Plan
from enas_jax.report.display import Display
from enas_jax.spaces import SPACES
from enas_jax.strategies import STRATEGIES
from enas_jax.types import Strategy
from experiments import many

_LAST = 100  # samples by which a policy is judged
_OF_CONFIG = ("strategies", "workdir", "launch", "at_once", "slurm")
_OF_TABLE = ("strategy", "samples", "archs")

_FLAGS = (
    command.config_flag(),
    command.workdir_flag(),
    flags.DEFINE_list(
        "strategies", ["reinforce", "random"], "Of a --config: what searches."
    ),
    flags.DEFINE_string("table", None, "In place of a --config: the file."),
    flags.DEFINE_string(
        "strategy", "reinforce", "Of a --table: what searches."
    ),
    flags.DEFINE_integer(
        "samples", 500, "Of a --table: architectures a search.", lower_bound=1
    ),
    flags.DEFINE_integer(
        "archs",
        None,
        "Of a --table: M, architectures a tell; as the config.",
        lower_bound=1,
    ),
    flags.DEFINE_list("seeds", ["0", "1", "2"], "One search each."),
    flags.DEFINE_bool("json", False, "Print one JSON object at the end."),
    *many.launch_flags(),
)


def compared(
    config: ConfigDict,
    strategies: list[str],
    seeds: list[int],
    path: str,
    launched: bool = False,
) -> dict[str, object]:
  """Runs what is not finished; what the strategies found, beside each other.

  Args:
    config: of a search; its own strategy and seed are not asked for.
    strategies: names.
    seeds: one search each.
    path: the folder of all of them.
    launched: whether each search is a process of its own, as the flags say.

  Raises:
    ConfigError: a value that cannot work; nothing was written.
  """
  runs = {}
  for seed in seeds:
    for name in strategies:
      # The block of a strategy of one's own goes with no other strategy.
      others = {config.strategy.name, *strategies} - {name, *STRATEGIES}
      blocks = {*map(registry.short, others)} - {registry.short(name)}
      values = config.to_dict()
      own = ConfigDict({k: v for k, v in values.items() if k not in blocks})
      own.strategy.name, own.seed = name, seed
      word = f"{registry.short(name)}_{seed}"
      runs[name, seed] = many.Run(word, own, pathlib.Path(path, word))
  found = (_launched if launched else _in_turn)(runs)
  whole = [result for result in found.values() if result]
  if not whole:
    raise Diverged("every search diverged.")
  rows = {
      name: [
          {"seed": seed, **many.measures(found[name, seed])} for seed in seeds
      ]
      for name in strategies
  }
  judge = many.judge([many.measures(each) for each in whole])
  out = {}
  for name, own in rows.items():
    out[name] = {
        key: many.averaged(key, [row.get(key) for row in own])
        for key in many.MEASURES
    }
    if "random" in rows and name != "random":
      out[name]["minus_random"] = many.mean([
          None
          if None in (a.get(judge), b.get(judge))
          else a[judge] - b[judge]
          for a, b in zip(own, rows["random"], strict=True)
      ])
    out[name]["per_seed"] = own
  return {"metric": whole[0]["metric"], "judge": judge, "strategies": out}


def _in_turn(runs: dict[tuple, many.Run]) -> dict[tuple, dict | None]:
  """Runs one search after another in this process."""
  sources = {}
  plans = {
      key: (build.plan(each.config, sources), str(each.path))
      for key, each in runs.items()
  }
  # All folders are looked at before the first search, which may take hours.
  for plan, where in plans.values():
    folder.finished(where, plan.record)
  return {key: _ended(*each) for key, each in plans.items()}


def _launched(runs: dict[tuple, many.Run]) -> dict[tuple, dict | None]:
  """Runs searches at once; returns None for what failed."""
  made = many.ready([*runs.values()], next(iter(runs.values())).path.parent)
  with many.opened(made.path) as display:
    many.bring(made, display)
  return {
      key: folder.finished(each.path, build.record(each.config))
      for key, each in runs.items()
  }


def _ended(plan: Plan, path: str) -> dict | None:
  """Returns a run's result; None where it diverged, and the others go on."""
  try:
    return run.run(plan, path)
  except Diverged as error:
    print(f"{path} diverged: {error}")
    return None


def show(found: dict, display: Display) -> None:
  """A comparison as a table, a column for each strategy."""
  strategies = found["strategies"]
  judged = f"{many.MEASURES[found['judge']]}, minus random's"
  rows = []
  for key, title in {**many.MEASURES, "minus_random": judged}.items():
    cells = [one.get(key, many.mean([])) for one in strategies.values()]
    if any(cell["mean"] is not None for cell in cells):
      rows.append((title, *map(many.cell, cells)))
  seeds = [row["seed"] for row in next(iter(strategies.values()))["per_seed"]]
  named = ", ".join(map(str, seeds))
  several = len(seeds) > 1
  of = f"Mean and std over the seeds {named}" if several else f"Seed {named}"
  display.table(
      f"{of}, at the same budget; scores by shared weights: {found['metric']}",
      ("", *strategies),
      rows,
  )


def sampled(
    table: benchmark.Benchmark,
    strategy: Strategy,
    *,
    samples: int,
    archs: int,
    seeds: list[int],
) -> np.ndarray:
  """i32[seeds, samples], the rows of the table in the order sampled."""
  choices = int(table.ops.max()) + 1
  weights = choices ** np.arange(table.ops.shape[1])
  row_of = np.zeros(choices ** table.ops.shape[1], np.int32)
  row_of[table.ops @ weights] = np.arange(len(table.ops))
  row_of, valid = jax.numpy.asarray(row_of), jax.numpy.asarray(table.valid)

  def step(state, key):
    asked = steps.propose(strategy, state, key, archs)
    rows = row_of[asked.ops @ weights]
    return strategy.tell(state, asked, valid[rows] / 100)[0], rows

  def run(key):
    init_key, key = jax.random.split(key)
    turns = jax.random.split(key, -(-samples // archs))
    return jax.lax.scan(step, strategy.init(init_key), turns)[1]

  keys = jax.numpy.stack([jax.random.key(seed) for seed in seeds])
  rows = jax.jit(jax.vmap(run))(keys)
  return np.asarray(rows).reshape(len(seeds), -1)[:, :samples]


def outcome(
    table: benchmark.Benchmark, rows: np.ndarray, seeds: list[int]
) -> dict[str, object]:
  """Returns what was found, by seed and on average, in percent."""
  per_seed = []
  for seed, visited in zip(seeds, rows, strict=True):
    best = visited[table.valid[visited].argmax()]
    per_seed.append({
        "seed": seed,
        "best_test_accuracy": float(table.test[best]),
        "policy_test_accuracy": float(table.test[visited[-_LAST:]].mean()),
        "best_encoding": table.ops[best].tolist(),
    })
  return {
      **{
          name: float(np.mean([one[name] for one in per_seed]))
          for name in ("best_test_accuracy", "policy_test_accuracy")
      },
      "per_seed": per_seed,
      "architectures": len(table.test),
  }


def main() -> None:
  """Either of the two experiments."""
  values = flags.FLAGS
  if (values.table is None) == (values.config is None):
    raise ConfigError("--config", "give it or --table, and not both.")
  mine, other = ("--config", _OF_TABLE) if values.config else (
      "--table", _OF_CONFIG
  )
  for name in other:
    if values[name].present:
      raise ConfigError(f"--{name}", f"does not go with {mine}.")
  seeds = many.seeds(values.seeds)
  if values.table is None:
    _on_config(values, seeds)
  else:
    _on_table(values, seeds)


def _on_config(values, seeds: list[int]) -> None:
  for name in values.strategies:
    registry.find("--strategies", name, "strategy", STRATEGIES)
  words = set(map(registry.short, values.strategies))
  if not words or len(words) < len(values.strategies):
    raise ConfigError("--strategies", "at least one, and each once at most.")
  command.refuse({
      "seed": "give --seeds",
      "strategy.name": "give --strategies",
  })
  if "arch" in values.config:
    raise ConfigError("--config", "it trains one architecture; none searches.")
  path = str(folder.path_of(values.workdir or "runs/search_vs_random"))
  launched = values.launch != "local" or (values.at_once or 1) > 1
  if values.slurm and not launched:
    raise ConfigError("--slurm", "does not go with --launch=local.")
  found = compared(values.config, values.strategies, seeds, path, launched)
  where = pathlib.Path(path)
  folder.write_json(where / "comparison.json", found)
  display = Display(where / "log.txt")
  show(found, display)
  display.close()
  if values.json:
    print(json.dumps(found))


def _on_table(values, seeds: list[int]) -> None:
  config = nasbench201.get_config()
  space = SPACES["nasbench201"](scale=config.space.scale)
  name = values.strategy
  make = registry.find("--strategy", name, "strategy", STRATEGIES)
  strategy = make(space, **config.get(registry.short(name), {}))
  table = benchmark.read("--table", values.table, space)
  if table.valid is None or len(table.test) < table.architectures:
    raise ConfigError(
        "--table", "must have the validation accuracy of every architecture."
    )
  archs = values.archs or config.strategy.archs
  rows = sampled(
      table, strategy, samples=values.samples, archs=archs, seeds=seeds
  )
  found = outcome(table, rows, seeds)
  for one in found["per_seed"]:
    print(
        f"{name}, seed {one['seed']}: best of {values.samples} by validation"
        f" {one['best_test_accuracy']:.2f}% on the test images, last {_LAST}"
        f" {one['policy_test_accuracy']:.2f}%"
    )
  print(
      f"Mean: {found['best_test_accuracy']:.2f}%, last {_LAST}"
      f" {found['policy_test_accuracy']:.2f}%"
  )
  settings = {"strategy": name, "samples": values.samples, "archs": archs}
  if values.json:
    print(json.dumps({**found, **settings}))


def cli() -> None:
  """Maps every way to end to a line and an exit code."""
  command.cli(main, *_FLAGS)


if __name__ == "__main__":
  cli()
