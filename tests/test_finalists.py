"""Candidates that are trained alone before one is derived."""

import contextlib
import dataclasses
import functools
import json
import os
import pickle
import sys

import jax
import numpy as np
import pytest
from test_run import lines, ran
from test_spaces import SMALL

from enas_jax import build, data, launch, run, signals
from enas_jax.build import recipe
from enas_jax.configs import (
  cifar_macro,
  cifar_macro_final,
  digits_micro,
  digits_micro_final,
  nasbench201,
  nasbench201_final,
)
from enas_jax.derive import candidates, cost
from enas_jax.errors import ConfigError
from enas_jax.plan import text_of
from enas_jax.report import words
from enas_jax.report.display import Display
from enas_jax.spaces import SPACES
from enas_jax.strategies import STRATEGIES
from enas_jax.strategies.evolution import (
    mutants,
    neighbours,
    second_neighbours,
)


def config_of(finalists):
  config = nasbench201.get_config("smoke")
  config.derive.update(finalists=finalists, by="score")
  config.derive.config = recipe(nasbench201_final.get_config("smoke"))
  for each in (config, config.derive.config):
    each.epochs = 1
  return config


def fast_config():
  """A search with two finalists in what compiles fast."""
  config = cifar_macro.get_config("smoke")
  config.space.operations = "avg_pool_3x3,max_pool_3x3"
  config.derive.config = recipe(cifar_macro_final.get_config("smoke"))
  config.derive.finalists = 2
  for each in (config, config.derive.config):
    each.epochs = 1
  return config


def test_the_best_finalist_by_validation_is_derived(tmp_path, monkeypatch):
  load = data.DATASETS["synthetic"]

  def never():
    raise AssertionError("the test split was read")

  def blind(**args):
    return dataclasses.replace(load(**args), test=never)

  # Its signature says what may be asked of it.
  functools.update_wrapper(blind, load)
  monkeypatch.setitem(data.DATASETS, "synthetic", blind)
  path = tmp_path / "run"
  with monkeypatch.context() as patched:
    _stop_after(patched, finalists=1)
    with pytest.raises(signals.Interrupted):
      ran(fast_config(), path)
  result = ran(fast_config(), path)
  found = result["finalists"]
  assert found[0]["trained"] >= found[1]["trained"]
  assert result["encoding"] == found[0]["encoding"]
  assert result["score"] == found[0]["accuracy"]
  trained = {tuple(one["encoding"]): one["trained"] for one in found}
  for n in range(2):
    own = json.loads((path / "finalists" / str(n) / "result.json").read_text())
    assert own["valid/accuracy"] == trained[tuple(own["encoding"])]
    (line,) = (one for one in found if one["number"] == n)
    assert line["encoding"] == own["encoding"]
  # The best by shared weights, and one that differs from it in one choice.
  policy = [
      line
      for line in lines(path / "derive.jsonl")
      if line["source"] == "policy"
  ]
  best = max(policy, key=lambda line: line["accuracy"])["encoding"]
  (near,) = set(trained) - {tuple(best)}
  assert sum(a != b for a, b in zip(near, best, strict=True)) == 1
  assert result["cost"]["finalists"] == 2
  assert result["cost"]["seconds"] > sum(one["seconds"] for one in found) > 0


def _stop_after(patched, finalists):
  """Interrupts a run after so many of its finalists."""
  training, count = run._training, 0

  def stopped(stage):
    nonlocal count
    if count == finalists:
      raise signals.Interrupted
    count += 1
    return training(stage)

  patched.setattr(run, "_training", stopped)


@pytest.fixture
def tried(tmp_path, monkeypatch):
  """(trained, **of the config) -> lines of `_finalists`, best first.

  Nothing is trained or scored: `trained`, of an encoding, says what comes of
  it; None: it diverged.
  """

  def try_(trained, best=(1, 1, 1, 1, 1, 1), penalty=None, **derived):
    config = config_of(3)
    config.derive.update(derived)
    plan = build.plan(config)

    def line(source, arch):
      encoding = plan.space.flatten(arch)
      taken = {"penalty": penalty(encoding)} if penalty else {}
      return {"source": source, "encoding": encoding, "accuracy": 0.5, **taken}

    def scored(plan, state, some):
      return [line(*candidate) for candidate in some]

    def alone(stage, final, path):
      assert final.experiment.part == "valid"
      assert final.record["data"]["valid"] == config.data.valid
      encoding = final.space.flatten(final.experiment.arch)
      assert final.record["arch"] == text_of(encoding)
      value = trained(encoding)
      return {} if value is None else {"valid/accuracy": value}

    monkeypatch.setattr(candidates, "scored", scored)
    monkeypatch.setattr(run, "_alone", alone)
    with contextlib.closing(Display(tmp_path / "log.txt")) as shown:
      stage = run.Stage(plan, tmp_path, tmp_path, shown, None)
      first = line("policy", plan.space.unflatten(list(best)))
      return run._finalists(stage, None, first)

  return try_


