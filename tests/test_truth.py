"""A table of the truth: trained as the recipe trains, resumed, and read."""

import json
import math

import jax
from ml_collections import ConfigDict
import pytest
from test_run import tiny_texts

from enas_jax import build, evaluate, loop
from enas_jax.configs import proxy_recurrent
from enas_jax.derive import benchmark
from enas_jax.errors import ConfigError
from enas_jax.types import Benchmark
from experiments import ablations, truth


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
  config = proxy_recurrent.get_config("smoke")
  texts = tiny_texts(tmp_path_factory.mktemp("data") / "texts")
  config.data.update(name="ptb", path=texts)
  config.retrain.random = 0
  return build.plan(config)


def test_a_table_is_made_as_the_recipe_trains(plan, tmp_path, monkeypatch):
  archs = truth.drawn(plan, 2)
  entries = truth.made(plan, tmp_path, "likelihood", archs, seeds=2)
  final = plan.retrain.of(entries[1]["encoding"]).experiment
  final = final._replace(seed=1)
  state = loop.fit(final, loop.start(final))
  record = evaluate.evaluator(final.task, final.held, final.arch)(state)
  alone = 100 * math.exp(-float(record["loss"].value()))
  name = f"test_likelihood_{final.epochs}"
  assert entries[1][name][1] == pytest.approx(alone, rel=1e-4)
  # What is there is not trained again, and the rest of a cut line is dropped.
  file = tmp_path / truth.TABLE
  with file.open("a") as out:
    out.write('{"encoding": [0')
  monkeypatch.setattr(truth, "_entry", None)
  assert truth.made(plan, tmp_path, "likelihood", archs, 2) == entries
  with pytest.raises(ConfigError, match="has the likelihood, not the"):
    truth.made(plan, tmp_path, "accuracy", archs, 2)
  table = benchmark.read("key", str(file), plan.space)
  assert table.trainings.shape == (2, 2)
  assert json.loads(file.read_text().splitlines()[0])["training"] > 0
  searched = plan._replace(benchmark=table)
  benchmark.check_recipe("key", searched)
  config = ConfigDict(plan.record)
  config.space.scale += 1  # of the policy, and of no training
  sharper = build.plan(config)
  benchmark.check_recipe("key", sharper._replace(benchmark=table))
  assert benchmark.recipe(sharper.retrain) == table.recipe
  other = {**table.recipe, "child.lr": 3.0}
  with pytest.raises(ConfigError, match=r"with child\.lr = 3\.0, but config"):
    benchmark.check_recipe(
        "key", searched._replace(benchmark=table._replace(recipe=other))
    )
  with pytest.raises(ConfigError, match="must retrain as its table did"):
    benchmark.check_recipe("key", searched._replace(retrain=None))


def test_an_older_table_is_extended_where_its_recipe_is_the_same(
    plan, tmp_path, monkeypatch
):
  monkeypatch.setattr(truth, "_entry", lambda plan, train, arch: {
      "encoding": arch, "test_likelihood_1": [1.0, 2.0]
  })
  archs = truth.drawn(plan, 3)
  truth.made(plan, tmp_path, "likelihood", archs[:1], 2)
  file = tmp_path / truth.TABLE
  first, *rest = map(json.loads, file.read_text().splitlines())
  # Made when a recipe said this, too, and before there was another option.
  first["recipe"].update({"data.stream": True, "space.scale": 1.0})
  absent = next(k for k, v in first["recipe"].items() if v is None)
  del first["recipe"][absent]

  def write():
    lines = (json.dumps(line) + "\n" for line in (first, *rest))
    file.write_text("".join(lines))

  write()
  truth.made(plan, tmp_path, "likelihood", archs, 2)
  assert len(file.read_text().splitlines()) == 4
  first["recipe"]["child.lr"] = 3.0
  write()
  with pytest.raises(ConfigError, match=r"--workdir.*with child\.lr = 3\.0"):
    truth.made(plan, tmp_path, "likelihood", archs, 2)


def test_seeds_share_the_array_of_the_arch(plan, monkeypatch):
  # With an axis for the seeds every switch would run all its branches.
  class Seen(Exception):
    pass

  def epoch(experiment, state, *_):
    raise Seen(*({type(leaf).__name__ for leaf in jax.tree.leaves(part)}
                 for part in (state.strategy, state.params)))

  monkeypatch.setattr(truth, "_epoch", epoch)
  train = truth.trainer(plan.retrain.experiment, 2)
  with pytest.raises(Seen) as caught:
    next(train(plan.space.unflatten(truth.drawn(plan, 1)[0])))
  of_arch, of_params = caught.value.args
  assert "BatchTracer" not in of_arch and of_params == {"BatchTracer"}


def test_random_archs_are_different_and_always_the_same(plan):
  some, more = truth.drawn(plan, 5), truth.drawn(plan, 8)
  assert more[:5] == some and len(set(map(tuple, more))) == 8
  assert all(plan.space.flatten(plan.space.unflatten(e)) == e for e in more)


def table_of(values):
  """Returns a benchmark of made-up archs with these trainings."""
  rows = {(n,): n for n in range(len(values))}
  return Benchmark(
      "d", None, values.mean(1), None, None, None, rows, 9, values
  )


def test_how_far_a_table_can_be_trusted():
  values = 50 + jax.random.normal(jax.random.key(0), (400, 1)) * 2
  values = values + jax.random.normal(jax.random.key(1), (400, 2))
  table = table_of(jax.device_get(values).astype(float))
  found = truth.trust(table)
  assert found["noise"] == pytest.approx(1.0, rel=0.2)
  assert found["spread"] == pytest.approx(2.0, rel=0.2)
  assert 0.4 < found["retest_tau"] < 0.8
  # Of the archs that both know.
  fewer = table_of(table.trainings[:30])
  assert truth.agreement(table, fewer)["both"] == 30
  assert truth.agreement(table, fewer)["kendall"] == pytest.approx(1.0)


def test_ablations_judge_by_the_program_of_the_table(
    plan, tmp_path, monkeypatch
):
  archs = truth.drawn(plan, 3)
  truth.made(plan, tmp_path, "likelihood", archs, seeds=2)
  config = plan.record | {"epochs": 1}
  config = ConfigDict(config)
  config.benchmark = {"path": str(tmp_path / truth.TABLE), "data": ""}
  config.benchmark.training = 0.0
  known = build.plan(config)
  variants = ["configured", "random"]
  path = tmp_path / "searches"
  found = ablations.searched(config, variants, [0], path)
  worths = ablations.judged(known, found, path)
  table = benchmark.read("key", str(path / truth.TABLE), plan.space)
  for key, result in found.items():
    encoding = tuple(result["encoding"])
    assert worths[key]["value"] == table.test[table.rows[encoding]]
    assert not (path / f"{key[0]}_0" / "retrain").exists()
  out = ablations.compared(worths, variants)
  assert out["configured"]["ratio"]["mean"] == 1
  first, second = worths.values()
  assert out["random"]["ratio"]["mean"] == pytest.approx(
      second["equivalent"] / first["equivalent"]
  )
  # What has ended is not run again, and what was trained is not trained again.
  monkeypatch.setattr(truth, "_entry", None)
  again = ablations.searched(config, variants, [0], path)
  assert ablations.judged(known, again, path) == worths
  with pytest.raises(ConfigError, match=r"--variants: .*'nothing'"):
    ablations.changed(config, "nothing", 0)
  with pytest.raises(ConfigError, match=r"accuracy: no key config\.task"):
    ablations.changed(config, "accuracy", 0)
