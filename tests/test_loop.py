"""The loop as a stranger would use it: without a folder, silent."""

import os

import chex
import jax
import numpy as np
import pytest

from enas_jax import build, loop
from enas_jax.configs import cifar_macro


@pytest.fixture(scope="module")
def experiment():
  config = cifar_macro.get_config("smoke")
  config.space.update(layers=2, operations="avg_pool_3x3,max_pool_3x3")
  return build.plan(config).experiment


@pytest.fixture(scope="module")
def ended(experiment):
  return loop.fit(experiment, loop.start(experiment))


def test_a_stranger_trains_in_a_few_lines(
    experiment, ended, tmp_path, monkeypatch, capfd
):
  monkeypatch.chdir(tmp_path)
  saved, epochs, seen = [], [], []

  def save(state):
    saved.append(jax.tree.map(np.asarray, state._replace(key=None)))

  hooks = loop.Hooks(
      step=lambda one: seen.append((one.kind, one.count)),
      epoch=lambda epoch, values: epochs.append((epoch, values)),
      due=lambda step: step == 5,
      save=save,
  )
  state = loop.fit(experiment, loop.start(experiment), hooks)
  assert int(state.step) == experiment.steps == sum(n for _, n in seen)
  assert [int(one.step) for one in saved] == [5, experiment.steps]
  assert [epoch for epoch, _ in epochs] == [0, 1]
  assert {"child/loss", "controller/reward", "child/lr"} <= {*epochs[0][1]}
  assert not os.listdir(tmp_path) and capfd.readouterr() == ("", "")
  # Who looks changes nothing.
  chex.assert_trees_all_equal(state.params, ended.params)


def test_a_state_in_the_middle_goes_on_to_the_same_end(experiment, ended):
  kept = []

  def save(state):
    if not kept:
      kept.append(jax.tree.map(lambda leaf: leaf.copy(), state))

  at = experiment.child_steps + 1  # amid the strategy's steps
  hooks = loop.Hooks(due=lambda step: step == at, save=save)
  loop.fit(experiment, loop.start(experiment), hooks)
  again = loop.fit(experiment, kept[0])
  chex.assert_trees_all_equal(again.params, ended.params)
  chex.assert_trees_all_equal(again.strategy, ended.strategy)


def test_a_number_that_is_not_finite_ends_it_unless_a_hook_knows_better(
    experiment, ended
):
  def broken():
    state = loop.start(experiment)
    params = jax.tree.map(lambda leaf: leaf * np.nan, state.params)
    return state._replace(params=params)

  with pytest.raises(loop.NotFinite, match="not finite at step 0"):
    loop.fit(experiment, broken())
  failed = []

  def anew(step):
    failed.append(step)
    return loop.start(experiment)

  state = loop.fit(experiment, broken(), loop.Hooks(failed=anew))
  assert failed == [0]
  chex.assert_trees_all_equal(state.params, ended.params)


def test_archs_are_rewarded_at_once_where_the_config_says_so():
  config = cifar_macro.get_config("smoke").unlock()
  config.space.update(layers=2, operations="avg_pool_3x3,max_pool_3x3")
  config.network.arithmetic = True
  config.strategy.update(archs=3, at_once=2)
  experiment = build.plan(config).experiment
  state, traces = loop.start(experiment), []

  def counted(*args):
    traces.append(args)
    return experiment.task.reward(*args)

  def trace(experiment):
    traces.clear()
    task = experiment.task._replace(reward=counted)
    experiment = experiment._replace(task=task)
    programs = loop._programs(experiment, state)
    jax.eval_shape(programs.controller, state, programs.held(0, 0))
    return len(traces)

  # One by one they are one trace; two of three, and the third, are two.
  assert trace(experiment) == 2
  assert trace(experiment._replace(at_once=1)) == 1


def test_a_step_takes_the_memory_of_the_state_it_is_given(experiment):
  state = loop.start(experiment)
  programs = loop._programs(experiment, state)
  rows = programs.put(programs.order(state.step))
  size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
  for program, given in (
      (programs.child, (programs.train(0, 0), rows)),
      (programs.controller, (programs.held(0, 0),)),
  ):
    memory = program.lower(state, *given).compile().memory_analysis()
    assert memory.alias_size_in_bytes == size
