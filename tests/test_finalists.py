"""Candidates that are trained alone before one is derived."""

import functools
import shutil

import pytest
from test_train import lines

from configs import nasbench201, nasbench201_final
from enas_jax import build, cost, data, derive, folder, progress, train


def config_of(finalists):
  config = nasbench201.get_config("smoke")
  config.derive.update(archs=6, random=2, finalists=finalists, by="score")
  config.derive.config = nasbench201_final.get_config("smoke")
  for each in (config, config.derive.config):
    each.epochs = 1
  config.strategy.warmup = 0
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
  result = train.run(config_of(2), str(run))
  found = result["finalists"]
  assert found[0]["trained"] >= found[1]["trained"]
  assert result["encoding"] == found[0]["encoding"]
  policy = {
      tuple(line["encoding"]): line["accuracy"]
      for line in lines(run / "derive.jsonl")
      if line["source"] == "policy"
  }
  best = sorted(policy.values())[-2:]
  assert sorted(line["accuracy"] for line in found) == best
  for n in range(2):
    (line,) = lines(run / "finalists" / str(n) / "metrics.jsonl")
    assert line["valid/accuracy"] in [one["trained"] for one in found]
  assert result["cost"]["finalists"] == 2
  assert result["cost"]["seconds"] > sum(one["seconds"] for one in found) > 0

  # Where all of them diverge the score derives.
  (run / "result.json").unlink()
  shutil.rmtree(run / "finalists")

  def diverging(final, workdir, signals):
    folder.claim(workdir, build.settled(final))
    raise train.Diverged("at step 7")

  again = train.run
  monkeypatch.setattr(train, "run", diverging)
  result = again(config_of(2), str(run))
  assert [one["trained"] for one in result["finalists"]] == [None, None]
  assert result["score"] == result["scores"]["policy"]["best"]
  log = (run / "log.txt").read_text()
  assert log.count("the best finalist") == log.count("the best by score") == 1


@pytest.fixture
def tried(tmp_path):
  """(measured, order, **of the config) -> lines of `_finalists`, best first.

  Nothing is trained; `measured` is by encoding, None: diverged.
  """

  def run(measured, order, penalty=None, **derived):
    config = config_of(3)
    config.derive.update(derived)
    parts = build.experiment(config)
    if penalty:
      order = [{**line, "penalty": penalty[line["encoding"][0]]}
               for line in order]

    def trained(final, path):
      assert final.data.measure == "valid"
      assert final.data.valid == config.data.valid
      path.mkdir(parents=True)
      folder.write_json(path / "result.json", {})
      encoding = [int(value) for value in final.arch.split()]
      value = measured[encoding[0]]
      return {} if value is None else {"valid/accuracy": value}

    display = progress.Display(tmp_path / "log.txt")
    try:
      return derive._finalists(config, parts, order, tmp_path, display, trained)
    finally:
      display.close()

  return run


def order_of(*firsts):
  return [
      {"encoding": [first] * 6, "accuracy": 0.5, "source": "policy"}
      for first in firsts
  ]


def firsts(found):
  return [line["encoding"][0] for line in found]


def test_each_is_trained_once_in_the_order_given(tried):
  measured = {0: 0.1, 1: 0.3, 2: 0.2}
  found = tried(measured, order_of(2, 0, 2, 1, 3))
  assert firsts(found) == [1, 2, 0]
  assert [line["trained"] for line in found] == [0.3, 0.2, 0.1]


def test_one_that_diverged_comes_last(tried):
  found = tried({0: None, 1: 0.1, 2: float("nan")}, order_of(0, 1, 2))
  assert firsts(found)[0] == 1


def test_the_objective_counts_among_finalists(tried):
  penalty = {0: 0.0, 1: 0.5, 2: 0.0}
  measured = {0: 0.1, 1: 0.3, 2: 0.2}
  assert firsts(tried(measured, order_of(0, 1, 2), penalty)) == [2, 0, 1]


def test_without_finalists_nothing_is_trained(tried):
  assert tried({}, order_of(0, 1), finalists=0) == []


def test_the_cost_of_a_search_has_that_of_its_finalists():
  config = config_of(2)
  config.derive.config.update(epochs=3, eval_every=2)
  parts = build.experiment(config)
  arch = parts.space.unflatten([0, 1, 2, 3, 4, 3])
  report = functools.partial(cost.report, config, parts, [arch], [arch])
  without, found = (report([arch] * n, 1.0) for n in (0, 2))
  final = build.experiment(
      build.finalist(config, parts.space.flatten(arch))
  )
  task = final.task
  shapes = cost.shapes(task, final.train, arch)
  steps = 3 * final.child_steps * cost.child_step(task, arch, *shapes)
  batch = cost._batch(final.held)
  passes = 2 * final.held.steps * cost._reward(task, arch, *shapes[:2], batch)
  more = found["flops"] - without["flops"]
  assert more == pytest.approx(2 * (steps + passes))
  assert passes > 0
  text = " ".join(cost.lines(found))
  assert "2 finalists trained" in text
  assert "finalists" not in " ".join(cost.lines(without))
