"""What ranks and what searches well, once the shared weights are trained?

  python -m experiments.trained_weights --workdirs=W/random_0,W/random_1 --json

W/random_N are finished searches on NAS-Bench-201 that knew the benchmark's
table (`python -m experiments.search_vs_random --config=... --workdir=W`). Their
shared weights are taken as they were at the end, and moved no more. Asked is,
as means over the folders:

1. how near to the truth random architectures are ranked, by accuracy or by
   likelihood, of so many validation images, normalised in batches of so many;
2. what a search finds on these weights, by 200 controller steps of 5
   architectures: the mean true test accuracy of 100 candidates of its policy,
   and that of the one of them which scores best on all validation images, or
   that the strategy holds for the best; no finalist is trained. The first row
   is REINFORCE as configured, each other changes what its name says.

With --json the last line is one object.
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

from enas_jax import build, checkpoint, command, evaluate, loop, steps
from enas_jax.derive import benchmark, ranking
from enas_jax.errors import ConfigError
from enas_jax.spaces import SPACES
from enas_jax.strategies import STRATEGIES

_IMAGES = (500, 1000, 2000, 5000)  # to rank by
_SMALL = 64  # images, a reward or a batch
_SEED = 0  # of the architectures and of the searches
# What a row changes: of the strategy, of its arguments (a pair: from the first
# value to the second, step by step), of the reward.
_VARIANTS = {
    "as configured": {},
    "random": {"strategy": "random"},
    "evolution": {"strategy": "evolution"},
    "reward: accuracy": {"score": "accuracy"},
    f"reward: {_SMALL} images": {"images": _SMALL},
    "no tanh constant": {"space": {"scale": 0.0}},
    "entropy weight 1e-2": {"reinforce": {"entropy_weight": 1e-2}},
    "learning rate 3.5e-3": {"reinforce": {"lr": 3.5e-3}},
    "baseline's decay 0.99": {"reinforce": {"baseline_decay": 0.99}},
    "temperature 2": {"reinforce": {"temperature": 2.0}},
    "temperature 4 to 1": {"reinforce": {"temperature": (4.0, 1.0)}},
    "temperature 1 to 0.5": {"reinforce": {"temperature": (1.0, 0.5)}},
    "entropy weight 1e-2 to 0": {"reinforce": {"entropy_weight": (1e-2, 0.0)}},
    "one batch a step": {"same": True},
    "one batch a step, less its mean reward": {
        "same": True,
        "reinforce": {"step_baseline": True},
    },
}


class Weights:
  """A finished search: its plan, and the state it ended in."""

  def __init__(self, path: pathlib.Path):
    if not (path / "result.json").exists():
      raise ConfigError("--workdirs", f"{path} is no finished search.")
    values = json.loads((path / "config.json").read_text())
    values.pop("run_on", None)  # a note of the run, no value of its config
    self.config = ConfigDict(values)
    self.plan = build.plan(self.config)
    self.experiment = self.plan.experiment
    if self.plan.benchmark is None:
      raise ConfigError("--workdirs", f"{path} knew no benchmark.")
    like = checkpoint.shapes(loop.start(self.experiment))
    checkpoints = checkpoint.Checkpoints(path / "checkpoints")
    self.state = checkpoints.restore(like, print)[0]
    checkpoints.close()
    self.scores = {}  # by encoding
    self.measures = {}  # by the size of a batch
    self.evaluate = evaluate.evaluator(
        self.experiment.task, self.experiment.held
    )

  def score(self, arch) -> float:
    """Returns its score on the whole validation split; measures it once."""
    key = tuple(self.plan.space.flatten(arch))
    if key not in self.scores:
      record = self.evaluate(self.state, arch)
      self.scores[key] = float(record[self.experiment.task.score].value())
    return self.scores[key]

  def truth(self, archs) -> np.ndarray:
    """f64[n], true test accuracies in percent."""
    encodings = [self.plan.space.flatten(arch) for arch in archs]
    return benchmark.accuracies(self.plan.benchmark, encodings)

  def drawn(self, strategy, asked, count: int):
    """Returns what a search would derive from: a list of numpy archs."""
    key = jax.random.key(_SEED + 1)
    archs = strategy.candidates(asked, key, count)
    return steps.listed(archs, count)


def rankings(weights: Weights, count: int) -> dict[str, float]:
  """Kendall's tau by each way to score."""
  archs = weights.drawn(weights.plan.uniform, (), count)
  true = weights.truth(archs)
  found = {}
  held = weights.experiment.held
  whole = held.items
  for size in (_SMALL, whole):
    scores = np.array([_by_batch(weights, arch, size) for arch in archs])
    for images in _IMAGES:
      if not whole <= images <= whole * held.steps:
        continue
      # The first batches hold that many images, or what small ones fill.
      part = scores[:, : images // whole].mean(1)
      for n, name in enumerate(("accuracy", "likelihood")):
        tau = ranking.kendall(part[:, n], true)
        used = images // whole * (whole // size) * size
        found[f"{name}, {used} images, batches of {size}"] = tau
  return found


def _by_batch(weights: Weights, arch, size: int) -> np.ndarray:
  """f64[batches, 2]: accuracy and log-likelihood, in parts of `size` images."""
  if size not in weights.measures:
    weights.measures[size] = _measure(weights.experiment, size)
  return np.asarray(weights.measures[size](weights.state, arch))


def _measure(experiment, size: int):
  task, held = experiment.task, experiment.held
  arrays = jax.device_put(held.arrays)
  count = held.items // size  # parts of a batch

  def split(leaf):
    if not leaf.ndim:  # of the whole batch
      return jax.numpy.full(count, leaf)
    return leaf[: count * size].reshape(count, size, *leaf.shape[1:])

  @jax.jit
  def measure(state, arch, arrays):
    def record(part):
      return task.measure(state.params, state.model_state, arch, part)[1]

    def one(row):
      batch = jax.tree.map(split, held.batch(arrays, row, None))
      seen = jax.tree.map(lambda leaf: leaf.sum(0), jax.lax.map(record, batch))
      return jax.numpy.stack([seen["accuracy"].value(), -seen["loss"].value()])

    return jax.lax.map(one, held.rows(None))

  return lambda state, arch: measure(state, arch, arrays)


def searched(weights: Weights, change: dict, length: int) -> dict[str, float]:
  """Returns what a search finds on these weights."""
  config, state = weights.config, weights.state
  experiment, task = weights.experiment, weights.experiment.task
  name = change.get("strategy", "reinforce")
  space_values = {**config.space.to_dict(), **change.get("space", {})}
  space = SPACES[space_values.pop("name")](**space_values)
  arguments = config.get(name, ConfigDict()).to_dict() | change.get(name, {})

  def strategy(share):
    """Returns the strategy as it is after that share of the steps."""
    return STRATEGIES[name](space, **{
        key: value[0] + share * (value[1] - value[0])
        if isinstance(value, tuple)
        else value
        for key, value in arguments.items()
    })

  held = experiment.held
  if "images" in change:
    held = held._replace(
        batch=lambda *args: jax.tree.map(
            lambda leaf: leaf[: change["images"]] if leaf.ndim else leaf,
            experiment.held.batch(*args)
        )
    )
  score = change.get("score", task.score)

  def reward(params, model_state, arch, batch, key):
    del key
    record = task.measure(params, model_state, arch, batch)[1]
    return task.worth(record[score].value())

  @jax.jit
  def run(start, arrays):
    def step(state, share):
      state = steps.strategy_step(
          state,
          arrays,
          task=task._replace(reward=reward),
          strategy=strategy(share),
          valid=held,
          archs=config.strategy.archs,
          same_batch=change.get("same", experiment.same_batch),
      )
      return state, None

    shares = jax.numpy.linspace(0.0, 1.0, length)
    return jax.lax.scan(step, start, shares)[0].strategy

  start = steps.init(
      jax.random.key(_SEED),
      task=task,
      strategy=strategy(0.0),
      tx=experiment.tx,
      train=experiment.train,
  )._replace(params=state.params, model_state=state.model_state)
  asked = run(start, jax.device_put(held.arrays))
  archs = weights.drawn(strategy(1.0), asked, 100)
  true = weights.truth(archs)
  # Whatever was rewarded, candidates are scored as configured.
  scores = [weights.score(arch) for arch in archs]
  return {
      "candidates": float(true.mean()),
      "derived by score": float(true[np.argmax(scores)]),
      "derived by policy": float(true[0]),
  }


def main() -> None:
  """Prints a line for each measure."""
  values = flags.FLAGS
  if not values.workdirs:
    raise ConfigError("--workdirs", "give the folders of finished searches.")
  rows = []
  for path in values.workdirs:
    weights = Weights(pathlib.Path(path))
    row = {
        f"tau: {name}": tau
        for name, tau in rankings(weights, values.archs).items()
    }
    for name, change in _VARIANTS.items():
      for what, value in searched(weights, change, values.steps).items():
        row[f"{what}: {name}"] = value
    print(f"{path} is done", flush=True)
    rows.append(row)
  table = np.array([list(row.values()) for row in rows])
  for name, column in zip(rows[0], table.T, strict=True):
    print(f"{name:55} {column.mean():8.3f} ± {column.std():.3f}")
  if values.json:
    print(json.dumps(dict(zip(values.workdirs, rows, strict=True))))


def cli() -> None:
  """Defines the flags, which other programs have too, and runs `main`."""
  defined = (
      flags.DEFINE_list("workdirs", [], "Folders of finished searches."),
      flags.DEFINE_integer("steps", 200, "Of the controller.", lower_bound=1),
      flags.DEFINE_integer(
          "archs", 100, "Architectures to rank.", lower_bound=ranking.LEAST
      ),
      flags.DEFINE_bool("json", False, "Print one JSON object at the end."),
  )
  command.cli(main, *defined)


if __name__ == "__main__":
  cli()
