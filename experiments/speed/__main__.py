"""What does one compiled program for every architecture cost?

  python -m experiments.speed --space=micro --size=small

Times a whole child step (augmentation, forward, backward, Nesterov) of a space
on CIFAR-sized noise: the architecture as a traced array, against the same
architecture compiled statically, interleaved; and the reward of a batch.
Prints one JSON object on the last line.
"""

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

# (batch, arguments of the space, of its network)
_SIZES = {
    "micro": {
        "small": (64, {}, {"cells": 2, "filters": 16}),
        "paper": (160, {}, {"cells": 6, "filters": 20}),
    },
    "macro": {
        "small": (64, {"layers": 6}, {"filters": 16}),
        "paper": (128, {"layers": 12}, {"filters": 36}),
    },
}

_SPACE = flags.DEFINE_enum("space", "micro", list(_SIZES), "Search space.")
_SIZE = flags.DEFINE_enum(
    "size", "small", ["small", "paper"], "The paper's size, or one of seconds."
)
_ARCHS = flags.DEFINE_integer("archs", 20, "Random architectures.")
_STATIC = flags.DEFINE_integer("static", 20, "How many of them compiled alone.")
_REPEAT = flags.DEFINE_integer("repeat", 5, "Timed steps of each, the median.")


def _source(examples: int) -> data.Source:
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (examples, 32, 32, 3), np.uint8)
  labels = (np.arange(examples) % 10).astype(np.int32)
  images = data.Images(pixels, labels)
  read = lambda: images  # noqa: E731
  return data.Source((32, 32, 3), 10, read, read)


def _compile(step, *args):
  start = time.perf_counter()
  compiled = jax.jit(step).lower(*args).compile()
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
  batch, arguments, sizes = _SIZES[_SPACE.value][_SIZE.value]
  train, held = _source(4 * batch).search(
      batch=batch, valid=batch, pad=4, flip=True, cutout=0, cutout_corner=False
  )
  space = SPACES[_SPACE.value](**arguments)
  task = TASKS["classification"](space.network(classes=10, **sizes))
  tx = optim.child(lambda count: 0.05, momentum=0.9, l2=1e-4)
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
  traced, compile_seconds = _compile(step(given), *args)
  memory = traced.memory_analysis().temp_size_in_bytes

  def score(state, arrays, row):
    images = held.batch(arrays, row, None)
    return task.reward(
        state.params, state.model_state, state.strategy, images, state.key
    )

  rewarded, _ = _compile(score, state, held.arrays, row)
  medians = {"traced": [], "static": [], "reward": []}
  static_compile, static_memory = [], []
  for index, arch in enumerate(archs):
    asked = state._replace(strategy=jax.tree.map(jnp.asarray, arch))
    programs = {"traced": lambda: traced(asked, *args[1:])}  # noqa: B023
    if index < _STATIC.value:
      fixed = STRATEGIES["fixed"](space, arch=arch)
      alone, seconds = _compile(step(fixed), asked, *args[1:])
      static_compile.append(seconds)
      static_memory.append(alone.memory_analysis().temp_size_in_bytes)
      programs["static"] = lambda: alone(asked, *args[1:])  # noqa: B023
    _time(programs, medians)
    score_one = {"reward": lambda: rewarded(asked, held.arrays, row)}  # noqa: B023
    _time(score_one, medians)
  traced_all = np.asarray(medians["traced"])
  result = {
      "space": _SPACE.value,
      "size": _SIZE.value,
      "archs": _ARCHS.value,
      "step_ms": 1e3 * float(np.median(traced_all)),
      "reward_ms": 1e3 * float(np.median(medians["reward"])),
      "items_per_second": batch / float(np.median(traced_all)),
      "compile_s": compile_seconds,
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
