"""Collects the outcome of a search, which its arch.json holds."""

from collections.abc import Sequence
import hashlib
import json
import math
from typing import Any

import numpy as np

import enas_jax
from enas_jax import archfile
from enas_jax.derive import benchmark, candidates, cost
from enas_jax.derive import worth as worths
from enas_jax.derive.candidates import Line, POLICY, RANDOM
from enas_jax.plan import effective, Plan


def content(
    plan: Plan,
    ranked: dict[str, list[Line]],
    finalists: Sequence[Line],
    best: Line,
) -> dict[str, Any]:
  """Returns the content of arch.json without the cost.

  Args:
    plan: The plan of the search.
    ranked: The lines of the candidates of each source, the best first.
    finalists: The lines of the finalists, the best first.
    best: The line of the derived arch.
  """
  score = plan.experiment.task.score
  arch = plan.space.unflatten(best["encoding"])
  scores = {
      source: {
          "best": found[0][score],
          "mean": float(np.mean([line[score] for line in found])),
          "count": len(found),
      }
      for source, found in ranked.items()
  }
  return archfile.record(
      arch,
      plan.space,
      {
          "space": plan.record["space"],
          "metric": score,  # on the validation split, by shared weights
          "score": best[score],
          "scores": scores,
          **({"finalists": list(finalists)} if finalists else {}),
          **_truth(plan, ranked, best["encoding"]),
          **candidates.sized(plan, arch),
          "seed": plan.experiment.seed,
          "config_hash": config_hash(plan.record),
          "version": enas_jax.__version__,
      },
  )


def spent(
    plan: Plan,
    lines: Sequence[Line],
    finalists: Sequence[Line],
    epochs: Sequence[Line],
) -> dict[str, Any]:
  """Returns the cost of the whole search over all processes that ran it.

  Args:
    plan: The plan of the search.
    lines: The lines of the candidates.
    finalists: The lines of the finalists.
    epochs: The lines of the search's epochs, with their seconds.
  """
  archs = [
      [
          plan.space.unflatten(line["encoding"])
          for line in some
          if source in (None, line["source"])
      ]
      for some, source in ((lines, POLICY), (lines, RANDOM), (finalists, None))
  ]
  timed = [*epochs, *lines, *finalists]
  return cost.report(plan, *archs, sum(line["seconds"] for line in timed))


def worth(
    plan: Plan, content: dict[str, Any], test: dict[str, Any] | None = None
) -> dict[str, float | None]:
  """Returns what the search is worth in trainings (`derive/worth.py`).

  Beside it stands what random search reaches that trains archs alone at the
  same cost, one at least.

  Args:
    plan: The plan of the search, with a benchmark.
    content: The content of arch.json, with the cost.
    test: What the retrainings came to, once they are done. They count where the
      table lacks the derived arch and its recipe is the search's own.
  """
  table, score = plan.benchmark, None
  if test and table.recipe and test["derived"] is not None:
    fraction = test["derived"]
    if table.metric == "likelihood":
      fraction = math.exp(-test["loss"])
    score = 100 * fraction
  equivalent = benchmark.equivalent(table, content["encoding"], score)
  flops = content["cost"]["flops"]
  found = worths.report(equivalent, flops, table.training)
  alone = None
  if found["cost"] is not None:
    alone = benchmark.random_alone(table, max(1, int(found["cost"])))
  return {**found, "random_alone": alone}


def config_hash(record: dict[str, Any]) -> str:
  """Returns twelve hexadecimal digits of all that changes what comes out."""
  text = json.dumps(effective(record), sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:12]


def _truth(
    plan: Plan, ranked: dict[str, list[Line]], derived: list[int]
) -> dict[str, Any]:
  """Returns the benchmark's report on the candidates; {} without benchmark."""
  if not plan.benchmark:
    return {}
  task = plan.experiment.task
  policy = [line["encoding"] for line in ranked[POLICY]]
  random = [
      (line["encoding"], task.worth(line[task.score]))
      for line in ranked[RANDOM]
  ]
  table = plan.benchmark
  if plan.size:
    table = benchmark.sized(table, plan.space, plan.size)
  seed, data = plan.experiment.seed, plan.record["data"]
  report = benchmark.report(table, derived, policy, random, seed)
  searched = " ".join(filter(None, (data["name"], data.get("path"))))
  same = benchmark.same_data(table.data, data["name"])
  return {"benchmark": {**report, "searched_on": searched, "same_data": same}}
