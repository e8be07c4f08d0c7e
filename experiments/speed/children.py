"""The steps of a search on noise, of any space and of two sizes."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import data, optim, rows, steps
from enas_jax.build import plan as build_plan
from enas_jax.derive import cost
from enas_jax.spaces import SPACES
from enas_jax.strategies import STRATEGIES
from enas_jax.tasks import TASKS
from enas_jax.types import SearchState, Split, Strategy, Task

# (rows of a batch, arguments of the space, of its network). "paper" of
# recurrent is wider than any of the paper's, 1,000 units in place of 720.
SIZES = {
    "micro": {
        "small": (64, {"nodes": 5}, {"cells": 2, "filters": 16}),
        "paper": (160, {"nodes": 5}, {"cells": 6, "filters": 20}),
    },
    "macro": {
        "small": (64, {"layers": 6}, {"filters": 16}),
        "paper": (128, {"layers": 12}, {"filters": 36}),
    },
    "nasbench201": {
        "small": (64, {}, {"cells": 1, "filters": 8}),
        "paper": (64, {}, {"cells": 5, "filters": 16}),
    },
    "recurrent": {
        "small": (64, {"nodes": 12}, {"hidden": 256}),
        "paper": (64, {"nodes": 12}, {"hidden": 1000}),
    },
}
VOCABULARY, LENGTH = 10_000, 35
# Options of XLA, by which it captures branches in a CUDA graph. It captures an
# N-way conditional only if it can capture each branch, and convolutions have a
# switch of their own. As a compiler option the list takes the place of XLA's
# default, which are the first six; only in the environment can a + add to it.
GRAPH = {
    "xla_gpu_enable_command_buffer": "FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,"
    "DYNAMIC_SLICE_FUSION,CONDITIONAL,CONVOLUTION",
    "xla_gpu_graph_min_graph_size": 1,
}


class Parts(NamedTuple):
  """The parts of the steps of one space and size."""

  space: Any
  task: Task
  train: Split
  held: Split
  tx: Any
  archs: list  # numpy
  given: Strategy  # its state is the architecture that it asks for


def build(
    name: str, size: str, dtype: str, count: int, *, arithmetic: bool = False
) -> Parts:
  """The parts, and `count` random architectures."""
  count_rows, arguments, sizes = SIZES[name][size]
  space = SPACES[name](**arguments)
  make = _text if name == "recurrent" else _images
  task, (train, held), facts, chain = make(count_rows)
  how = {"arithmetic": True} if arithmetic else {}
  network = space.network(**facts, **sizes, **how, dtype=dtype)
  archs, given = _given(space, count)
  task = rows.wrapped(TASKS[task](network), network, archs[0], chain)
  return Parts(space, task, train, held, chain.tx, archs, given)


def of_config(config: Any, count: int) -> Parts:
  """The parts of a config that searches, and `count` architectures."""
  plan = build_plan(config)
  found = plan.experiment
  return Parts(
      plan.space,
      found.task,
      found.train,
      found.held,
      found.tx,
      *_given(plan.space, count),
  )


def _given(space: Any, count: int) -> tuple[list, Strategy]:
  """Random architectures, and a strategy that asks for its state."""
  uniform = STRATEGIES["random"](space)
  archs = steps.listed(
      steps.propose(uniform, (), jax.random.key(0), count), count
  )
  given = Strategy(
      init=lambda key: jax.tree.map(jnp.asarray, archs[0]),
      ask=lambda state, key: state,
      tell=lambda state, archs, rewards: (state, {}),
  )
  return archs, given


def start(parts: Parts) -> SearchState:
  return steps.init(
      jax.random.key(0),
      task=parts.task,
      strategy=parts.given,
      tx=parts.tx,
      train=parts.train,
  )


def child_step(parts: Parts, strategy: Strategy):
  """Returns the step, (state, arrays, row) -> state."""
  return functools.partial(
      steps.child_step,
      task=parts.task,
      strategy=strategy,
      tx=parts.tx,
      train=parts.train,
      progress=lambda step: 0.0,
  )


def reward(parts: Parts):
  """Returns the reward of the state's arch, (state, arrays, row) -> f32[]."""

  def run(state, arrays, row):
    batch = parts.held.batch(arrays, row, None)
    arch = state.strategy
    return parts.task.reward(
        state.params, state.model_state, arch, batch, state.key
    )

  return run


def rewards(parts: Parts, at_once: int | None):
  """Returns the rewards of M archs, (state, arrays, rows, archs) -> f32[M].

  Args:
    parts: The parts.
    at_once: How many are rewarded at a time; None: one after the other.
  """
  one = reward(parts)

  def run(state, arrays, rows, archs):
    def of(inputs):
      row, arch = inputs
      return one(state._replace(strategy=arch), arrays, row)

    return jax.lax.map(of, (rows, archs), batch_size=at_once)

  return run


def operations(parts: Parts) -> list[float]:
  """FLOPs of a child step of each architecture."""
  given = cost.shapes(parts.task, parts.train, parts.given.init(None))
  return [cost.child_step(parts.task, arch, *given) for arch in parts.archs]


def _images(count: int):
  """Returns (task, splits, facts, optimiser) of noise for images."""
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (4 * count, 32, 32, 3), np.uint8)
  labels = (np.arange(4 * count) % 10).astype(np.int32)
  images = data.Images(pixels, labels)
  read = lambda: images
  splits = data.Source((32, 32, 3), 10, read, read).search(
      batch=count, valid=count, pad=4, flip=True, cutout=0, cutout_corner=False
  )
  tx = optim.child(lambda count: 0.05, momentum=0.9, l2=1e-4)
  chain = optim.Optimiser(tx, np.full(1, 0.05), whole=True)
  return "classification", splits, {"classes": 10}, chain


def _text(count: int):
  """The same of words."""
  rng = np.random.default_rng(0)
  words = rng.integers(0, VOCABULARY, 4 * count * LENGTH).astype(np.int32)
  read = lambda: words
  splits = data.TextSource(VOCABULARY, read, read, read).search(
      batch=count, length=LENGTH, vary=False
  )
  chain = optim.sgd(epochs=1, steps=1, lr=20.0, clip=0.1)
  return "language_model", splits, {"vocabulary": VOCABULARY}, chain
