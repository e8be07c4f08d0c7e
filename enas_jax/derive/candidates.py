"""Draws, scores and ranks candidates when a search is done, and chooses one.

A line is a dict of all that is known of one candidate: its `source`, its
scores, its size, its `encoding` and the `seconds` that scoring took.
"""

from collections.abc import Iterator, Sequence
import math
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from enas_jax import evaluate, steps
from enas_jax.plan import Plan
from enas_jax.settings import POLICY as BY_POLICY
from enas_jax.strategies.evolution import mutants
from enas_jax.types import Arch, SearchState

POLICY, RANDOM, NEIGHBOUR = "policy", "random", "neighbour"
Line = dict[str, Any]


class Candidate(NamedTuple):
  """An arch that may be derived, with the source that proposed it."""

  source: str  # POLICY, RANDOM or NEIGHBOUR
  arch: Arch  # numpy


def drawn(plan: Plan, state: SearchState) -> list[Candidate]:
  """Returns the policy's candidates and the random ones, in that order."""
  sources = (
      (POLICY, plan.derive.archs, plan.experiment.strategy, state.strategy),
      (RANDOM, plan.derive.random, plan.uniform, ()),
  )
  found = []
  for i, (source, count, strategy, asked) in enumerate(sources):
    key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), i)
    draw = jax.jit(strategy.candidates, static_argnums=2)
    archs = steps.listed(draw(asked, key, count), count)
    found += [Candidate(source, arch) for arch in archs]
  return found


def near(plan: Plan, best: Line) -> list[Candidate]:
  """Returns the neighbours of `best` that are trained beside it.

  There are `derive.finalists` - 1 of them, drawn by the seed of the run. They
  differ from `best` in one choice, or where such archs are too few, the others
  of them in two.
  """
  space, generator = plan.space, np.random.default_rng(plan.experiment.seed)

  def some(archs, count):
    order = generator.permutation(len(archs))
    return [archs[n] for n in sorted(order[:count])]

  count = plan.derive.finalists - 1
  one = mutants(space, space.unflatten(best["encoding"]))
  found = some(one, count)
  if count > len(one):
    two = {
        tuple(space.flatten(arch)): arch
        for near in one
        for arch in mutants(space, near)
    }
    for encoding in [best["encoding"], *map(space.flatten, one)]:
      two.pop(tuple(encoding), None)
    found += some(list(two.values()), count - len(one))
  return [Candidate(NEIGHBOUR, arch) for arch in found]


def scored(
    plan: Plan, state: SearchState, candidates: Sequence[Candidate]
) -> Iterator[Line]:
  """Yields the line of each candidate, scored by shared weights.

  Args:
    plan: The plan of the search.
    state: The state at its end.
    candidates: The candidates; each is scored on the whole validation split.
  """
  measure = evaluate.evaluator(plan.experiment.task, plan.experiment.held)
  for source, arch in candidates:
    begun = time.monotonic()
    record = evaluate.summarize(measure(state, arch))
    yield {
        "source": source,
        **record,
        **sized(plan, arch),
        "encoding": plan.space.flatten(arch),
        "seconds": time.monotonic() - begun,
    }


def sized(plan: Plan, arch: Arch) -> dict[str, float]:
  """Returns what is known of the cost of a numpy arch, and its penalty."""
  found = {}
  if plan.size:
    params, flops = plan.size(arch)
    found = {"params": int(params), "flops": float(flops)}
  if plan.milliseconds:
    found["milliseconds"] = float(plan.milliseconds(arch))
  if plan.penalty:
    found["penalty"] = float(plan.penalty(arch))
  return found


def ranked(plan: Plan, lines: Sequence[Line]) -> dict[str, list[Line]]:
  """Returns the lines of each source, policy and random, the best first."""
  score = plan.experiment.task.score
  return {
      source: sorted(
          (line for line in lines if line["source"] == source),
          key=lambda line: value(plan, line[score], line),
          reverse=True,
      )
      for source in (POLICY, RANDOM)
  }


def chosen(
    plan: Plan, lines: Sequence[Line], order: dict[str, list[Line]]
) -> tuple[Line, str]:
  """Returns the chosen line, and in words by what it was chosen.

  Args:
    plan: The plan of the search.
    lines: The lines in the order in which candidates were drawn.
    order: The result of `ranked`.
  """
  own = plan.experiment.strategy.own_candidates
  if plan.derive.by == BY_POLICY and own:
    first = next(line for line in lines if line["source"] == POLICY)
    return first, "the strategy's own choice (config.derive.by)"
  return order[POLICY][0], "the policy's best by score"


def value(plan: Plan, measured: float | None, line: Line) -> float:
  """Returns the value by which candidates are ranked; more is better.

  Args:
    plan: The plan of the search.
    measured: The task's score or metric; NaN and None come last.
    line: The line of the candidate; its penalty is subtracted.
  """
  if measured is None:
    return -math.inf
  worth = plan.experiment.task.worth(measured) - line.get("penalty", 0.0)
  return worth if math.isfinite(worth) else -math.inf
