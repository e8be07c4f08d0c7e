"""Makes a table of the truth: random architectures, each trained alone.

  python -m experiments.truth --space=recurrent --archs=300 --seeds=2 \
      --workdir=W

draws architectures of the space of configs/proxy_recurrent.py and trains each
with the seeds 0 and 1 by the recipe of that config, `config.retrain.config`.
`--config=` takes any other search that has such a recipe, and may change it
(--config.retrain.config.epochs=8). The same command goes on where it stopped,
and more --archs are added to those that are there.

Every choice of a random architecture is uniform, but a skip bit of the macro
space is set with the prior of the space, `config.space.skip_target`
(enas_jax/strategies/random.py).

W/truth.jsonl is a table for `config.benchmark.path` of a search; its form
stands in enas_jax/derive/benchmark.py. A line has the integers of an
architecture, its parameters and FLOPs where they differ within the space, and
of each seed the likelihood, exp(-cross-entropy), and the accuracy where there
is one, both in percent, of the test examples after every
`config.retrain.config.eval_every` epochs (test_likelihood_E, test_acc_E), and
of the validation examples where the recipe watches them.

All architectures share one compiled program. The architecture is an array in
it, its weights are fresh, and all seeds of one architecture run side by side. A
seed's random numbers are those of the loop, in which the recipe trains an
architecture whose program is its own, so that both train the same network
where the network has the same weights in both. They are not the same where a
network has weights for every choice, as those of pictures have: those which an
architecture reads are drawn by other numbers of the same distribution, and the
others do nothing.

With several seeds the end says how far the table can be trusted: the retest
tau, which is Kendall's tau of the first two seeds, that of the means of two
halves of the seeds, the noise of a training and the spread of the truth.
`--beside=V` adds Kendall's tau with another table of the same architectures,
such as that of a recipe four times as long.
"""

from enas_jax import process

if __name__ == "__main__":
  process.start_anew()  # before the imports that take a second

from collections.abc import Callable, Iterator
import contextlib
import functools
import json
import math
import pathlib
import time
from typing import Any

from absl import flags
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

from enas_jax import build, command, evaluate, folder, optim, steps
from enas_jax.build import configfile
from enas_jax.derive import benchmark, cost, ranking, worth
from enas_jax.errors import ConfigError
from enas_jax.plan import Experiment, Plan
from enas_jax.report.display import Display, Pace
from enas_jax.types import Arch, SearchState, Split, Strategy

TABLE = "truth.jsonl"
_DRAW = 2**32 - 1  # the seed of the architectures, no other's
_TOLD = 10  # architectures between two lines of progress
# The axes of the seeds in a state. The arch has none: a switch by an index with
# one would run every branch and select.
_SEEDS = SearchState(*[0] * len(SearchState._fields))._replace(strategy=None)
_COUNTED = 4  # architectures on which the FLOPs of a training are counted


def carried(arch: Arch) -> Strategy:
  """Returns a strategy whose state is the arch that it proposes."""
  return Strategy(
      init=lambda key: arch,
      ask=lambda state, key: state,
      tell=lambda state, archs, rewards: (state, {}),
  )


def trainer(experiment: Experiment, seeds: int) -> Callable:
  """Returns a function that trains any arch alone, with the seeds 0, 1, ...

  Args:
    experiment: Of a recipe; its own arch and seed are not read.
    seeds: How many trainings run side by side.

  Returns:
    A function: numpy arch -> an iterator of (epoch, numbers) that trains as far
    as it is read, where the numbers of a training are "test_likelihood" and so
    on, each with a list of a number for each seed.
  """
  experiment = experiment._replace(arch=None)
  splits = {"test": experiment.held}
  if experiment.watched:
    splits["val"] = experiment.watched
  keys = jnp.stack([jax.random.key(seed) for seed in range(seeds)])
  start = jax.jit(
      jax.vmap(functools.partial(_start, experiment), (0, None), (_SEEDS, 0))
  )
  epoch = jax.jit(
      jax.vmap(
          functools.partial(_epoch, experiment), (_SEEDS, 0, None, None), _SEEDS
      ),
      donate_argnums=0,
  )
  arrays = jax.device_put(experiment.train.arrays)
  measures = {
      name: _measure(experiment, split) for name, split in splits.items()
  }

  def train(arch: Arch) -> Iterator[tuple[int, dict[str, list[float]]]]:
    state, order = start(keys, jax.tree.map(jnp.asarray, arch))
    for n in range(experiment.epochs):
      state = epoch(state, order, n, arrays)
      done = n + 1
      if done % experiment.eval_every and done < experiment.epochs:
        continue
      yield done, {
          f"{part}_{name}": values
          for part, measure in measures.items()
          for name, values in _percents(measure(state)).items()
      }

  return train


