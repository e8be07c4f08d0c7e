"""Candidates that are trained alone before one is derived."""

import functools
import json

import jax
import numpy as np
import pytest
from test_spaces import SMALL
from test_train import lines

from configs import (
  digits_micro,
  digits_micro_final,
  nasbench201,
  nasbench201_final,
)
from enas_jax import build, cost, data, derive, folder, progress, train
from enas_jax.errors import ConfigError
from enas_jax.spaces import SPACES
from enas_jax.strategies import STRATEGIES
from enas_jax.strategies.evolution import mutants, neighbours


def config_of(finalists):
  config = nasbench201.get_config("smoke")
  config.derive.update(finalists=finalists, by="score")
  config.derive.config = nasbench201_final.get_config("smoke")
  for each in (config, config.derive.config):
    each.epochs = 1
  return config


def test_the_best_finalist_by_validation_is_derived(tmp_path, monkeypatch):
  load = data.DATASETS["synthetic"]

  def never():
    raise AssertionError("the test split was read")

  def blind(**args):
    return load(**args)._replace(test=never)

  # Its signature says what may be asked of it.
  functools.update_wrapper(blind, load)
  monkeypatch.setitem(data.DATASETS, "synthetic", blind)
  run = tmp_path / "run"
  with monkeypatch.context() as patched:
    _stop_after(patched, finalists=1)
    with pytest.raises(folder.Interrupted):
      train.run(config_of(2), str(run))
  result = train.run(config_of(2), str(run))
  found = result["finalists"]
  assert found[0]["trained"] >= found[1]["trained"]
  assert result["encoding"] == found[0]["encoding"]
  assert result["score"] == found[0]["accuracy"]
  trained = {tuple(one["encoding"]): one["trained"] for one in found}
  for n in range(2):
    own = json.loads((run / "finalists" / str(n) / "result.json").read_text())
    assert own["valid/accuracy"] == trained[tuple(own["encoding"])]
    (line,) = (one for one in found if one["number"] == n)
    assert line["encoding"] == own["encoding"]
  # The best by shared weights, and one that differs from it in one choice.
  policy = [
      line
      for line in lines(run / "derive.jsonl")
      if line["source"] == "policy"
  ]
  best = max(policy, key=lambda line: line["accuracy"])["encoding"]
  (near,) = set(trained) - {tuple(best)}
  assert sum(a != b for a, b in zip(near, best, strict=True)) == 1
  assert result["cost"]["finalists"] == 2
  assert result["cost"]["seconds"] > sum(one["seconds"] for one in found) > 0


def _stop_after(patched, finalists):
  """Interrupts a run after so many of its finalists."""
  run, count = train.run, 0

  def stopped(config, workdir, signals=None):
    nonlocal count
    if "arch" in config:
      if count == finalists:
        raise folder.Interrupted
      count += 1
    return run(config, workdir, signals)

  patched.setattr(train, "run", stopped)


@pytest.fixture
def tried(tmp_path, monkeypatch):
  """(trained, **of the config) -> lines of `_finalists`, best first.

  Nothing is trained or scored: `trained`, of an encoding, says what comes of
  it; None: it diverged.
  """

  def run(trained, best=(1, 1, 1, 1, 1, 1), penalty=None, **derived):
    config = config_of(3)
    config.derive.update(derived)
    parts = build.experiment(config)

    def line(parts, score, state, source, arch):
      encoding = parts.space.flatten(arch)
      taken = {"penalty": penalty(encoding)} if penalty else {}
      return {"source": source, "encoding": encoding, "accuracy": 0.5, **taken}

    monkeypatch.setattr(derive, "_line", line)

    def train(final, path):
      assert final.data.measure == "valid"
      assert final.data.valid == config.data.valid
      value = trained([int(value) for value in final.arch.split()])
      return {} if value is None else {"valid/accuracy": value}

    display = progress.Display(tmp_path / "log.txt")
    try:
      best = line(parts, None, None, "policy", parts.space.unflatten(best))
      return derive._finalists(
          config, parts, None, best, tmp_path, display, train
      )
    finally:
      display.close()

  return run


def test_all_neighbours_are_trained_where_there_is_room(tried):
  found = tried(lambda encoding: sum(encoding) / 99, finalists=25)
  encodings = {tuple(line["encoding"]) for line in found}
  assert len(found) == len(encodings) == 1 + 6 * 4
  changed = [sum(value != 1 for value in encoding) for encoding in encodings]
  assert sorted(changed) == [0] + [1] * 24
  values = [line["trained"] for line in found]
  assert values == sorted(values, reverse=True)


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
    build.experiment(config)


@pytest.mark.parametrize("recipe, got", [
    (digits_micro_final, "a final config of 'micro'"),
    (nasbench201, "a search of 'nasbench201'"),
])
def test_a_recipe_of_something_else_is_refused(recipe, got):
  config = config_of(2)
  config.derive.config = recipe.get_config("smoke")
  with pytest.raises(ConfigError) as caught:
    build.experiment(config)
  assert str(caught.value).startswith("config.derive.config: must be a final")
  assert str(caught.value).endswith(f"got {got}.")


def test_a_search_that_retrains_needs_no_other_recipe():
  config = digits_micro.get_config("smoke")
  config.derive.finalists = 2
  build.experiment(config)
  # Enough for a batch of the search, not of the recipe.
  config.data.update(valid=60, eval_batch=32)
  with pytest.raises(ConfigError, match=r"config\.retrain\.config\.data\.eval"):
    build.experiment(config)
  alike, final = build.retraining(config, [1]), build.finalist(config, [1])
  assert (alike.data.measure, final.data.measure) == ("test", "valid")
  alike.data, final.data = {}, {}
  assert final.to_dict() == alike.to_dict()


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
  monkeypatch.setattr(
      derive,
      "_finalists",
      lambda config, parts, state, best, *_: [
          {**best, "encoding": [0] * 6, "trained": float("nan"), "seconds": 0.0}
      ],
  )
  result = train.run(config_of(2), str(tmp_path / "run"))
  assert result["encoding"] != [0] * 6
  assert result["score"] == result["scores"]["policy"]["best"]


def test_the_cost_of_a_search_has_that_of_its_finalists():
  config = config_of(2)
  config.derive.config.update(epochs=3, eval_every=2)
  parts = build.experiment(config)
  two = [parts.space.unflatten([op] * 6) for op in (2, 3)]
  report = functools.partial(cost.report, config, parts, two[:1], two[:1])
  without, found = (report(tried, 1.0) for tried in ([], two))
  more = found["flops"] - without["flops"]
  expected = 0.0
  for arch in two:
    final = build.experiment(
        build.finalist(config, parts.space.flatten(arch))
    )
    task = final.task
    shapes = cost.shapes(task, final.train, arch)
    batch = final.held.shapes()
    once = cost._reward(task, arch, *shapes[:2], batch)
    expected += 3 * final.child_steps * cost.child_step(task, arch, *shapes)
    # After two and after three epochs, and at the end.
    expected += 3 * final.held.steps * once
  assert more == pytest.approx(expected)
  assert 2 * found["flops_each"]["finalist"] == pytest.approx(expected)
  text = " ".join(cost.lines(found))
  assert "2 finalists trained" in text
  assert "finalists" not in " ".join(cost.lines(without))
