"""Reads a benchmark: what archs of a space score in truth, trained alone.

A table is a JSON object, in the forms in which benchmarks are published:

  {"02012100": {"test_acc": [89.5, 88.9, 89.2], "params": 890666, ...}, ...}
  {"|nor_conv_3x3~0|+...": {"val_acc_200": 87.7, "test_acc_200": 90.3}, ...}

A key is an arch in the notation of its space (`SearchSpace.parse`). Of an entry
these numbers are read, and all others are left alone:

  test_acc or test_acc_E   test accuracy in percent, after E epochs; of several,
                           that after most epochs
  val_acc or val_acc_E     validation accuracy likewise; it may be absent
  params, flops            the size of the network; both may be absent

A list has a number for each of several trainings, and its mean counts. A table
may know only some archs of its space.

A table of one's own (`python -m experiments.truth`) is a file of JSON lines.
The first is an object that says how the others came about:

  data      the name of the data set
  metric    "accuracy", or "likelihood", exp(-cross-entropy); then the numbers
            are named test_likelihood and so on in place of test_acc
  training  the FLOPs of training an arch alone, on average
  recipe    every value of the config that trained them, by its dotted key

Each of the others is such an entry, with the integers of its arch as
"encoding".
"""

from collections.abc import Callable, Sequence
import json
import math
import pathlib
import re
import statistics
from typing import Any

import jax
import numpy as np

from enas_jax.derive import ranking, worth
from enas_jax.errors import ConfigError, one_line
from enas_jax.plan import effective, Plan
from enas_jax.types import Benchmark, Head, Schedule, SearchSpace

_SIZES = ("params", "flops")
# What two trainings of one recipe may differ in.
_NO_RECIPE = (
    *("arch", "seed", "devices", "eval_every", "steps_per_call"),
    "data.stream",  # how batches are read, not what they are
)
_SHORT = {"accuracy": "acc"}  # how tables name a metric


def read(
    key: str, path: str, space: SearchSpace, data: str = ""
) -> Benchmark:
  """Returns the table in the file `path`.

  Args:
    key: The option that gives the path, for the error.
    path: The path of a JSON file.
    space: The space whose archs the table has.
    data: The name of the data set on which these were trained; "": the last
      word of the file's name, as in `nasbench201_cifar10.json`.

  Raises:
    ConfigError: There is no such file, it is no such table, or it is a table of
      another space.
  """
  file = pathlib.Path(path)
  if not file.is_file():
    folder = ": it is a folder" if file.is_dir() else ""
    raise ConfigError(key, f"there is no file {path!r}{folder}.")

  def refuse(why: str) -> ConfigError:
    return ConfigError(key, f"{path} is no benchmark: {why}.")

  try:
    content = file.read_bytes()
    if file.suffix == ".jsonl":
      head, *entries = map(json.loads, content.splitlines())
      table = {json.dumps(entry["encoding"]): entry for entry in entries}
    else:
      head, table = {}, json.loads(content)
  except (ValueError, OSError, RecursionError) as why:
    raise refuse(f"it is not JSON ({one_line(why)})") from None
  except (KeyError, TypeError):
    raise refuse("a line after the first has no 'encoding'") from None
  training = head.get("training") if isinstance(head, dict) else ""
  if not isinstance(training, int | float | None):
    raise refuse("its first line is no object that says how it was made")
  if not isinstance(table, dict) or not table:
    raise refuse("it is not an object with a key for each architecture")
  if not all(isinstance(entry, dict) for entry in table.values()):
    raise refuse("the value of a key is not an object")
  metric = head.get("metric", "accuracy")
  short = _SHORT.get(metric, metric)
  ops = _encodings(table, space, refuse)
  trainings = _trainings(table, _latest(table, f"test_{short}"), refuse)
  if trainings is None:
    raise refuse(f"no entry has 'test_{short}' or 'test_{short}_E', E epochs")
  test = np.nanmean(trainings, 1)
  valid = _column(table, _latest(table, f"val_{short}"), refuse)
  for score in (test, valid):
    if score is None:
      continue
    if not np.all((score >= 0) & (score <= 100)):
      raise refuse(f"an {metric} is no percentage")
    if score.max() <= 1 and metric in _SHORT:
      raise refuse("its accuracies are fractions, not percent")
  return Benchmark(
      data=data or head.get("data") or file.stem.rpartition("_")[2],
      ops=np.array(ops, np.int32),
      test=test,
      valid=valid,
      params=_column(table, "params", refuse),
      flops=_column(table, "flops", refuse),
      rows={values: n for n, values in enumerate(ops)},
      architectures=_count(space.schedule),
      trainings=trainings,
      metric=metric,
      training=training,
      recipe=head.get("recipe"),
  )


