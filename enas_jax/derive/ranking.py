"""Says how well scores rank archs, given their true accuracies.

The scores are those by shared weights. The true accuracies are reached by the
same archs when each is trained alone, or stand in a benchmark. Higher is better
in both.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

LEAST = 4  # a correlation of fewer pairs says nothing
_BOOTSTRAP = 1000  # resamples of the pairs
_TOPS = (1, 3, 5, 10, 20)
_ROWS = 256  # of the pairs that are compared at a time


def report(
    scores: np.ndarray | Sequence[float],
    true: np.ndarray | Sequence[float],
    seed: int,
) -> dict[str, Any] | None:
  """Returns correlations, and how many of the best by score truly are the best.

  Args:
    scores: f[n], the scores.
    true: f[n], the true accuracies.
    seed: The seed of the bootstrap.

  Returns:
    The report, or None where n is less than LEAST.
  """
  if len(true) < LEAST:
    return None
  return {
      "candidates": len(true),
      **correlations(scores, true, seed),
      "top": {
          str(k): top_precision(scores, true, k)
          for k in _TOPS
          if k < len(true)
      },
  }


def correlations(
    scores: np.ndarray | Sequence[float],
    true: np.ndarray | Sequence[float],
    seed: int,
) -> dict[str, Any]:
  """Returns Kendall's tau-b and Spearman's rho with bootstrap 95 % intervals.

  A value is None where it is undefined because one side is constant.

  Args:
    scores: f[n], the scores.
    true: f[n], the true accuracies.
    seed: The seed of the bootstrap, which draws n of the n pairs anew.
  """
  scores, true = np.asarray(scores), np.asarray(true)
  draws = np.random.default_rng(seed).integers(
      len(true), size=(_BOOTSTRAP, len(true))
  )
  out = {}
  for name, of in (("kendall", kendall), ("spearman", spearman)):
    value = of(scores, true)
    again = np.array([of(scores[rows], true[rows]) for rows in draws])
    # Where n is tiny, a resample may have one pair n times, which correlates
    # with nothing.
    again = again[np.isfinite(again)]
    out[name] = value if np.isfinite(value) else None
    out[f"{name}_95"] = (
        np.percentile(again, [2.5, 97.5]).tolist()
        if np.isfinite(value)
        else None
    )
  return out


def kendall(
    x: np.ndarray | Sequence[float], y: np.ndarray | Sequence[float]
) -> float:
  """Returns Kendall's tau-b of f[n] and f[n].

  It is the share of pairs that agree less the share of pairs that disagree,
  corrected for ties.
  """
  if np.isnan(x).any() or np.isnan(y).any():
    return float("nan")
  x, y = (
      np.unique(v, return_inverse=True)[1].astype(np.int32) for v in (x, y)
  )
  agree = 0
  # All pairs of a benchmark at once would take gigabytes.
  for n in range(0, len(x), _ROWS):
    a, b = (_order(v[n : n + _ROWS, None], v) for v in (x, y))
    agree += int((a * b).sum(dtype=np.int64))
  untied_x, untied_y = (
      float(len(v) ** 2 - (np.bincount(v) ** 2).sum()) for v in (x, y)
  )
  return _ratio(agree, untied_x * untied_y)


def _order(one: np.ndarray, other: np.ndarray) -> np.ndarray:
  """Returns the sign of one - other, i8."""
  return np.subtract(one > other, one < other, dtype=np.int8)


def spearman(
    x: np.ndarray | Sequence[float], y: np.ndarray | Sequence[float]
) -> float:
  """Returns Spearman's rho of f[n] and f[n].

  It is the correlation of the ranks, where ties have their mean rank.
  """
  x, y = (np.sign(np.subtract.outer(v, v)).sum(1) for v in (x, y))
  return _ratio((x * y).sum(), (x * x).sum() * (y * y).sum())


def _ratio(product: float, squares: float) -> float:
  """Returns a correlation, NaN where a side is constant."""
  return float(product / np.sqrt(squares)) if squares else float("nan")


def top_precision(
    scores: np.ndarray | Sequence[float],
    true: np.ndarray | Sequence[float],
    k: int,
) -> float:
  """Returns the share of the k best by score that truly are among the k best.
  """
  best = (set(np.argsort(-np.asarray(v), kind="stable")[:k].tolist())
          for v in (scores, true))
  return len(set.intersection(*best)) / k
