"""What does one compiled program for every architecture cost?

  python -m experiments.speed --space=micro --size=small

Times a whole child step (forward, backward, optimiser; of images with
augmentation) of a space on noise of the size of CIFAR-10 or Penn Treebank: the
architecture as a traced array, against the same architecture compiled
statically, interleaved; and the reward of a batch. The steps go on from each
other's weights, in place. Prints one JSON object on the last line.
"""

import functools
import json
import platform
import resource
import time

from absl import app, flags
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import data, optim, search
from enas_jax.spaces import SPACES
from enas_jax.strategies import STRATEGIES
from enas_jax.tasks import TASKS
from enas_jax.types import Strategy

# (rows of a batch, arguments of the space, of its network). "paper" of
# recurrent is wider than any of the paper's, 1,000 units in place of 720.
_SIZES = {
    "micro": {
        "small": (64, {}, {"cells": 2, "filters": 16}),
        "paper": (160, {}, {"cells": 6, "filters": 20}),
    },
    "macro": {
        "small": (64, {"layers": 6}, {"filters": 16}),
        "paper": (128, {"layers": 12}, {"filters": 36}),
    },
    "recurrent": {
        "small": (64, {"nodes": 12}, {"hidden": 256}),
        "paper": (64, {"nodes": 12}, {"hidden": 1000}),
    },
}
_VOCABULARY, _LENGTH = 10_000, 35

_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16"], "Of the computation."
)
_SPACE = flags.DEFINE_enum("space", "micro", list(_SIZES), "Search space.")
_SIZE = flags.DEFINE_enum(
    "size", "small", ["small", "paper"], "The paper's size, or one of seconds."
)
_ARCHS = flags.DEFINE_integer("archs", 20, "Random architectures.")
_STATIC = flags.DEFINE_integer("static", 20, "How many of them compiled alone.")
_REPEAT = flags.DEFINE_integer("repeat", 5, "Timed steps of each, the median.")


def _images(rows: int):
  """(task, splits to train and reward on, facts, optimiser) of noise."""
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (4 * rows, 32, 32, 3), np.uint8)
  labels = (np.arange(4 * rows) % 10).astype(np.int32)
  images = data.Images(pixels, labels)
  read = lambda: images  # noqa: E731
  splits = data.Source((32, 32, 3), 10, read, read).search(
      batch=rows, valid=rows, pad=4, flip=True, cutout=0, cutout_corner=False
  )
  tx = optim.child(lambda count: 0.05, momentum=0.9, l2=1e-4)
  return "classification", splits, {"classes": 10}, tx


def _text(rows: int):
  """The same of words."""
  rng = np.random.default_rng(0)
  words = rng.integers(0, _VOCABULARY, 4 * rows * _LENGTH).astype(np.int32)
  read = lambda: words  # noqa: E731
  splits = data.TextSource(_VOCABULARY, read, read, read).search(
      batch=rows, length=_LENGTH, vary=False
  )
  tx = optim.sgd(epochs=1, steps=1, lr=20.0, clip=0.1).tx
  return "language_model", splits, {"vocabulary": _VOCABULARY}, tx


def _compile(step, *args, **options):
  start = time.perf_counter()
  compiled = jax.jit(step, **options).lower(*args).compile()
  return compiled, time.perf_counter() - start


def _seconds(run) -> float:
  start = time.perf_counter()
  jax.block_until_ready(run())
  return time.perf_counter() - start


def _time(programs, medians) -> None:
  """Adds each program's median; they take turns, and turns at being first."""
  for run in programs.values():
    _seconds(run)
  times = {name: [] for name in programs}
  for n in range(_REPEAT.value):
    order = list(programs) if n % 2 else list(programs)[::-1]
    for name in order:
      times[name].append(_seconds(programs[name]))
  for name, found in times.items():
    medians[name].append(float(np.median(found)))


