"""A search on a benchmark's truth alone beats random search."""

import json
import subprocess
import sys

import numpy as np
import pytest
from test_nasbench201 import TABLE

from configs import nasbench201
from enas_jax import benchmark
from enas_jax.spaces.nasbench201 import NasBench201
from enas_jax.strategies import STRATEGIES
from experiments import search_vs_random as experiment

SPACE = NasBench201()


@pytest.fixture(scope="module")
def table():
  if not TABLE.exists():
    pytest.skip("the benchmark's table is not there")
  return benchmark.read("key", str(TABLE), SPACE)


@pytest.fixture(scope="module")
def found(table):
  """What a strategy of the config finds in 500 samples, ten seeds."""
  config, seeds = nasbench201.get_config(), list(range(10))

  def run(name):
    strategy = STRATEGIES[name](SPACE, **config.get(name, {}))
    rows = experiment.sampled(
        table,
        SPACE,
        strategy,
        samples=500,
        archs=config.strategy.archs,
        seeds=seeds,
    )
    assert rows.shape == (10, 500)
    return experiment.outcome(table, rows, seeds)

  return {name: run(name) for name in ("reinforce", "random", "evolution")}


def each(outcome, name):
  return np.array([one[name] for one in outcome["per_seed"]])


def test_reinforce_learns_and_finds_with_every_seed(found):
  outcome = found["reinforce"]
  assert np.all(each(outcome, "policy_test_accuracy") > 93.0)
  assert np.all(each(outcome, "best_test_accuracy") > 94.15)


def test_both_searches_beat_random(found):
  chance = found["random"]
  assert 86 < chance["policy_test_accuracy"] < 88.5
  for name in ("reinforce", "evolution"):
    for value in ("best_test_accuracy", "policy_test_accuracy"):
      assert found[name][value] > chance[value] + 0.1


def test_an_outcome_is_of_the_best_by_validation():
  test = np.arange(200.0) / 2
  table = benchmark.Benchmark(np.zeros((200, 6)), test, 100 - test, {})
  rows = np.stack([np.arange(50, 180), np.arange(179, 49, -1)])
  outcome = experiment.outcome(table, rows, [3, 5])
  assert outcome["best_test_accuracy"] == 25.0
  last = [np.mean(test[80:180]), np.mean(test[50:150])]
  np.testing.assert_allclose(each(outcome, "policy_test_accuracy"), last)
  np.testing.assert_allclose(outcome["policy_test_accuracy"], np.mean(last))
  assert [one["seed"] for one in outcome["per_seed"]] == [3, 5]
  assert outcome["architectures"] == 200


def test_the_command_ends_in_an_object(table):
  out = subprocess.run(
      [
          *(sys.executable, "-m", "experiments.search_vs_random"),
          *(f"--table={TABLE}", "--strategy=random", "--samples=7"),
          *("--archs=2", "--seeds=4", "--json"),
      ],
      capture_output=True,
      text=True,
      check=True,
      cwd=experiment.__file__.rsplit("/", 2)[0],
  ).stdout
  line = json.loads(out.splitlines()[-1])
  assert (line["architectures"], len(line["per_seed"])) == (15_625, 1)
  assert (line["strategy"], line["samples"], line["archs"]) == ("random", 7, 2)
