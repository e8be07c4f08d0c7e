"""Shared weights trained on random children, and how they rank."""

import chex
import jax
import numpy as np
import pytest
from test_benchmark import arrays, write
from test_main import answers

from configs import nasbench201_small
from enas_jax import benchmark, build, evaluate, search
from enas_jax.strategies import STRATEGIES
from enas_jax.types import Mean
from experiments import shared_weights as experiment


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
  """Of a search whose children are all alike."""
  config = nasbench201_small.get_config("smoke")
  config.epochs = 1
  # Few steps: each enlarges what two programs round otherwise.
  config.child.batch = 64
  config.strategy.warmup = 0
  path = tmp_path_factory.mktemp("shared_weights") / "t.npz"
  config.benchmark.path = write(path, arrays())
  parts = build.experiment(config)
  arch = parts.space.unflatten([3, 2, 1, 4, 2, 3])
  return parts._replace(uniform=STRATEGIES["fixed"](parts.space, arch=arch))


def _trained(parts, children=1, average=0.0):
  return experiment.trained(
      parts, 0, children=children, average=average, say=lambda text: None
  )


@pytest.fixture(scope="module")
def state(parts):
  return _trained(parts)


def test_several_children_are_one_where_they_are_alike(parts, state):
  several = _trained(parts, children=2)  # halves add up to the bit
  chex.assert_trees_all_close(
      several.params, state.params, atol=1e-4, rtol=1e-3
  )


def test_an_average_that_forgets_nothing_is_of_the_first_weights(parts, state):
  first = search.init(
      jax.random.key(0),
      task=parts.task,
      strategy=parts.uniform,
      tx=parts.tx,
      train=parts.train,
  ).params
  kept = _trained(parts, average=1.0).params
  chex.assert_trees_all_equal(kept, first)
  with pytest.raises(AssertionError):
    chex.assert_trees_all_close(state.params, first, atol=1e-4)


def test_the_measures_of_scores_that_are_the_truth(
    parts, state, monkeypatch
):
  seen = []

  def evaluator(task, split):
    assert split is parts.held

    def score(state, arch):
      encoding = parts.space.flatten(arch)
      seen.extend(benchmark.accuracies(parts.benchmark, [encoding]))
      return {task.score: Mean(seen[-1], 1)}

    return score

  monkeypatch.setattr(evaluate, "evaluator", evaluator)
  random = parts._replace(uniform=STRATEGIES["random"](parts.space))
  found = experiment.measured(random, state, 20)
  assert len(seen) == 20 and found["tau"] == pytest.approx(1)
  *_, best = best_ten = sorted(seen)[10:]
  assert found["best 10, true %"] == pytest.approx(np.mean(best_ten))
  assert found["best, true %"] == best


def test_a_mistake_is_one_line(tmp_path):
  smoke = "--config=configs/nasbench201_small.py:smoke"
  cases = [
      ([smoke], "config.benchmark.path: give the table"),
      (["--config=configs/cifar_micro_final.py:smoke"], "--config: give one"),
      ([smoke, "--seed=x"], "--seed: "),
      ([smoke, "--children=0"], "--children: "),
      ([smoke, "--config.seed=1"], "--config.seed: does nothing here; give"),
      ([smoke, "--workdir=W"], "--workdir: does nothing here; nothing is"),
  ]
  found = answers(cases, str(tmp_path), "experiments.shared_weights")
  for (_, expected), (code, text, files) in zip(cases, found, strict=True):
    assert (code, files) == (2, [])
    assert f"error: {expected}" in text
