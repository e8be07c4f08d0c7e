"""What a search is worth, on tables whose truth is known."""

import numpy as np
import pytest
import scipy.stats

from enas_jax.derive import worth

QUANTILES = (np.arange(2000) + 0.5) / 2000


def test_without_noise_it_is_the_archs_over_the_rank():
  values = np.arange(9.0)[:, None]  # and the derived one is the tenth
  assert worth.equivalent(values, [8.5]) == 10
  assert worth.equivalent(values, [7.5]) == 5
  assert worth.equivalent(values, [-1.0]) == 1
  # An arch that is as good counts.
  assert worth.equivalent(values, [8.0]) == 5


def test_noise_is_that_of_the_archs_that_score_alike():
  rng = np.random.default_rng(0)
  means = np.linspace(0, 100, 1001)
  s = np.where(means > 50, 0.1, 3.0)
  values = means[:, None] + s[:, None] * rng.normal(size=(1001, 3))
  assert worth.noise(values, 90.0) == pytest.approx(0.1, rel=0.2)
  assert worth.noise(values, 10.0) == pytest.approx(3.0, rel=0.2)
  values[:, 1:] = np.nan
  assert worth.noise(values, 90.0) == 0


def test_luck_is_taken_off():
  """Of normal truth and normal noise the answer is known."""
  rng = np.random.default_rng(0)
  truth, s = scipy.stats.norm.ppf(QUANTILES), 0.8
  values = truth[:, None] + s * rng.normal(size=(2000, 2))
  own = [2.0, 2.4]
  # The mean of two has the variance s^2 / 2, so that the truth, given it, is
  # normal around 2.2 keep, with the variance keep s^2 / 2.
  keep = 1 / (1 + s**2 / 2)
  exact = scipy.stats.norm.sf(2.2 * keep / np.sqrt(1 + keep * s**2 / 2))
  by_rank = 2001 / (1 + (values.mean(1) >= 2.2).sum())
  found = worth.equivalent(values, own)
  assert found == pytest.approx(1 / exact, rel=0.2)
  assert found < 0.5 * by_rank


def test_where_all_archs_are_alike_the_luckiest_is_worth_little():
  values = 90 + np.random.default_rng(2).normal(size=(400, 2))
  luckiest = values.mean(1).argmax()
  others = np.delete(values, luckiest, 0)
  assert 1.5 < worth.equivalent(others, values[luckiest]) < 8


def test_much_better_than_all_is_worth_the_whole_table():
  values = np.random.default_rng(3).normal(size=(50, 2))
  assert worth.equivalent(values, [100.0]) == 51
  assert worth.equivalent(values, [-100.0]) == 1


def test_what_random_search_picks():
  true = np.array([1.0, 2.0, 4.0])
  assert worth.picked(true, true, 1) == pytest.approx(7 / 3)
  # Of the nine pairs five have the best in them, three else the second.
  assert worth.picked(true, true, 2) == pytest.approx((5 * 4 + 3 * 2 + 1) / 9)
  # By validation the first looks best.
  assert worth.picked(-true, true, 1000) == pytest.approx(1.0)


def test_the_gain_needs_both_numbers():
  assert worth.report(5000.0, 2e13, 1e15) == {
      "equivalent": 5000.0,
      "cost": 0.02,
      "gain": 250_000.0,
      "percentile": 99.98,
  }
  assert worth.report(None, 2e13, 1e15)["gain"] is None
  assert worth.report(5.0, 2e13, None) == {
      "equivalent": 5.0, "cost": None, "gain": None, "percentile": 80.0
  }