def recipe(plan: Plan) -> dict[str, Any]:
  """Returns the values by which a plan trains any arch, by their dotted keys.

  These are all values of its config that change what comes out, but for the
  arch and the seed.
  """
  without = _without(plan)
  return {
      key: value
      for key, value in effective(plan.record).items()
      if key not in without
  }


def _without(plan: Plan) -> set[str]:
  """Returns the keys in which two trainings of one recipe may differ."""
  return {*_NO_RECIPE, *(f"space.{name}" for name in plan.space.of_policy)}


def check_recipe(key: str, plan: Plan) -> None:
  """Raises ConfigError where a search trains otherwise than its table did.

  Args:
    key: The option that gives the table, for the error.
    plan: The plan of the search. A stranger's table does not say its recipe, so
      that nothing is asked of the search.
  """
  asked = plan.benchmark and plan.benchmark.recipe
  if not asked:
    return
  if not plan.retrain:
    raise ConfigError(
        key,
        "the search must retrain as its table did, by config.retrain.config.",
    )
  check_training(key, plan.retrain, asked)


def check_training(key: str, plan: Plan, asked: dict[str, Any]) -> None:
  """Raises ConfigError where a plan trains archs otherwise than a table did.

  Args:
    key: The option that gives the table, for the error.
    plan: The plan of a training.
    asked: The table's recipe. A key that it lacks counts as None there.
  """
  # As JSON has it, whose lists are no tuples.
  own = json.loads(json.dumps(recipe(plan)))
  for name in sorted({*asked, *own} - _without(plan)):
    one, other = asked.get(name), own.get(name)
    if one != other:
      raise ConfigError(
          key,
          f"its architectures were trained with {name} = {one!r}, but"
          f" config.retrain.config has {other!r}.",
      )


def _encodings(table: dict, space: SearchSpace, refuse: Callable) -> list:
  """Returns the integers of each key, i[n, J] as tuples."""
  found = {}
  for name, entry in table.items():
    try:
      values = entry.get("encoding") or space.parse(name)
      if values is None:
        raise ValueError("it is not in the notation of config.space.name")
      space.unflatten(values)
    except ValueError as why:
      raise refuse(
          f"its key {name!r} is no architecture of this space ({why})"
      ) from None
    if found.setdefault(tuple(values), name) != name:
      raise refuse(f"{name!r} is in it twice")
  return list(found)


def _latest(table: dict, name: str) -> str:
  """Returns `name` or `name_E` of the most epochs E, as the entries have it."""
  first = next(iter(table.values()))
  epochs = [re.fullmatch(rf"{name}_(\d+)", key) for key in first]
  most = max((int(match[1]) for match in epochs if match), default=None)
  return name if most is None else f"{name}_{most}"


def _column(table: dict, name: str, refuse: Callable) -> np.ndarray | None:
  """Returns a number of each entry, f64[n]; None where no entry has it."""
  found = _trainings(table, name, refuse)
  return None if found is None else np.nanmean(found, 1)


def _trainings(table: dict, name: str, refuse: Callable) -> np.ndarray | None:
  """Returns all numbers of each entry, f64[n, k]; None where none has any.

  Where an entry has fewer than k, the others are NaN.
  """
  values = [entry.get(name) for entry in table.values()]
  missing = values.count(None)
  if missing == len(values):
    return None
  if missing:
    raise refuse(f"{missing:,} of its {len(values):,} entries lack {name!r}")
  values = [value if isinstance(value, list) else [value] for value in values]
  try:
    means = list(map(statistics.fmean, values))
  except (ValueError, TypeError):
    raise refuse(f"{name!r} of an entry is no number") from None
  if not np.isfinite(means).all():
    raise refuse(f"{name!r} of an entry is not finite")
  out = np.full((len(values), max(map(len, values))), np.nan)
  for row, own in zip(out, values, strict=True):
    row[: len(own)] = own
  return out


def _count(schedule: Schedule) -> int:
  """Returns how many archs a space has."""
  choices = schedule.mask.sum(1).tolist()
  return math.prod(
      {Head.SKIP: 2**count, Head.NONE: 1}.get(head, count)
      for head, count in zip(schedule.head.tolist(), choices, strict=True)
  )


