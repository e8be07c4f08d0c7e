"""Shared weights trained on random children, and how they rank."""

import chex
import jax
import numpy as np
import pytest
from test_benchmark import entries, write
from test_main import answers

from enas_jax import build, evaluate, steps
from enas_jax.configs import nasbench201_small
from enas_jax.derive import benchmark
from enas_jax.strategies.fixed import fixed
from enas_jax.types import Mean
from experiments import shared_weights as experiment


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
  """Of a search whose children are all alike."""
  config = nasbench201_small.get_config("smoke")
  config.epochs = 1
  # Few steps: each enlarges what two programs round otherwise.
  config.child.batch = 64
  config.strategy.warmup = 0
  path = tmp_path_factory.mktemp("shared_weights") / "t.json"
  config.benchmark.path = write(path, entries())
  plan = build.plan(config)
  arch = plan.space.unflatten([3, 2, 1, 4, 2, 3])
  return plan._replace(uniform=fixed(arch))


def _trained(plan, children=1, average=0.0):
  return experiment.trained(
      plan, 0, children=children, average=average, say=lambda text: None
  )


@pytest.fixture(scope="module")
def state(plan):
  return _trained(plan)


def test_several_children_are_one_where_they_are_alike(plan, state):
  several = _trained(plan, children=2)  # halves add up to the bit
  chex.assert_trees_all_close(
      several.params, state.params, atol=1e-4, rtol=1e-3
  )


def test_an_average_that_forgets_nothing_is_of_the_first_weights(plan, state):
  first = steps.init(
      jax.random.key(0),
      task=plan.experiment.task,
      strategy=plan.uniform,
      tx=plan.experiment.tx,
      train=plan.experiment.train,
  ).params
  kept = _trained(plan, average=1.0).params
  chex.assert_trees_all_equal(kept, first)
  with pytest.raises(AssertionError):
    chex.assert_trees_all_close(state.params, first, atol=1e-4)


def test_the_measures_of_scores_that_are_the_truth(
    plan, state, monkeypatch
):
  seen = []

  def evaluator(task, split):
    assert split is plan.experiment.held

    def score(state, arch):
      encoding = plan.space.flatten(arch)
      seen.extend(benchmark.accuracies(plan.benchmark, [encoding]))
      return {task.score: Mean(seen[-1], 1)}

    return score

  monkeypatch.setattr(evaluate, "evaluator", evaluator)
  found = experiment.measured(plan, state, 20)
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
      ([smoke, "--workdir=W"], "--workdir: no such flag."),
  ]
  found = answers(cases, str(tmp_path), "experiments.shared_weights")
  for (_, expected), (code, text, files) in zip(cases, found, strict=True):
    assert (code, files) == (2, [])
    assert f"error: {expected}" in text