def _start(experiment: Experiment, key: jax.Array, arch: Arch) -> tuple:
  """Returns the state before the first step, and the key of the data."""
  key, order = jax.random.split(key)
  state = steps.init(
      key,
      task=experiment.task,
      strategy=carried(arch),
      tx=experiment.tx,
      train=experiment.train,
      arch=arch,
  )
  return state, order


def _epoch(
    experiment: Experiment, state: Any, order: jax.Array, n: int, arrays: Any
) -> Any:
  """Runs all child steps of an epoch."""

  def step(state, row):
    state = steps.child_step(
        state,
        arrays,
        row,
        task=experiment.task,
        strategy=carried(state.strategy),
        tx=experiment.tx,
        train=experiment.train,
        progress=experiment.fraction,
    )
    return state, None

  rows = experiment.train.rows(jax.random.fold_in(order, n))
  return jax.lax.scan(step, steps.next_epoch(state), rows)[0]


def _measure(experiment: Experiment, split: Split) -> Callable:
  """Returns a function: states of all seeds -> their records on a split."""
  task, shapes = experiment.task, split.shapes()
  rows, arrays = split.rows(None), jax.device_put(split.arrays)

  def one(state, arrays):
    params = optim.measured(state.params, state.opt_state)

    def step(model_state, row):
      batch = split.batch(arrays, row, None)
      return task.measure(params, model_state, state.strategy, batch)

    begun = task.begin(state.model_state, shapes)
    _, records = jax.lax.scan(step, begun, rows)
    return jax.tree.map(lambda leaf: leaf.sum(0), records)

  every = jax.jit(jax.vmap(one, (_SEEDS, None)))

  def measure(state):
    records = jax.device_get(every(state, arrays))
    seeds = len(jax.tree.leaves(records)[0])
    return [
        evaluate.summarize(jax.tree.map(lambda leaf, n=n: leaf[n], records))
        for n in range(seeds)
    ]

  return measure


def _percents(records: list[dict[str, float]]) -> dict[str, list[float]]:
  """Returns likelihoods, and accuracies where there are any, in percent."""
  out = {"likelihood": [math.exp(-record["loss"]) for record in records]}
  if "accuracy" in records[0]:
    out["acc"] = [record["accuracy"] for record in records]
  return {
      name: [round(100 * value, 5) if math.isfinite(value) else 0.0
             for value in values]
      for name, values in out.items()
  }


def drawn(plan: Plan, count: int) -> list[list[int]]:
  """Returns the encodings of different random archs, always the same ones."""
  found, ask = {}, jax.jit(plan.uniform.ask)
  key = jax.random.key(_DRAW)
  for n in range(20 * count):
    if len(found) == count:
      break
    arch = jax.device_get(ask((), jax.random.fold_in(key, n)))
    found[tuple(plan.space.flatten(arch))] = None
  return list(map(list, found))


def head(plan: Plan, metric: str, encodings: list[list[int]]) -> dict:
  """Returns the first line of a table, which says how it came about."""
  final = plan.retrain.experiment
  steps_each = final.epochs * final.child_steps

  def flops(encoding):
    arch = plan.space.unflatten(encoding)
    given = cost.shapes(final.task, final.train, arch)
    return steps_each * cost.child_step(final.task, arch, *given)

  return {
      "data": plan.record["data"]["name"],
      "metric": metric,
      "training": float(np.mean(list(map(flops, encodings[:_COUNTED])))),
      "recipe": benchmark.recipe(plan.retrain),
  }


def made(
    plan: Plan,
    path: pathlib.Path,
    metric: str,
    encodings: list[list[int]],
    seeds: int,
) -> list[dict]:
  """Trains what a table lacks, writes it, and returns the table's entries.

  Args:
    plan: Of a search that retrains.
    path: The folder of the table.
    metric: "likelihood" or "accuracy", which the table's readers take.
    encodings: The archs that the table is to have.
    seeds: How often each is trained.

  Raises:
    ConfigError: The folder has a table of another recipe or metric.
  """
  path.mkdir(parents=True, exist_ok=True)
  file = path / TABLE
  first = json.loads(json.dumps(head(plan, metric, encodings)))
  there, *entries = folder.lines(file) or [first]
  benchmark.check_training("--workdir", plan.retrain, there["recipe"])
  if there["metric"] != metric:
    raise ConfigError(
        "--workdir", f"{file} has the {there['metric']}, not the {metric}."
    )
  text = "".join(json.dumps(line) + "\n" for line in (first, *entries))
  folder.write(file, text)
  done = {tuple(entry["encoding"]) for entry in entries}
  left = [each for each in encodings if tuple(each) not in done]
  with contextlib.closing(Display(path / "log.txt")) as display:
    new = _trained(plan, seeds, left, len(encodings), file, display)
    return [*entries, *new]