def test_all_neighbours_are_trained_where_there_is_room(tried):
  found = tried(lambda encoding: sum(encoding) / 99, finalists=25)
  encodings = {tuple(line["encoding"]) for line in found}
  assert len(found) == len(encodings) == 1 + 6 * 4
  changed = [sum(value != 1 for value in encoding) for encoding in encodings]
  assert sorted(changed) == [0] + [1] * 24
  values = [line["trained"] for line in found]
  assert values == sorted(values, reverse=True)


def test_where_neighbours_are_too_few_others_differ_in_two_choices(tried):
  found = tried(lambda encoding: 0.1, finalists=40)
  encodings = {tuple(line["encoding"]) for line in found}
  assert len(found) == len(encodings) == 40
  changed = [sum(value != 1 for value in encoding) for encoding in encodings]
  assert sorted(changed) == [0] + [1] * 24 + [2] * 15


@pytest.mark.parametrize("name", ["macro", "nasbench201"])
def test_second_neighbours_are_counted(name):
  space = SPACES[name](**SMALL[name].arguments)
  drawn = STRATEGIES["random"](space).ask((), jax.random.key(0))
  one = mutants(space, jax.device_get(drawn))
  flat = lambda archs: {tuple(space.flatten(arch)) for arch in archs}
  two = set().union(*(flat(mutants(space, arch)) for arch in one))
  assert len(two - flat([drawn, *one])) == second_neighbours(space)


@pytest.mark.parametrize("name", SMALL)
def test_a_neighbour_differs_in_one_choice_in_every_space(name):
  space = SPACES[name](**SMALL[name].arguments)
  drawn = STRATEGIES["random"](space).ask((), jax.random.key(0))
  choices = np.asarray(space.encode(drawn))
  near = mutants(space, jax.device_get(drawn))
  found = {tuple(space.flatten(arch)) for arch in near}
  assert len(found) == len(near) == neighbours(space) > 0
  for arch in near:
    changed = np.asarray(space.encode(arch)) != choices
    assert changed.any(1).sum() == 1
    space.unflatten(space.flatten(arch))  # refuses what is none


def test_a_part_of_a_finalist_is_refused():
  config = config_of(2).unlock()
  with config.ignore_type():
    config.derive.finalists = 1.5
  with pytest.raises(ConfigError, match=r"config\.derive\.finalists: .*whole"):
    build.plan(config)


@pytest.mark.parametrize("final, message", [
    (recipe(digits_micro_final.get_config("smoke")), "network.aux: no such"),
    (nasbench201.get_config("smoke"), "space: does nothing here: the search"),
    (nasbench201_final.get_config("smoke"), "space: does nothing here: the"),
])
def test_a_recipe_of_something_else_is_refused(final, message):
  config = config_of(2)
  config.derive.config = final
  with pytest.raises(ConfigError) as caught:
    build.plan(config)
  assert str(caught.value).startswith(f"config.derive.config.{message}")


def test_a_search_that_retrains_needs_no_other_recipe():
  config = digits_micro.get_config("smoke")
  config.derive.finalists = 2
  plan = build.plan(config)
  parts = [each.experiment.part for each in (plan.retrain, plan.finalist)]
  assert parts == ["test", "valid"]
  alike, final = ({**each.record} for each in (plan.retrain, plan.finalist))
  alike.pop("data"), final.pop("data")
  assert final == alike
  # Enough for a batch of the search, not of the recipe.
  config.data.update(valid=60, eval_batch=32)
  with pytest.raises(ConfigError, match=r"config\.retrain\.config\.data\.eval"):
    build.plan(config)


