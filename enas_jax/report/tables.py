"""Shows the tables of a run."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from enas_jax.derive import benchmark
from enas_jax.derive.candidates import Line, POLICY, RANDOM
from enas_jax.plan import Plan
from enas_jax.report import words
from enas_jax.report.display import Display


def candidates(
    display: Display, plan: Plan, ranked: dict[str, list[Line]]
) -> None:
  """Shows the best candidates of the policy beside the best random ones."""
  score = plan.experiment.task.score

  def cell(source, n):
    found = ranked[source]
    return f"{found[n][score]:.4f}" if n < len(found) else ""

  most = min(plan.derive.top, max(map(len, ranked.values())))
  rows = [
      (str(n + 1), cell(POLICY, n), cell(RANDOM, n)) for n in range(most)
  ]
  for name, summary in (("mean", np.mean), ("std", np.std)):
    values = [
        f"{summary([line[score] for line in ranked[source]]):.4f}"
        for source in (POLICY, RANDOM)
    ]
    rows.append((name, *values))
  objective = ", ranked less their penalty" if plan.penalty else ""
  display.table(
      f"Validation {score} by shared weights{objective}",
      (
          "rank",
          f"policy ({len(ranked[POLICY])})",
          f"random ({len(ranked[RANDOM])})",
      ),
      rows,
  )


def finalists(
    display: Display, plan: Plan, found: Sequence[Line], chosen: Line
) -> None:
  """Shows the finalists, the best first.

  Args:
    display: The display to show them on.
    plan: The plan of the search.
    found: The lines of the finalists, each with its `number` and its `trained`
      metric.
    chosen: The line of the candidate that shared weights chose.
  """
  task = plan.experiment.task
  columns = {
      "in finalists/": [str(line["number"]) for line in found],
      "neighbour by": [
          words.changed(plan, line["encoding"], chosen["encoding"])
          for line in found
      ],
      f"{task.score} by shared weights": [
          f"{line[task.score]:.4f}" for line in found
      ],
      f"{task.metric}, trained alone": [
          "diverged" if line["trained"] is None else f"{line['trained']:.4f}"
          for line in found
      ],
  }
  if plan.benchmark:
    encodings = [line["encoding"] for line in found]
    true = benchmark.accuracies(plan.benchmark, encodings)
    table = plan.benchmark
    columns[f"test {table.metric} on {table.data} in truth"] = [
        "unknown" if np.isnan(value) else f"{value:.2f}%" for value in true
    ]
  display.table(
      "Finalists on the validation split",
      tuple(columns),
      list(zip(*columns.values(), strict=True)),
  )


def retrained(
    display: Display,
    metric: str,
    scores: dict[str, float | None],
    results: dict[str, dict[str, Any]],
) -> None:
  """Shows the scores of retrained archs; a score of None says it diverged."""
  display.table(
      f"Test {metric} after retraining from scratch, last epoch",
      ("architecture", f"test {metric}", "parameters"),
      [
          (name, "diverged", "")
          if score is None
          else (name, f"{score:.4f}", f"{results[name]['parameters']:,}")
          for name, score in scores.items()
      ],
  )