def _trained(
    plan: Plan,
    seeds: int,
    left: list[list[int]],
    total: int,
    file: pathlib.Path,
    display: Display,
) -> Iterator[dict]:
  """Trains the archs that are left; writes and yields their entries."""
  train, pace = trainer(plan.retrain.experiment, seeds), Pace()
  bar = display.bar(total, total - len(left))
  with bar, file.open("a", encoding="utf-8") as out:
    for n, encoding in enumerate(left):
      entry = _entry(plan, train, encoding)
      print(json.dumps(entry), file=out, flush=True)
      yield entry
      pace.step("arch")
      rest = len(left) - n - 1
      line = (
          f"{total - rest} of {total} architectures,"
          f" {pace.left({'arch': rest})} left"
      )
      bar.show(total - rest, line)
      if not bar.live and n % _TOLD == 0:
        display.say(line)


def _entry(plan: Plan, train: Callable, encoding: list[int]) -> dict:
  """Trains one arch; returns its line of the table."""
  begun = time.monotonic()
  arch = plan.space.unflatten(encoding)
  size = {}
  if plan.size:
    size = {k: int(v) for k, v in plan.size(arch)._asdict().items()}
  numbers = {
      f"{name}_{epoch}": values
      for epoch, found in train(arch)
      for name, values in found.items()
  }
  seconds = round(time.monotonic() - begun, 2)
  return {"encoding": encoding, **size, **numbers, "seconds": seconds}


def trust(table: benchmark.Benchmark) -> dict[str, float | None]:
  """Returns how far a table can be trusted.

  The noise is that of one training near the mean, the spread the deviation of
  the truth over archs. The retest tau is Kendall's of the first two seeds, and
  that of halves of the means of the first and of the second half of all seeds.
  """
  values = table.trainings
  half = values.shape[1] // 2
  noise = worth.noise(values, float(table.test.mean()))
  square = table.test.var() - noise**2 / values.shape[1]
  tau = halves = None
  if half:
    tau = ranking.kendall(values[:, 0], values[:, 1])
    first, second = values[:, :half].mean(1), values[:, half:].mean(1)
    halves = ranking.kendall(first, second)
  return {
      "archs": len(values),
      "retest_tau": tau,
      "retest_tau_of_halves": halves,
      "noise": noise,
      "spread": math.sqrt(max(square, 0.0)),
      "mean": float(table.test.mean()),
      "best": float(table.test.max()),
  }


def agreement(one: benchmark.Benchmark, other: benchmark.Benchmark) -> dict:
  """Returns Kendall's tau of two tables, on the archs that both know."""
  both = [values for values in one.rows if values in other.rows]
  taus = ranking.correlations(
      benchmark.accuracies(one, both), benchmark.accuracies(other, both), 0
  )
  return {"both": len(both), **taus}


def _config(values: flags.FlagValues) -> ConfigDict:
  """Returns the config of the space or of the flag, which has a recipe."""
  if (values.space is None) == (values.config is None):
    raise ConfigError("--space", "give it or --config, and not both.")
  config = values.config
  if config is None:
    config = configfile.load("--space", f"proxy_{values.space}")
  if not config.get("retrain", {}).get("config"):
    raise ConfigError("--config", "it must search and have a retrain.config.")
  return config


def main() -> None:
  """Makes or extends a table and says how far it can be trusted."""
  values = flags.FLAGS
  plan = build.plan(_config(values), tell=print)
  if plan.retrain.experiment.train.stream:
    raise ConfigError(
        "config.data.stream", "must be off: all trainings share the arrays."
    )
  path = folder.path_of(values.workdir or "runs/truth")
  encodings = drawn(plan, values.archs)
  made(plan, path, values.metric, encodings, values.seeds)
  read = functools.partial(benchmark.read, "--beside", space=plan.space)
  table = read(str(path / TABLE))
  for name, value in trust(table).items():
    print(f"{name:20} {value}")
  if values.beside:
    print(f"beside {values.beside}: {agreement(table, read(values.beside))}")


def cli() -> None:
  """Defines the flags, which other programs have too, and runs `main`."""
  defined = (
      command.config_flag(),
      command.workdir_flag(),
      flags.DEFINE_string("space", None, "recurrent, micro or macro."),
      flags.DEFINE_integer("archs", 300, "How many.", lower_bound=1),
      flags.DEFINE_integer("seeds", 2, "Trainings of each.", lower_bound=1),
      flags.DEFINE_enum(
          "metric",
          "likelihood",
          ["likelihood", "accuracy"],
          "What readers of the table take for the truth.",
      ),
      flags.DEFINE_string("beside", None, "Another table to compare with."),
  )
  command.cli(main, *defined)


if __name__ == "__main__":
  cli()
