"""What a search cost, and what it would have cost without sharing weights.

Counted are the operations of products and convolutions (`flops.py`): three
passes a child step, one a reward, one a validation batch when a candidate is
scored or a finalist measured. But for finalists they are those of a few
architectures, brought to the mean size of all candidates; children that a
policy proposes are taken for a mixture of its last candidates and random ones,
in the proportion in which both are scored. The controller's are left out.

ENAS (§1) puts the saving against standard NAS, which trains every candidate
from scratch, at a factor of about 1000. Here that side is an estimate: its
operations are counted but not run, and its seconds are taken in proportion.
"""

from collections.abc import Sequence
from typing import Any

import jax
from ml_collections import ConfigDict
import numpy as np

from enas_jax import build, flops, progress
from enas_jax.build import Experiment
from enas_jax.types import Arch, Split, Task

SAMPLES = 4  # architectures of a kind that are counted


def report(
    config: ConfigDict,
    parts: Experiment,
    policy: Sequence[Arch],
    random: Sequence[Arch],
    finalists: Sequence[Arch],
    seconds: float,
) -> dict[str, Any]:
  """The cost of a search, beside that of training all of its candidates.

  Args:
    config: of the search.
    parts: what `build` made of it.
    policy: numpy, the strategy's candidates that were scored at the end.
    random: the random ones.
    finalists: those that were trained alone before one was derived.
    seconds: of wall time that all of it took, in however many processes; work
      that was lost and done again counts once.
  """
  archs = [*policy, *random]
  sample = [*policy[:SAMPLES], *random[:SAMPLES]]

  def mean(count, of=archs):
    """Of `count`, known for the sample, over `of`, whose sizes are known."""
    counts = np.array([count(arch) for arch in sample])
    if parts.size is None:  # all alike
      return counts.mean()
    own, all_ = (
        np.mean([parts.size(arch).flops for arch in some])
        for some in (sample, of)
    )
    return counts.mean() / own * all_

  # A jax architecture gives the shared weights, whatever they are used for.
  first = jax.tree.map(jax.numpy.asarray, sample[0])
  params, model_state, batch = shapes(parts.task, parts.train, first)
  held = parts.held.shapes()

  def step(arch):
    return child_step(parts.task, arch, params, model_state, batch)

  own_children = random if parts.children is parts.uniform else archs
  child = mean(step, own_children)
  reward = mean(
      lambda arch: _reward(parts.task, arch, params, model_state, held)
  )
  scoring = reward * parts.held.steps
  children = parts.epochs * parts.child_steps
  rewards = (parts.steps - children) * parts.archs
  total = children * child + rewards * reward + len(archs) * scoring
  each = {"child_step": child, "reward": reward, "scoring": scoring}
  if finalists:
    encoding = parts.space.flatten(finalists[0])  # its task is that of all
    recipe = build.finalist(config, encoding)
    final, every = build.experiment(recipe), recipe.eval_every
    trained = [_training(final, every, arch) for arch in finalists]
    total += sum(trained)
    each["finalist"] = np.mean(trained)
  alone = _alone(config, parts, sample[0], mean(step), mean)
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


def _alone(config, parts, arch, child: float, mean) -> dict[str, Any]:
  """Of training the mean candidate; `child` is its step in the search."""
  recipe, steps = "the search's own", parts.epochs * parts.child_steps
  if config.retrain.config:
    recipe = "config.retrain.config"
    encoding = parts.space.flatten(arch)  # its task is that of all
    final = build.experiment(build.retraining(config, encoding))
    task, steps = final.task, final.epochs * final.child_steps
    child = mean(
        lambda arch: child_step(task, arch, *shapes(task, final.train, arch))
    )
  return {"recipe": recipe, "steps": steps, "flops": float(steps * child)}


def lines(found: dict[str, Any]) -> list[str]:
  """A `report` in words."""
  alone = found["alone"]
  return [
      f"The search took {progress.clock(found['seconds'])} and"
      f" {found['flops']:.2e} FLOPs of products and convolutions:"
      f" {found['child_steps']:,} child steps, {found['rewards']:,} rewards,"
      f" {found['scored']:,} candidates scored{_and_trained(found)}.",
      f"Training alone each of the {alone['candidates']:,} rewarded or scored"
      f" (recipe: {alone['recipe']}, {alone['steps']:,} steps) would take"
      f" {alone['times']:,.1f} times as many FLOPs, and"
      f" {progress.clock(alone['seconds_estimated'])} at the same pace: an"
      " estimate, it was not run.",
  ]


def _and_trained(found: dict[str, Any]) -> str:
  count = found["finalists"]
  return f", {count:,} finalists trained" if count else ""


def _training(final: Experiment, every: int, arch: Arch) -> float:
  """FLOPs of a training that is measured every so many epochs, and at last."""
  task = final.task
  params, model_state, batch = shapes(task, final.train, arch)
  step = child_step(task, arch, params, model_state, batch)

  def whole(split):
    batch = split.shapes()
    return split.steps * _reward(task, arch, params, model_state, batch)

  looks = -(-final.epochs // every)
  measured = looks * whole(final.watched or final.held) + whole(final.held)
  return final.epochs * final.child_steps * step + measured


def shapes(task: Task, split: Split, arch: Arch):
  """(params, model state, batch) of a child on `split`, without values."""
  batch = split.shapes()
  init = lambda key: task.init(key, batch, arch)
  return *jax.eval_shape(init, jax.random.key(0)), batch


def child_step(task: Task, arch: Arch, params, model_state, batch) -> float:
  """FLOPs of a child step on `arch`, numpy: thrice those of its loss."""

  def loss(params, model_state, batch, key):
    used = task.pick(params, arch)
    return task.loss(used, model_state, arch, batch, key, 0.0)[0]

  return 3 * flops.count(loss, params, model_state, batch, jax.random.key(0))


def _reward(task, arch, params, model_state, batch) -> float:
  def reward(params, model_state, batch, key):
    used = task.pick(params, arch)
    return task.reward(used, model_state, arch, batch, key)

  return flops.count(reward, params, model_state, batch, jax.random.key(0))