def report(
    table: Benchmark,
    derived: list[int],
    policy: list[list[int]],
    random: list[tuple[list[int], float]],
    seed: int,
) -> dict[str, Any]:
  """Judges a search by the benchmark; all accuracies are in percent.

  What the table does not know is None, and means are of what it knows.

  Args:
    table: The benchmark.
    derived: The encoding of the derived arch.
    policy: The encodings of the candidates of the trained policy.
    random: The encodings of uniformly random candidates, each with its score by
      shared weights, of which higher is better.
    seed: The seed of the bootstrap.

  Returns:
    The report. Its "ranking" is None where fewer than `ranking.LEAST` random
    candidates are known, and it has no "baselines" where no size is known.
  """
  encodings, scores = zip(*random, strict=True)
  true = accuracies(table, encodings)
  known = np.isfinite(true)
  own = _judged(table, derived)
  accuracy = own["test_accuracy"]
  best = float(table.test.max())
  baselines = _baselines(table)
  return {
      "data": table.data,
      "metric": table.metric,
      **own,
      "known": len(table.test),
      "architectures": table.architectures,
      "best": best,
      "regret": None if accuracy is None else best - accuracy,
      "mean_of_policy": _mean(accuracies(table, policy)),
      "mean_of_random": _mean(true),
      "ranking": ranking.report(np.array(scores)[known], true[known], seed),
      **({"baselines": baselines} if baselines else {}),
  }


def _baselines(table: Benchmark) -> dict[str, Any]:
  """Returns what is known without a search, from the sizes of the networks.

  These are the accuracy and rank of the largest network, by FLOPs and then by
  parameters, and Kendall's tau of each measure of size with the truth over all
  archs of the table.
  """
  sizes = {
      name: getattr(table, name)
      for name in _SIZES
      if getattr(table, name) is not None
  }
  if not sizes:
    return {}
  # The last key of `lexsort` counts first.
  largest = table.ops[np.lexsort(list(sizes.values()))[-1]].tolist()
  taus = {
      f"kendall_{name}": _number(ranking.kendall(size, table.test))
      for name, size in sizes.items()
  }
  return {"largest": {"encoding": largest, **_judged(table, largest)}, **taus}


def _judged(table: Benchmark, encoding: list[int]) -> dict[str, Any]:
  """Returns the accuracy of an arch and its rank among all of the table."""
  accuracy = _number(accuracies(table, [encoding])[0])
  if accuracy is None:
    return {"test_accuracy": None, "rank": None}
  rank = int((table.test > accuracy).sum()) + 1
  return {"test_accuracy": accuracy, "rank": rank}


def equivalent(
    table: Benchmark, derived: list[int], retrained: float | None = None
) -> float | None:
  """Returns how many random trainings the derived arch is worth.

  It is None where the table does not know the arch and nobody trained it.

  Args:
    table: The benchmark.
    derived: The encoding of the arch.
    retrained: The test score in percent, by the recipe of the table.
  """
  row = table.rows.get(tuple(derived))
  if row is not None:
    own = table.trainings[row]
    own = own[np.isfinite(own)]
    return worth.equivalent(np.delete(table.trainings, row, 0), own)
  if retrained is None:
    return None
  return worth.equivalent(table.trainings, [retrained])


def random_alone(table: Benchmark, count: int) -> float:
  """Returns the test score that `count` random trainings alone reach.

  It is the expected score of the one that is best by its validation score, or
  where the table has none, by the test score of its first training.
  """
  first = table.trainings[:, 0]
  return worth.picked(
      first if table.valid is None else table.valid, table.test, count
  )


def accuracies(
    table: Benchmark, encodings: Sequence[Sequence[int]]
) -> np.ndarray:
  """Returns the test accuracies of n encodings, f64[n] in percent.

  An accuracy is NaN where the table does not know the arch.
  """
  rows = [table.rows.get(tuple(values)) for values in encodings]
  return np.array([np.nan if n is None else table.test[n] for n in rows])


def sized(table: Benchmark, space: SearchSpace, size: Callable) -> Benchmark:
  """Returns the table with the sizes by `size` where it has none of its own.

  Args:
    table: The benchmark.
    space: Its space.
    size: Arch -> Size; traceable.
  """
  if table.sized:
    return table
  archs = [space.unflatten(values) for values in table.ops.tolist()]
  archs = jax.tree.map(lambda *leaves: np.stack(leaves), *archs)
  found = jax.device_get(jax.jit(jax.vmap(size))(archs))
  return table._replace(params=found.params, flops=found.flops)


def same_data(one: str, other: str) -> bool:
  """Says whether two names, such as "cifar10" and "CIFAR-10", are of one set.
  """
  one, other = (re.sub(r"[\W_]", "", name.lower()) for name in (one, other))
  return one == other


def _mean(values: np.ndarray) -> float | None:
  values = values[np.isfinite(values)]
  return float(values.mean()) if len(values) else None


def _number(value: float) -> float | None:
  return float(value) if np.isfinite(value) else None