def main(_) -> None:
  rows, arguments, sizes = _SIZES[_SPACE.value][_SIZE.value]
  space = SPACES[_SPACE.value](**arguments)
  make = _text if _SPACE.value == "recurrent" else _images
  name, (train, held), facts, tx = make(rows)
  task = TASKS[name](
      space.network(**facts, **sizes, dtype=_DTYPE.value)
  )
  row = jax.tree.map(lambda leaf: leaf[0], train.rows(None))
  uniform = STRATEGIES["random"](space)
  archs = search.propose(uniform, (), jax.random.key(0), _ARCHS.value)
  archs = [
      jax.tree.map(lambda leaf: np.asarray(leaf)[i], archs)  # noqa: B023
      for i in range(_ARCHS.value)
  ]

  def step(strategy):
    def run(state, arrays, row):
      return search.child_step(
          state,
          arrays,
          row,
          task=task,
          strategy=strategy,
          tx=tx,
          train=train,
          progress=lambda step: 0.0,
      )

    return run

  # The architecture is the strategy's state: an argument of the program.
  given = Strategy(
      init=lambda key: jax.tree.map(jnp.asarray, archs[0]),
      ask=lambda state, key: state,
      tell=lambda state, archs, rewards: (state, {}),
  )
  state = search.init(
      jax.random.key(0), task=task, strategy=given, tx=tx, train=train
  )
  args = (state, train.arrays, row)
  traced, compile_seconds = _compile(step(given), *args, donate_argnums=0)
  memory = traced.memory_analysis().temp_size_in_bytes

  def score(state, arrays, row):
    batch = held.batch(arrays, row, None)
    used = task.pick(state.params, state.strategy)
    return task.reward(
        used, state.model_state, state.strategy, batch, state.key
    )

  rewarded, _ = _compile(score, state, held.arrays, row)
  medians = {"traced": [], "static": [], "reward": []}
  static_compile, static_memory = [], []

  def stepping(program):
    def run():
      nonlocal state
      state = program(state, *args[1:])
      return state

    return run

  for index, arch in enumerate(archs):
    state = state._replace(strategy=jax.tree.map(jnp.asarray, arch))
    programs = {"traced": stepping(traced)}
    if index < _STATIC.value:
      fixed = STRATEGIES["fixed"](space, arch=arch)
      alone, seconds = _compile(step(fixed), *args, donate_argnums=0)
      static_compile.append(seconds)
      static_memory.append(alone.memory_analysis().temp_size_in_bytes)
      programs["static"] = stepping(alone)
    _time(programs, medians)
    scoring = functools.partial(rewarded, state, held.arrays, row)
    _time({"reward": scoring}, medians)
  traced_all = np.asarray(medians["traced"])
  result = {
      "space": _SPACE.value,
      "size": _SIZE.value,
      "dtype": _DTYPE.value,
      "archs": _ARCHS.value,
      "step_ms": 1e3 * float(np.median(traced_all)),
      "reward_ms": 1e3 * float(np.median(medians["reward"])),
      "items_per_second": train.items / float(np.median(traced_all)),
      "compile_s": compile_seconds,
      "weights_mb": sum(
          leaf.nbytes for leaf in jax.tree.leaves(state.params)
      ) / 1e6,
      "temporary_mb": memory / 1e6,
      "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
      "jax": jax.__version__,
      "machine": f"{jax.device_count()} {jax.devices()[0].device_kind}"
      f" {platform.machine()}",
  }
  if medians["static"]:
    static = np.asarray(medians["static"])
    pairs = traced_all[: len(static)] / static
    result["static_step_ms"] = 1e3 * float(np.median(static))
    result["traced_over_static"] = float(pairs.mean())
    result["pairs"] = np.round(pairs, 3).tolist()
    result["static_compile_s"] = float(np.median(static_compile))
    result["static_temporary_mb"] = max(static_memory) / 1e6
  print(json.dumps(result))


if __name__ == "__main__":
  app.run(main)
