"""Strategies side by side: on the benchmark's truth alone, and as searches."""

import json
import subprocess
import sys

import numpy as np
import pytest
from test_benchmark import TABLE
from test_main import answers
from test_run import tiny_texts

from enas_jax import build, folder, run
from enas_jax.configs import nasbench201, pydoc_recurrent
from enas_jax.derive import benchmark
from enas_jax.errors import ConfigError
from enas_jax.keeper import Diverged
from enas_jax.report.display import Display
from enas_jax.spaces.nasbench201 import NasBench201
from enas_jax.strategies import STRATEGIES
from experiments import many
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
    archs = config.strategy.archs
    rows = experiment.sampled(
        table, strategy, samples=500, archs=archs, seeds=seeds
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
  table = benchmark.Benchmark(
      "",
      np.zeros((200, 6)),
      test,
      100 - test,
      None,
      None,
      {},
      200,
      trainings=test[:, None],
  )
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


def result(plan, workdir):
  """A stand-in of `run.run`: what a search of this seed found."""
  seed = plan.record["seed"]
  good = plan.record["strategy"]["name"] == "reinforce"
  ranking = {"kendall": 0.1 * seed, "kendall_95": [0.0, 1.0]}
  return {
      "metric": "accuracy",
      "scores": {"policy": {"best": 0.5 + good, "mean": 0.5, "count": 3}},
      "benchmark": {
          "test_accuracy": 90.0 + seed * (1 + good),
          "rank": 7,
          "regret": 1.0,
          "mean_of_policy": 88.0,
          "ranking": None if seed == 5 else ranking,
          "baselines": {
              "largest": {"test_accuracy": 93.5, "rank": 9},
              "kendall_params": 0.25,
              "kendall_flops": 0.5,
          },
      },
      "cost": {"seconds": 60.0, "flops": 2e9 + 1},
      "worth": {
          "equivalent": 10.0**seed,
          "cost": 0.5,
          "gain": 2 * 10.0**seed,
          "percentile": 90.0,
          "random_alone": 87.0,
      },
  }


def shown(found, log):
  display = Display(log)
  experiment.show(found, display)
  display.close()
  return log.read_text()


def test_a_comparison_is_of_means_and_of_differences_by_seed(
    tmp_path, monkeypatch
):
  asked = []

  def ask(plan, workdir):
    record = plan.record
    asked.append((record["strategy"]["name"], record["seed"], workdir))
    return result(plan, workdir)

  monkeypatch.setattr(run, "run", ask)
  config = nasbench201.get_config("smoke")
  names = ["reinforce", "random"]
  found = experiment.compared(config, names, [2, 5], str(tmp_path / "W"))
  assert asked == [
      (name, seed, str(tmp_path / "W" / f"{name}_{seed}"))
      for seed in (2, 5)
      for name in names
  ]
  assert found["judge"] == "test_accuracy"
  ours, chance = found["strategies"].values()
  assert ours["test_accuracy"] == {"mean": 97.0, "std": 3.0}
  assert chance["test_accuracy"] == {"mean": 93.5, "std": 1.5}
  assert ours["minus_random"] == {"mean": 3.5, "std": 1.5}
  assert "minus_random" not in chance
  assert ours["kendall"] == {"mean": 0.2, "std": None}  # of those that are
  assert ours["retrained"] == {"mean": None, "std": None}
  assert [row["kendall"] for row in ours["per_seed"]] == [0.2, None]
  assert ours["per_seed"][0]["kendall_95"] == [0.0, 1.0]
  assert ours["largest"] == {"mean": 93.5, "std": 0.0} == chance["largest"]
  assert ours["kendall_params"]["mean"] == 0.25
  assert ours["kendall_flops"]["mean"] == 0.5
  # A search is worth factors, of 10^2 and 10^5 trainings here.
  assert ours["equivalent"]["mean"] == pytest.approx(10**3.5)
  assert ours["equivalent"]["interval"] == pytest.approx([1e2, 1e5])
  assert ours["gain"]["mean"] == pytest.approx(2 * 10**3.5)
  assert ours["random_alone"] == {"mean": 87.0, "std": 0.0}
  json.dumps(found, allow_nan=False)
  table = shown(found, tmp_path / "log.txt")
  assert "3,162.28 [100.00, 100,000.00]" in table
  assert "Mean and std over the seeds 2, 5" in table
  assert "97.00 ± 3.00" in table and "2.00e+09" in table
  assert "retrained" not in table
  # What cannot work dies before any of them runs.
  asked.clear()
  config.evolution.tournament = 21
  with pytest.raises(ConfigError, match=r"config\.evolution\.tournament"):
    experiment.compared(
        config, ["random", "evolution"], [0], str(tmp_path / "V")
    )
  assert not asked and not (tmp_path / "V").exists()


def test_searches_that_are_launched_are_compared_alike(tmp_path, monkeypatch):
  def bring(made, display):
    for each in made.rest[:-1]:  # the last one fails
      plan = build.plan(each.config)
      folder.write_json(
          folder.claim(each.path, plan.record) / "result.json",
          result(plan, each.path),
      )

  monkeypatch.setattr(run, "run", result)
  monkeypatch.setattr(many, "bring", bring)
  monkeypatch.setattr(
      many, "ready", lambda runs, path: many.Ready(path, runs, [])
  )
  config = nasbench201.get_config("smoke")
  args = [config, ["reinforce", "random"], [2, 5], str(tmp_path / "W")]
  whole = experiment.compared(*args)
  found = experiment.compared(*args, launched=True)
  ours, chance = found["strategies"].values()
  assert ours["per_seed"] == whole["strategies"]["reinforce"]["per_seed"]
  assert chance["per_seed"][1] == {"seed": 5}
  assert ours["minus_random"]["std"] is None  # of the seed that both have
  assert (tmp_path / "W" / "log.txt").exists()


def test_a_search_that_diverges_leaves_the_others_their_table(
    tmp_path, monkeypatch
):
  def diverge(plan, workdir):
    record = plan.record
    if record["seed"] == 5 or record["strategy"]["name"] == "random":
      raise Diverged("a number is not finite")
    return result(plan, workdir)

  monkeypatch.setattr(run, "run", diverge)
  config = nasbench201.get_config("smoke")
  found = experiment.compared(
      config, ["random", "reinforce"], [2, 5], str(tmp_path / "W")
  )
  chance, ours = found["strategies"].values()
  assert chance["test_accuracy"]["mean"] is None
  assert chance["per_seed"] == [{"seed": 2}, {"seed": 5}]
  assert ours["test_accuracy"]["std"] is None  # of one that is left
  assert ours["minus_random"]["mean"] is None
  with pytest.raises(Diverged):
    experiment.compared(config, ["random"], [2], str(tmp_path / "W"))


def test_a_folder_of_another_config_is_found_before_any_search(
    tmp_path, monkeypatch
):
  monkeypatch.setattr(run, "run", None)
  config = nasbench201.get_config("smoke")
  other = config.copy_and_resolve_references()
  other.strategy.name, other.seed, other.child.lr = "random", 5, 0.5
  folder.claim(tmp_path / "random_5", build.plan(other).record)
  with pytest.raises(ConfigError, match=r"child\.lr \(0\.5 there"):
    experiment.compared(config, ["random"], [2, 5], str(tmp_path))


def test_finished_searches_are_compared_without_running_again(tmp_path):
  config = pydoc_recurrent.get_config("smoke")
  config.epochs = 1
  config.retrain.random, config.retrain.config = 0, {}
  config.retrain.command = "configs/pydoc_recurrent_final.py:smoke"
  config.data.update(name="ptb", path=tiny_texts(tmp_path / "texts"))
  args = [config, ["random"], [0], str(tmp_path)]
  first = experiment.compared(*args)
  log = (tmp_path / "random_0" / "log.txt").read_text()
  assert experiment.compared(*args) == first
  assert (tmp_path / "random_0" / "log.txt").read_text() == log
  random = first["strategies"]["random"]
  kept = json.loads((tmp_path / "random_0" / "arch.json").read_text())
  assert random["best"]["mean"] == kept["scores"]["policy"]["best"]
  assert random["seconds"]["mean"] == kept["cost"]["seconds"] > 0
  assert first["judge"] == "best"
  table = shown(first, tmp_path / "log.txt")
  assert "Seed 0" in table and "±" not in table


def test_a_mistake_is_one_line_and_nothing_is_written(tmp_path):
  config, workdir = "--config=configs/nasbench201.py:smoke", "--workdir=W"
  cases = [
      ([], "--config: give it or --table, and not both."),
      ([config, "--table=T"], "--config: give it or --table, and not both."),
      ([config, "--seeds=1,1"], "--seeds: must be different whole numbers"),
      ([config, "--seeds=4294967296"], "--seeds: must be different whole"),
      ([config, "--config.strategy.name=random"], "--config.strategy.name: "),
      ([config, "--strategies=fixed"], "--strategies: unknown strategy"),
      ([config, "--strategies="], "--strategies: at least one"),
      ([config, "--config.seed=1"], "--config.seed: does nothing here; give"),
      ([config, "--strategy=random"], "--strategy: does not go with --config."),
      (["--table=T", "--strategies=random"], "--strategies: does not go with"),
      ([config, "--sedes=1"], "--sedes: no such flag. Did you mean '--seeds'"),
      ([config, "--config.epoch=1"], "config.epoch: no such key. Did you mean"),
      ([config, "--config.epochs=0"], "config.epochs: must be a whole"),
      (["--config=configs/nasbench201_final.py:smoke"], "--config: it trains"),
      (["--table=T", "--samples=0"], "--samples: 0 is not a positive integer"),
      ([config, "--slurm=time=5"], "--slurm: does not go with --launch="),
      (["--table=T", "--at_once=2"], "--at_once: does not go with --table."),
      (["--table=T", workdir], "--workdir: does not go with --table."),
      (["--table=none.npz"], "--table: there is no file 'none.npz'."),
      (["--table=."], "--table: there is no file '.': it is a folder."),
  ]
  cases = [
      ([*args, workdir] if config in args else args, message)
      for args, message in cases
  ]
  program = "experiments.search_vs_random"
  for (_, message), (code, text, files) in zip(
      cases, answers(cases, str(tmp_path), program), strict=True
  ):
    assert (code, text.count("\n"), files) == (2, 1, [])
    assert text.startswith(f"error: {message}")
