"""How well one number ranks architectures that another one knows better.

The scores by shared weights are set against what the same architectures reach
when each is trained on its own, or have in a benchmark. Higher is better in
both.
"""

from typing import Any

import numpy as np

LEAST = 4  # pairs; of fewer a correlation says nothing
_BOOTSTRAP = 1000  # resamples of the pairs
_TOPS = (1, 3, 5, 10, 20)


def report(scores, true, seed: int) -> dict[str, Any] | None:
  """Correlations, and how many of the best by score are truly the best.

  None of fewer than LEAST.

  Args:
    scores: f[n].
    true: f[n].
    seed: of the bootstrap.
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


def correlations(scores, true, seed: int) -> dict[str, Any]:
  """Kendall's tau-b and Spearman's rho with bootstrap 95 % intervals.

  None stands for what is not defined: nothing correlates with a constant.

  Args:
    scores: f[n].
    true: f[n].
    seed: of the bootstrap, which draws n of the n pairs anew.
  """
  scores, true = np.asarray(scores), np.asarray(true)
  draws = np.random.default_rng(seed).integers(
      len(true), size=(_BOOTSTRAP, len(true))
  )
  out = {}
  for name, of in (("kendall", kendall), ("spearman", spearman)):
    value = of(scores, true)
    again = np.array([of(scores[rows], true[rows]) for rows in draws])
    # A resample may be of one pair alone, where n is tiny.
    again = again[np.isfinite(again)]
    out[name] = value if np.isfinite(value) else None
    out[f"{name}_95"] = (
        np.percentile(again, [2.5, 97.5]).tolist()
        if np.isfinite(value)
        else None
    )
  return out


def kendall(x, y) -> float:
  """Kendall's tau-b: of all pairs, as many agree more than disagree."""
  x, y = (np.sign(np.subtract.outer(v, v)) for v in (x, y))
  return _ratio((x * y).sum(), (x * x).sum() * (y * y).sum())


def spearman(x, y) -> float:
  """Spearman's rho: the correlation of the ranks, ties at their mean."""
  x, y = (np.sign(np.subtract.outer(v, v)).sum(1) for v in (x, y))
  return _ratio((x * y).sum(), (x * x).sum() * (y * y).sum())


def _ratio(product: float, squares: float) -> float:
  return float(product / np.sqrt(squares)) if squares else float("nan")


def top_precision(scores, true, k: int) -> float:
  """The part of the k best by score that are among the k best in truth."""
  best = (set(np.argsort(-np.asarray(v), kind="stable")[:k].tolist())
          for v in (scores, true))
  return len(set.intersection(*best)) / k
