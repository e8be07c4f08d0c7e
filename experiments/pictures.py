"""What do larger pictures cost?

  python -m experiments.pictures --space=micro

Steps of a search and of a final training on pictures of 32, 64 and 224 pixels,
with the stem that suits each: the weights of each network, how many of them are
in the auxiliary head, the operations of a step by its count, and its time. The
networks are small, so that a step takes a second; the sizes of the paper's
final network stand beside them, with the stem and without. All steps take
turns, so that what else the machine does falls on all alike; a time is the
median of the turns, and a ratio the median of the ratios in one turn. The last
line is one JSON object.
"""

import json
import time
from typing import Any, NamedTuple

from absl import flags
import jax
import numpy as np

from enas_jax import build, command, steps
from enas_jax.configs import (
  cifar_macro,
  cifar_macro_final,
  cifar_micro,
  cifar_micro_final,
)
from enas_jax.derive import cost
from experiments.speed import children

_PAGES = {
    "micro": (cifar_micro, cifar_micro_final),
    "macro": (cifar_macro, cifar_macro_final),
}
# The sides of pictures, and the halvings of the stem before the first cell.
_SIDES = {32: 0, 64: 1, 224: 2}
_SMALL = {
    "micro": {"cells": 2, "filters": 16},
    "macro": {"filters": 16},
}
_ARCHS = {"micro": "enas_micro", "macro": "enas_macro_12"}


class Step(NamedTuple):
  """A compiled step and what it is of."""

  run: Any  # () -> None, waits until it is done
  params: int
  aux: int  # how many of them are in the auxiliary head
  flops: float


def configured(page: Any, space: str, side: int, batch: int) -> Any:
  """Returns a config of a page for pictures of one side."""
  config = page.get_config()
  config.data.update(name="synthetic", eval_batch=batch)
  config.data.size = side
  config.augment.update(scale=0.08, pad=0)
  config.network.update(_SMALL[space], stem=_SIDES[side])
  config.child.batch = batch
  if "arch" in config:
    config.arch = _ARCHS[space]
  else:
    config.data.valid = 2 * batch
  with config.unlocked():
    config.data.examples = config.data.test_examples = 4 * batch
  return config


def prepared(space: str, side: int, batch: int) -> dict[str, Step]:
  """Returns the compiled steps of a search and of a final training."""
  search, final = _PAGES[space]
  found = build.plan(configured(search, space, side, batch))
  trained = build.plan(configured(final, space, side, batch)).experiment
  made = found.experiment
  # A searched step's own number of operations depends on its arch.
  arch = found.space.unflatten(
      type(found.space).presets[_ARCHS[space]].encoding
  )
  given = jax.tree.map(jax.numpy.asarray, arch)
  asks = made.strategy._replace(
      init=lambda key: given,
      ask=lambda state, key: state,
      tell=lambda state, archs, rewards: (state, {}),
  )
  return {
      "search": _step(made._replace(strategy=asks), asks, arch),
      "final": _step(trained, trained.strategy, trained.arch),
  }


def _step(experiment: Any, strategy: Any, arch: Any) -> Step:
  """Compiles the child step of an experiment."""
  parts = children.Parts(
      None,
      experiment.task,
      experiment.train,
      experiment.held,
      experiment.tx,
      [arch],
      strategy,
  )
  split = experiment.train
  state = steps.init(
      jax.random.key(0),
      task=parts.task,
      strategy=strategy,
      tx=parts.tx,
      train=split,
      arch=experiment.arch,
  )
  row = jax.tree.map(lambda leaf: leaf[0], split.rows(None))
  arrays = jax.device_put(split.arrays)
  program = jax.jit(children.child_step(parts, strategy), donate_argnums=0)
  program = program.lower(state, arrays, row).compile()

  def run():
    nonlocal state
    state = jax.block_until_ready(program(state, arrays, row))

  params = state.params
  flops = cost.child_step(
      parts.task, arch, *cost.shapes(parts.task, split, arch)
  )
  return Step(run, _count(params), _count(params.get("aux", {})), flops)


def _count(params: Any) -> int:
  return sum(leaf.size for leaf in jax.tree.leaves(params))


def paper(space: str, side: int) -> dict[str, Any]:
  """Returns parameters and FLOPs of a final network, with the stem or none."""
  config = _PAGES[space][1].get_config()
  config.arch = _ARCHS[space]
  config.data.update(name="synthetic", size=side, eval_batch=1)
  found = {}
  for halvings in {0, _SIDES[side]}:
    config.network.stem = halvings
    plan = build.plan(config)
    network = plan.space.network(**{
        key: value
        for key, value in plan.facts.network.items()
        if key not in plan.space.given
    })
    size = plan.space.size(plan.experiment.arch, network, (side, side, 3))
    found[halvings] = {
        "params": int(size.params),
        "gflop": float(size.flops) / 1e9,
    }
  return found


def measured(space: str, batch: int, repeat: int) -> list[dict[str, Any]]:
  """Returns a row for each side and each kind of step."""
  programs = {
      (side, kind): step
      for side in _SIDES
      for kind, step in prepared(space, side, batch).items()
  }
  times = {key: [] for key in programs}
  for turn in range(repeat + 1):  # the first one warms up
    order = [*programs][:: -1 if turn % 2 else 1]
    for key in order:
      begun = time.perf_counter()
      programs[key].run()
      if turn:
        times[key].append(time.perf_counter() - begun)
  return [
      {
          "side": side,
          "stem": _SIDES[side],
          "step": kind,
          "params": step.params,
          "aux": step.aux,
          "gflop": step.flops / 1e9,
          "ms": 1e3 * float(np.median(times[side, kind])),
          "times": float(
              np.median(np.divide(times[side, kind], times[32, kind]))
          ),
      }
      for (side, kind), step in programs.items()
  ]


def main() -> None:
  given = flags.FLAGS
  space = given.space
  rows = measured(space, given.batch, given.repeat)
  for row in rows:
    print("  ".join(f"{k} {_short(v)}" for k, v in row.items()))
  sizes = {side: paper(space, side) for side in _SIDES}
  for side, found in sizes.items():
    for halvings, size in found.items():
      words = "  ".join(f"{k} {_short(v)}" for k, v in size.items())
      print(f"paper's final network  side {side}  stem {halvings}  {words}")
  print(json.dumps({
      "space": space, "batch": given.batch, "rows": rows, "paper": sizes
  }))


def _short(value: Any) -> str:
  return f"{value:,.3f}" if isinstance(value, float) else f"{value}"


if __name__ == "__main__":
  command.cli(
      main,
      flags.DEFINE_enum("space", "micro", list(_PAGES), "Search space."),
      flags.DEFINE_integer("batch", 8, "Pictures a step.", lower_bound=1),
      flags.DEFINE_integer("repeat", 5, "Turns.", lower_bound=1),
  )
