"""Does a search on the benchmark's truth find more than random search?

  python -m experiments.search_vs_random --table=T --strategy=reinforce \
      --samples=500 --seeds=0,1,2 --json

No network is trained: a reward is the validation accuracy of the benchmark's
table T (enas_jax/benchmark.py), in [0, 1], so this measures a strategy alone.
The strategy gets the values that configs/nasbench201.py has for it. Reported,
as means over the seeds and in percent: the test accuracy of the best sample by
validation accuracy, and the mean test accuracy of the last 100 samples, which
says what the strategy has learnt. With --json the last line is one object.
"""

import json

from absl import app, flags
import jax
import numpy as np

from configs import nasbench201
from enas_jax import benchmark, search
from enas_jax.spaces import SPACES
from enas_jax.strategies import STRATEGIES
from enas_jax.types import ConfigError, SearchSpace, Strategy

_LAST = 100  # samples by which a policy is judged

_TABLE = flags.DEFINE_string("table", None, "The .npz file.", required=True)
_STRATEGY = flags.DEFINE_enum(
    "strategy",
    "reinforce",
    [name for name in STRATEGIES if name != "fixed"],
    "What searches.",
)
_SAMPLES = flags.DEFINE_integer(
    "samples", 500, "Architectures a search.", lower_bound=1
)
_ARCHS = flags.DEFINE_integer(
    "archs", None, "M, architectures a tell; as the config.", lower_bound=1
)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "One search each.")
_JSON = flags.DEFINE_bool("json", False, "Print one JSON object at the end.")


def sampled(
    table: benchmark.Benchmark,
    space: SearchSpace,
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
    asked = search.propose(strategy, state, key, archs)
    rows = row_of[asked.ops @ weights]
    return strategy.tell(state, asked, valid[rows] / 100)[0], rows

  def run(key):
    init_key, key = jax.random.split(key)
    steps = -(-samples // archs)
    return jax.lax.scan(
        step, strategy.init(init_key), jax.random.split(key, steps)
    )[1]

  keys = jax.numpy.stack([jax.random.key(seed) for seed in seeds])
  rows = jax.jit(jax.vmap(run))(keys)
  return np.asarray(rows).reshape(len(seeds), -1)[:, :samples]


def outcome(
    table: benchmark.Benchmark, rows: np.ndarray, seeds: list[int]
) -> dict[str, object]:
  """What was found, by seed and on average; accuracies in percent."""
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


def main(_) -> None:
  config = nasbench201.get_config()
  space = SPACES["nasbench201"](scale=config.space.scale)
  name = _STRATEGY.value
  arguments = config.get(name, {})
  strategy = STRATEGIES[name](space, **arguments)
  try:
    seeds = [int(seed) for seed in _SEEDS.value]
    table = benchmark.read("--table", _TABLE.value, space)
  except (ConfigError, ValueError) as error:
    raise SystemExit(f"error: {error}") from None
  archs = _ARCHS.value or config.strategy.archs
  rows = sampled(
      table,
      space,
      strategy,
      samples=_SAMPLES.value,
      archs=archs,
      seeds=seeds,
  )
  found = outcome(table, rows, seeds)
  for one in found["per_seed"]:
    print(
        f"{name}, seed {one['seed']}: best of {_SAMPLES.value} by validation"
        f" {one['best_test_accuracy']:.2f}% on the test images, last {_LAST}"
        f" {one['policy_test_accuracy']:.2f}%"
    )
  settings = {"strategy": name, "samples": _SAMPLES.value, "archs": archs}
  if _JSON.value:
    print(json.dumps({**found, **settings}))


if __name__ == "__main__":
  app.run(main)
