"""Counts the cost of a search, and estimates the cost without shared weights.

The cost is the number of operations of products and convolutions (`flops.py`).
A child step counts three passes, a reward one, and each validation batch one
when a candidate is scored or a finalist is measured. Finalists are counted one
by one. All else is counted on a few archs, and their mean is brought to the
mean size of all candidates. The children that a policy proposed are taken to be
a mixture of its last candidates and random ones, in the proportion in which the
two are scored. The controller's own operations are left out, and so is what
`network.arithmetic` computes beside the chosen operations.

ENAS (§1) says that it costs about 1000 times less than standard NAS, which
trains every candidate from scratch. Here the cost of standard NAS is an
estimate: its operations are counted but not run, and its seconds are taken in
proportion to them.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
import numpy as np

from enas_jax.derive import flops
from enas_jax.plan import Experiment, Plan
from enas_jax.types import Arch, Batch, ModelState, Params, Split, Task

SAMPLES = 4  # archs of each source on which operations are counted


def report(
    plan: Plan,
    policy: Sequence[Arch],
    random: Sequence[Arch],
    finalists: Sequence[Arch],
    seconds: float,
) -> dict[str, Any]:
  """Returns the cost of a search beside that of training all candidates alone.

  Args:
    plan: The plan of the search.
    policy: The strategy's candidates that were scored, in numpy arrays.
    random: The random candidates that were scored, likewise.
    finalists: The archs that were trained alone, likewise.
    seconds: The wall time of all this over all processes; work that was lost
      and done again counts once.
  """
  experiment = plan.experiment
  task, train, held = experiment.task, experiment.train, experiment.held
  archs = [*policy, *random]
  sample = [*policy[:SAMPLES], *random[:SAMPLES]]
  mean = functools.partial(_mean, plan, sample)
  # A jax arch gives the shapes of all shared weights.
  first = jax.tree.map(jax.numpy.asarray, sample[0])
  params, model_state, batch = shapes(task, train, first)

  def step(arch):
    return child_step(task, arch, params, model_state, batch)

  def rewarded(arch):
    return one_reward(task, arch, params, model_state, held.shapes())

  uniform = experiment.children is plan.uniform
  child = mean(step, random if uniform else archs)
  reward = mean(rewarded, archs)
  scoring = reward * held.steps
  children = experiment.epochs * experiment.child_steps
  rewards = (experiment.steps - children) * experiment.count
  total = children * child + rewards * reward + len(archs) * scoring
  each = {"child_step": child, "reward": reward, "scoring": scoring}
  if finalists:
    trained = [_training(plan.finalist.experiment, arch) for arch in finalists]
    total += sum(trained)
    each["finalist"] = np.mean(trained)
  alone = _alone(plan, mean(step, archs), functools.partial(mean, archs=archs))
  count = rewards + len(archs)
  times = count * alone["flops"] / total
  return {
      "child_steps": children,
      "rewards": rewards,
      "scored": len(archs),
      "finalists": len(finalists),
      "seconds": seconds,
      "flops": float(total),
      "flops_each": {name: float(value) for name, value in each.items()},
      "counted": len(sample),
      "alone": {
          **alone,
          "candidates": count,
          "times": float(times),
          "seconds_estimated": float(times * seconds),
      },
  }


def _mean(
    plan: Plan, sample: Sequence[Arch], count: Callable, archs: Sequence[Arch]
) -> float:
  """Estimates the mean of `count` over `archs` from its mean over a sample.

  Where a space says the sizes of its archs, the mean of the sample is brought
  to the mean size of `archs`.
  """
  counts = np.array([count(arch) for arch in sample])
  if plan.size_here is None:
    return counts.mean()
  own, all_ = (
      np.mean([plan.size_here(arch).flops for arch in some])
      for some in (sample, archs)
  )
  return counts.mean() / own * all_


def _alone(plan: Plan, child: float, mean: Callable) -> dict[str, Any]:
  """Returns the cost of training the mean candidate alone.

  Args:
    plan: The plan of the search.
    child: The FLOPs of the mean candidate's step in the search.
    mean: Count of an arch -> its mean over all candidates.
  """
  experiment, recipe = plan.experiment, "the search's own"
  if plan.retrain:
    experiment, recipe = plan.retrain.experiment, "config.retrain.config"
    task, train = experiment.task, experiment.train
    child = mean(
        lambda arch: child_step(task, arch, *shapes(task, train, arch))
    )
  steps = experiment.epochs * experiment.child_steps
  return {"recipe": recipe, "steps": steps, "flops": float(steps * child)}


def _training(final: Experiment, arch: Arch) -> float:
  """Returns the FLOPs of a training, including its measurements."""
  task = final.task
  params, model_state, batch = shapes(task, final.train, arch)
  step = child_step(task, arch, params, model_state, batch)

  def whole(split):
    batch = split.shapes()
    return split.steps * one_reward(task, arch, params, model_state, batch)

  looks = -(-final.epochs // final.eval_every)
  measured = looks * whole(final.watched or final.held) + whole(final.held)
  return final.epochs * final.child_steps * step + measured


def shapes(
    task: Task, split: Split, arch: Arch
) -> tuple[Params, ModelState, Batch]:
  """Returns the shapes of a child's parameters, its model state and its batch.

  Args:
    task: The task.
    split: The split that the batch is of.
    arch: The arch of the child.
  """
  batch = split.shapes()
  init = lambda key: task.init(key, batch, arch)
  return *jax.eval_shape(init, jax.random.key(0)), batch


def child_step(
    task: Task,
    arch: Arch,
    params: Params,
    model_state: ModelState,
    batch: Batch,
) -> float:
  """Returns the FLOPs of a child step on a numpy arch: three times the loss."""

  def loss(params, model_state, batch, key):
    moved = task.moving(params, arch).params
    return task.loss(moved, model_state, arch, batch, key, 0.0)[0]

  return 3 * flops.count(loss, params, model_state, batch, jax.random.key(0))


def one_reward(
    task: Task,
    arch: Arch,
    params: Params,
    model_state: ModelState,
    batch: Batch,
) -> float:
  """Returns the FLOPs of a reward, which are those of measuring a batch."""

  def reward(params, model_state, batch, key):
    return task.reward(params, model_state, arch, batch, key)

  return flops.count(reward, params, model_state, batch, jax.random.key(0))