def test_finalists_at_once_are_those_in_sequence(tried, monkeypatch, tmp_path):
  monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
  score = lambda encoding: sum(encoding) / 99
  before = [{**line, "seconds": 0} for line in tried(score)]
  finalist = build.plan(config_of(3)).finalist

  def each(jobs, launcher, stopping, tell):
    assert launcher.room()
    for job in jobs:
      work = pickle.loads(pickle.dumps(job.work))  # for another process
      make, encoding, path = work.args
      assert make(encoding).record == finalist.of(encoding).record
      assert work.func is run.alone and path.name == job.name
      failure = "it was killed" if job.name == "1" else None
      tell(launch.Ended(job.name, 1e6, failure))

  monkeypatch.setattr(launch, "each", each)
  found = tried(score, at_once=2)
  assert [{**line, "seconds": 0} for line in found] == before
  assert {line["seconds"] for line in found} == {1e6}
  log = (tmp_path / "log.txt").read_text()
  assert "3 of them are trained 2 at a time" in log
  assert "finalists/1 failed: it was killed" in log


def test_more_at_once_than_the_machine_has_room_for_is_refused(monkeypatch):
  monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
  config = config_of(2)
  config.derive.at_once = 3
  with pytest.raises(ConfigError, match=r"config\.derive\.at_once: 3 is more"):
    build.plan(config)
  config.derive.at_once = 2
  monkeypatch.setitem(sys.modules, "submitit", None)
  with pytest.raises(ConfigError, match=r"needs submitit: pip install"):
    build.plan(config)


def test_some_neighbours_are_drawn_by_the_seed(tried):
  one, other = (
      [line["encoding"] for line in tried(lambda encoding: 0.1)]
      for _ in range(2)
  )
  assert one == other
  assert len(one) == 3
  assert one[0] == [1] * 6  # a tie is that of shared weights


def test_the_table_tells_what_a_neighbour_changes(tried, tmp_path):
  tried(lambda encoding: 0.1, best=(1, 1, 1, 1, 1, 3), finalists=25)
  text = (tmp_path / "log.txt").read_text()
  assert text.count("as chosen") == 1
  assert text.count("node 1 = none(0)") == 1
  assert "|~" not in text


def test_what_diverged_comes_last(tried):
  ends = {0: None, 1: 0.1, 2: float("nan"), 3: 0.3, 4: 0.2}
  found = tried(lambda encoding: ends[encoding[-1]], finalists=25)
  assert found[0]["encoding"] == [1, 1, 1, 1, 1, 3]
  last = {line["encoding"][-1] for line in found[-2:]}
  assert last == {0, 2}


def test_the_objective_counts_among_finalists(tried):
  found = tried(
      lambda encoding: 0.1 * encoding[-1],
      finalists=25,
      penalty=lambda encoding: 0.5 * (encoding[-1] == 4),
  )
  assert found[0]["encoding"] == [1, 1, 1, 1, 1, 3]
  assert found[-1]["encoding"] == [1, 1, 1, 1, 1, 4]


def test_without_finalists_nothing_is_trained(tried):
  assert tried(None, finalists=0) == []


def test_where_all_diverge_shared_weights_derive(tmp_path, monkeypatch):
  def diverged(stage, state, best):
    line = {"encoding": [0] * 6, "trained": float("nan"), "seconds": 0.0}
    return [{**best, **line}]

  monkeypatch.setattr(run, "_finalists", diverged)
  result = ran(fast_config(), tmp_path / "run")
  assert result["encoding"] != [0] * 6
  assert result["score"] == result["scores"]["policy"]["best"]


def test_the_cost_of_a_search_has_that_of_its_finalists():
  config = config_of(2)
  config.derive.config.update(epochs=3, eval_every=2)
  plan = build.plan(config)
  two = [plan.space.unflatten([op] * 6) for op in (2, 3)]
  report = functools.partial(cost.report, plan, two[:1], two[:1])
  without, found = (report(tried, 1.0) for tried in ([], two))
  more = found["flops"] - without["flops"]
  expected = 0.0
  final = plan.finalist.experiment
  for arch in two:
    shapes = cost.shapes(final.task, final.train, arch)
    batch = final.held.shapes()
    once = cost.one_reward(final.task, arch, *shapes[:2], batch)
    step = cost.child_step(final.task, arch, *shapes)
    expected += 3 * final.child_steps * step
    # After two and after three epochs, and at the end.
    expected += 3 * final.held.steps * once
  assert more == pytest.approx(expected)
  assert 2 * found["flops_each"]["finalist"] == pytest.approx(expected)
  text = " ".join(words.cost(found))
  assert "2 finalists trained" in text
  assert "finalists" not in " ".join(words.cost(without))
