"""Puts in words which classes a run has, and how many pictures of each."""

import numpy as np

from enas_jax.data import telling
from enas_jax.plan import Plan

_USES = {"valid": "validate on", "test": "test on"}  # of what is held out
_FEW = 20  # classes whose pictures are counted one by one


def named(plan: Plan) -> str:
  """Names the classes in order; "" where their numbers are their names."""
  names = plan.facts.classes
  if names == tuple(map(str, range(len(names)))):
    return ""
  return (
      f"{len(names):,} classes, numbered from 0 in this order (labels.txt):"
      f" {telling.few(names)}."
  )


def counted(plan: Plan) -> str:
  """Says how many pictures each part has, and each class where these are few.

  It returns "" where `named` does.
  """
  if not named(plan):
    return ""
  experiment = plan.experiment
  parts = {"train on": experiment.train}
  parts[_USES[experiment.part]] = experiment.held
  if plan.retrain:
    parts["test on"] = plan.retrain.experiment.held
  names, said = plan.facts.classes, []
  for use, split in parts.items():
    images = split.stream.images if split.stream else split.arrays
    each = np.bincount(images.labels, minlength=len(names)).tolist()
    of_each = f"{each[0]:,} of each class"
    if len({*each}) > 1:
      pairs = zip(each, names, strict=True)
      of_each = ", ".join(f"{name}: {count:,}" for count, name in pairs)
    shown = f" ({of_each})" if len(names) <= _FEW else ""
    said.append(f"{sum(each):,} to {use}{shown}")
  return f"Pictures: {', '.join(said)}."
