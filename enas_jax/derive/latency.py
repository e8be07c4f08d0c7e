"""Measures how long fixed networks take, and adds it up by their choices.

The time is that of one batch of validation examples through the final network,
forwards, in milliseconds, on the device at hand. Networks are run in turns, so
that what else the machine does falls on all alike, and the shortest time of
each counts.
"""

from collections.abc import Sequence
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import feeds, steps
from enas_jax.derive import cost, objective, places, ranking
from enas_jax.plan import Plan
from enas_jax.types import Arch, Split, Task

TRIED = 30  # random networks on which the sums are held against the clock
_TURNS = 20


def milliseconds(
    task: Task, split: Split, archs: Sequence[Arch]
) -> np.ndarray:
  """Returns the times of the networks of n archs, f64[n].

  Args:
    task: The task of the final network.
    split: The split whose first batch is run.
    archs: The archs, in numpy arrays.
  """
  row = jax.tree.map(lambda rows: rows[0], split.rows(None))
  batch = split.batch(feeds.first(split), row, None)
  batch = jax.tree.map(jnp.asarray, batch)
  key, runs = jax.random.key(0), []
  for arch in archs:
    shapes = cost.shapes(task, split, arch)[:2]
    given = jax.tree.map(
        lambda leaf: jnp.full(leaf.shape, 0.01, leaf.dtype), shapes
    )
    run = jax.jit(
        lambda params, state, batch, key, arch=arch: task.reward(
            params, state, arch, batch, key
        )
    )
    runs.append((run, given))
    jax.block_until_ready(run(*given, batch, key))  # compiles
  best = np.full(len(runs), np.inf)
  for _ in range(_TURNS):
    for n, (run, given) in enumerate(runs):
      begun = time.perf_counter()
      jax.block_until_ready(run(*given, batch, key))
      best[n] = min(best[n], 1e3 * (time.perf_counter() - begun))
  return best


def table(plan: Plan) -> dict[str, Any]:
  """Returns what each choice adds to the time at its place, as plain data."""

  def measure(archs):
    times = milliseconds(plan.timed.task, plan.experiment.held, archs)
    return times[:, None]

  return {
      "device": jax.devices()[0].device_kind,
      **places.as_json(places.table(plan.space, measure)),
  }


def bound(plan: Plan, saved: dict[str, Any]) -> Plan:
  """Returns the plan whose reward is less what its time costs an arch.

  Args:
    plan: The plan of a search with the objective of latency.
    saved: The result of `table`.
  """
  found, timed = places.of_json(saved), plan.timed

  def predicted(arch):
    return places.total(found, plan.space, arch)[0]

  penalty = objective.penalty(predicted, timed.target, timed.weight)
  experiment = plan.experiment
  task = objective.penalised(experiment.task, penalty)
  return plan._replace(
      experiment=experiment._replace(task=task),
      penalty=penalty,
      milliseconds=predicted,
  )


def report(plan: Plan, device: str) -> dict[str, Any]:
  """Compares predicted with measured times of random networks.

  Args:
    plan: The result of `bound`.
    device: The device on which the table was measured.
  """
  key = jax.random.key(plan.experiment.seed)
  archs = steps.listed(
      steps.propose(plan.uniform, (), key, TRIED), TRIED
  )
  said = np.array([float(plan.milliseconds(arch)) for arch in archs])
  true = milliseconds(plan.timed.task, plan.experiment.held, archs)
  tau = ranking.kendall(said, true)
  return {
      "device": device,
      "measured_on": jax.devices()[0].device_kind,
      "networks": TRIED,
      "kendall": tau if np.isfinite(tau) else None,
      "mean_error": float(np.mean(np.abs(said - true) / true)),
      "predicted": said.tolist(),
      "measured": true.tolist(),
  }
