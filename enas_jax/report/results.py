"""Says what a run has come to, in a few numbers by their names."""

from typing import Any

import numpy as np

from enas_jax.data.telling import clock
from enas_jax.report import files
from enas_jax.report.files import block, measured, number, RunFiles


def state(run: RunFiles) -> str:
  """Says how far a run is."""
  if run.diverged:
    return "diverged"
  if run.result:
    return "finished"
  if run.arch:
    return "not finished: the architecture is derived"
  if run.candidates:
    return f"not finished: {len(run.candidates):,} candidates are scored"
  done = run.epochs[-1]["epoch"] if run.epochs else 0
  return f"not finished: epoch {done} of {run.config.get('epochs', '?')}"


def outcome(run: RunFiles) -> dict[str, str]:
  """Returns the results of a run by their names; "" where there is none."""
  if run.searches:
    return _found(run)
  result = {"State": state(run), "Time": _time(run)}
  for part in ("test", "valid"):
    if pair := measured(run.result, part):
      result[measure(pair[0])] = f"{pair[1]:.4f}"
  return {**result, "Parameters": count(run.result.get("parameters"))}


def _time(run: RunFiles) -> str:
  """Returns how long a run took; "" before its first epoch has ended."""
  return clock(run.seconds) if run.seconds else ""


def _found(run: RunFiles) -> dict[str, str]:
  """Returns the results of a search."""
  result = {"State": state(run), "Time of the search": _time(run)}
  if test := block(run.result, "test"):
    name = measure(judged(files.parts(run, "retrain"), "test"))
    random = [n for n in map(number, test["random"]) if n is not None]
    result[f"{name}, derived"] = four(test["derived"])
    if random:
      mean = f"{np.mean(random):.4f} (mean of {len(random)})"
      result[f"{name}, random"] = mean
  score = f"{run.score.capitalize()} by shared weights"
  table = block(run.arch, "benchmark")
  truth = number(table.get("test_accuracy"))
  return {
      **result,
      score: four(run.arch["score"]) if "score" in run.arch else "",
      "Parameters when retrained": count(run.arch.get("params")),
      f"Test {table.get('metric', 'accuracy')} in the benchmark": (
          "" if truth is None else f"{truth:.2f}%"
      ),
  }


def judged(parts: dict[str, RunFiles], split: str) -> str:
  """Returns the name of what trainings are judged by, as "test/accuracy"."""
  for run in parts.values():
    if pair := measured(run.result, split):
      return pair[0]
  return f"{split}/measure"


def measure(name: str) -> str:
  """Returns the name of a measure in words: "Test accuracy"."""
  return name.replace("/", " ").capitalize()


def four(value: Any) -> str:
  """Returns a measure with four decimals; one without a number diverged."""
  found = number(value)
  return "diverged" if found is None else f"{found:.4f}"


def count(value: Any) -> str:
  """Returns a whole number with its thousands apart; "" of any other."""
  return f"{value:,}" if isinstance(value, int) else ""
