"""Says what a search is worth, in trainings.

  equivalent  how many random archs one would have to train alone to expect one
              that is as good as the derived arch
  cost        how many trainings alone take as many FLOPs as the whole search:
              the shared weights, the rewards, the scores and the finalists
  gain        equivalent / cost
  percentile  how many percent of random archs are truly worse

A random arch is as good as the derived one with a probability p, and among n
random archs n p are expected to be so; `equivalent` is 1 / p. Where the truth
has no noise and the derived arch is rank r of all N of a table, p = r / N. The
derived arch is one of those that are counted. Thus what beats each of n archs,
to which it does not belong, counts as n + 1 trainings, which is all that a
table of n archs can tell.

A training has noise: another seed gives another value. A good value is then
partly luck, and a table's values are spread more widely than the truth is. Here
the truth of each arch is drawn from an unknown distribution g, and the mean of
k trainings is normal around the truth with the variance s^2 / k:

  s   is measured on the archs whose means are the nearest to the derived
      arch's, as the mean variance between the trainings of one arch; bad archs
      may have much more noise than good ones
  g   is the distribution under which the table's means are likeliest, on a
      grid around the derived arch's mean (Kiefer and Wolfowitz 1956, by the EM
      algorithm)
  p   is the mean over all archs of the probability that the truth of the arch
      exceeds that of the derived arch, both given their values

The derived arch has the same g as all others, as though it were drawn from the
table. A search that finds good archs is therefore judged too low rather than
too high. Where no arch of a table has two trainings, s is not known and no
noise is taken off.

Values are worths: of two, the higher one is better.
"""

from collections.abc import Sequence

import numpy as np

_NEAR = 50  # archs that tell the noise of a training
_REACH = 8.0  # deviations; what is farther away is better or worse for sure
_GRID = 201
_ROUNDS = 20  # of EM; by many more it becomes a few points


def report(
    equivalent: float | None, flops: float, training: float | None
) -> dict[str, float | None]:
  """Returns the numbers of a search; what is not known is None.

  Args:
    equivalent: What `equivalent` says of the derived arch.
    flops: The FLOPs of the whole search.
    training: The FLOPs of training the mean arch alone.
  """
  cost = flops / training if training else None
  known = equivalent is not None and cost is not None
  return {
      "equivalent": equivalent,
      "cost": cost,
      "gain": equivalent / cost if known else None,
      "percentile": None if equivalent is None else 100 - 100 / equivalent,
  }


def equivalent(values: np.ndarray, own: np.ndarray | Sequence[float]) -> float:
  """Returns how many random trainings the derived arch is worth.

  Args:
    values: f[n, k], the values of k trainings of n random archs. NaN stands for
      a training that there is not; each arch has one at least. The derived arch
      must not be among them.
    own: f[j], the values of the trainings of the derived arch.
  """
  own = np.asarray(own, float)
  better = exceeding(np.asarray(values, float), own)
  return float((len(values) + 1) / (1 + better))


def exceeding(values: np.ndarray, own: np.ndarray) -> float:
  """Returns how many archs are expected to be truly better than one arch.

  The arguments are those of `equivalent`. Where there is no noise, an arch with
  the same value counts as better.
  """
  means, counts = np.nanmean(values, 1), np.isfinite(values).sum(1)
  mean = own.mean()
  s = noise(values, mean)
  if not s:
    return float((means >= mean).sum())
  near = np.abs(means - mean) <= _REACH * s
  above = int((means[~near] > mean).sum())
  if not near.any():
    return float(above)
  means = np.append(means[near], mean)
  spread = s / np.sqrt(np.append(counts[near], len(own)))
  posterior = _posterior(means, spread)
  others, self = posterior[:-1], posterior[-1]
  at_least = np.cumsum(others[:, ::-1], 1)[:, ::-1]
  # Of two equal points of the grid either may be the better one.
  return float(above + ((at_least - others / 2) @ self).sum())


def noise(values: np.ndarray, at: float) -> float:
  """Returns the deviation of one training from the truth of its arch.

  It is that of the archs whose means are the nearest to `at`; 0 where no arch
  has two trainings.

  Args:
    values: As in `equivalent`.
    at: A value.
  """
  several = values[np.isfinite(values).sum(1) > 1]
  if not len(several):
    return 0.0
  order = np.argsort(np.abs(np.nanmean(several, 1) - at), kind="stable")
  several = several[order[:_NEAR]]
  return float(np.sqrt(np.nanvar(several, 1, ddof=1).mean()))


def _posterior(means: np.ndarray, spread: np.ndarray) -> np.ndarray:
  """Returns the distribution of the truth of each arch on a grid, f[n, _GRID].

  Args:
    means: f[n], the mean value of each arch.
    spread: f[n], the deviation of this mean from the truth.
  """
  edge = spread.max()
  grid = np.linspace(means.min() - edge, means.max() + edge, _GRID)
  exponent = -0.5 * ((means[:, None] - grid) / spread[:, None]) ** 2
  likelihood = np.exp(exponent - exponent.max(1, keepdims=True))
  prior = np.full(_GRID, 1 / _GRID)
  for _ in range(_ROUNDS):
    joint = likelihood * prior
    posterior = joint / joint.sum(1, keepdims=True)
    prior = posterior.mean(0)
  return posterior


def picked(
    chosen: np.ndarray, true: np.ndarray, count: int
) -> float:
  """Returns the truth that random search reaches by `count` trainings alone.

  It trains so many random archs of the table, which may repeat, and takes the
  one with the best validation value. The expectation over all draws is exact.

  Args:
    chosen: f[n], the validation value of one training of each arch; of several
      equal ones the last is taken.
    true: f[n], the values that the archs truly have.
    count: How many are trained, at least one.
  """
  order = np.argsort(chosen, kind="stable")
  below = np.arange(len(order) + 1) / len(order)
  return float(np.diff(below**count) @ np.asarray(true)[order])
