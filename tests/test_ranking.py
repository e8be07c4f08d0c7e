"""How well scores rank: against scipy, and by hand."""

import numpy as np
import pytest
import scipy.stats

from enas_jax.derive import ranking


@pytest.mark.parametrize("ties", [False, True])
def test_correlations_are_those_of_scipy(ties):
  rng = np.random.default_rng(1)
  true = rng.normal(size=40)
  scores = true + rng.normal(size=40)
  if ties:
    true, scores = np.round(true), np.round(scores)
  found = ranking.correlations(scores, true, seed=0)
  kendall = scipy.stats.kendalltau(scores, true).statistic
  spearman = scipy.stats.spearmanr(scores, true).statistic
  np.testing.assert_allclose(found["kendall"], kendall, rtol=1e-6)
  np.testing.assert_allclose(found["spearman"], spearman, rtol=1e-6)
  bootstrap = scipy.stats.bootstrap(
      (scores, true),
      lambda x, y: scipy.stats.kendalltau(x, y).statistic,
      paired=True,
      vectorized=False,
      method="percentile",
      n_resamples=500,
      rng=np.random.default_rng(2),
  ).confidence_interval
  np.testing.assert_allclose(found["kendall_95"], bootstrap, atol=0.05)
  low, high = found["spearman_95"]
  assert low < spearman < high


def test_what_is_not_defined_is_none():
  found = ranking.correlations(np.ones(5), np.arange(5), seed=0)
  assert set(found.values()) == {None}


def test_top_precision_counts_what_both_call_best():
  scores, true = [5, 4, 3, 2, 1], [5, 1, 4, 3, 2]
  found = [ranking.top_precision(scores, true, k) for k in range(1, 6)]
  np.testing.assert_allclose(found, [1, 1 / 2, 2 / 3, 3 / 4, 1])
