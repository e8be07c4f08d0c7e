"""Many runs of one experiment: what they are, and what is told of them."""

import csv
import json
import os
import subprocess
import sys

from absl import flags
import pytest
from test_main import answers
from test_run import tiny_texts

from enas_jax import build, command, folder
from enas_jax.build import configfile
from enas_jax.configs import digits_micro_final
from enas_jax.errors import ConfigError
from enas_jax.report.display import Display
from experiments import many, sweep

ROOT = sweep.__file__.rsplit("/", 2)[0]
LR = sweep.Axis("child.lr", ("0.1", "0.2"), (0.1, 0.2))


def grid(axes, seeds=(0,), seeded=False, path=None):
  config = digits_micro_final.get_config("smoke")
  return sweep.points(config, axes, [*seeds], path, seeded)


def test_a_grid_has_a_run_for_each_choice_and_seed(tmp_path):
  own = sweep.Axis("data.name", ("a/b",), ("a/b",))
  found = grid([LR, own], (3, 5), True, tmp_path)
  assert [point.run.name for point in found] == [
      f"lr={lr}_name=a-b_seed={seed}" for lr in (0.1, 0.2) for seed in (3, 5)
  ]
  last = found[-1].run
  assert last.path == tmp_path / last.name
  assert (last.config.child.lr, last.config.seed) == (0.2, 5)
  assert last.config.data.name == "a/b"  # of its own: none shares a config
  assert found[0].run.config.child.lr == 0.1
  # Two options of one word are told apart.
  other = sweep.Axis("augment.lr", ("1",), (1,))
  names = [point.run.name for point in grid([other, LR], path=tmp_path)]
  assert names[0] == "augment.lr=1_child.lr=0.1"
  odd = sweep.Axis("data.name", ("a/b", "a-b"), ("a/b", "a-b"))
  with pytest.raises(ConfigError, match="two runs would have the folder"):
    grid([odd], path=tmp_path)


def rows_of(failed=()):
  rows = []
  for n, lr in enumerate(("0.01", "0.1")):
    for seed in (0, 1, 2):
      row = {"run": f"{lr}_{seed}", "config.child.lr": lr, "seed": seed}
      if row["run"] in failed:
        rows.append({**row, "state": "it diverged."})
        continue
      score = 0.5 + 0.1 * n + 0.01 * seed
      more = {"test/accuracy": score, "parameters": 1200, "seconds": 2.0}
      rows.append({**row, "state": "ended", **more})
  return rows


def test_means_are_over_the_seeds_that_have_ended(tmp_path):
  axis = sweep.Axis("child.lr", ("0.01", "0.1"), (0.01, 0.1))
  rows = rows_of(failed=["0.1_1"])
  display = Display(tmp_path / "log.txt", show=False)
  sweep.show(rows, [axis], "test/accuracy", display)
  display.close()
  text = (tmp_path / "log.txt").read_text()
  assert "Mean and std over the seeds 0, 1, 2" in text
  assert "0.5100 ± 0.0082" in text and "0.6100 ± 0.0100" in text
  assert "3 of 3" in text and "2 of 3" in text and "1,200 ± 0" in text
  found = [*csv.DictReader(sweep._table(rows).splitlines())]
  assert [row["state"] for row in found].count("ended") == 5
  assert found[4]["state"] == "it diverged." and not found[4]["seconds"]
  assert float(found[5]["test/accuracy"]) == pytest.approx(0.62)


@pytest.mark.parametrize("values", [(0.01, 0.1), ("a", "b"), ()])
def test_a_plot_is_drawn_of_numbers_words_and_seeds(tmp_path, values):
  pytest.importorskip("matplotlib")
  axes = [sweep.Axis("child.lr", ("0.01", "0.1"), values)] if values else []
  file = tmp_path / "sweep.png"
  sweep.plot(rows_of(), axes, "test/accuracy", file)
  assert file.read_bytes().startswith(b"\x89PNG")
  sweep.plot(rows_of(), axes, "absent", file)  # nothing was measured


def test_runs_are_compared_by_the_best_there_is():
  found = {"seconds": 1.0, "valid/loss": 1, "test/loss": 2}
  assert many.judge([found]) == "valid/loss"
  assert many.judge([{**found, "test/perplexity": 3}]) == "test/perplexity"
  searched = {"test_accuracy": None, "best": 0.1, "mean": 0.1}
  assert many.judge([searched]) == "best"
  assert many.judge([searched, {**searched, "retrained": 0.2}]) == "retrained"
  result = {"test/accuracy": 0.5, "epochs": 3, "encoding": [1, 2]}
  assert many.measures(result) == {"test/accuracy": 0.5, "epochs": 3}


CONFIG = "--config=configs/digits_micro_final.py:smoke"


def test_a_mistake_is_one_line_and_nothing_is_written(tmp_path):
  lr = "--over=config.child.lr=0.1"
  cases = [
      ([lr], "--config: is required."),
      ([CONFIG], "--over: is required, or else --seeds."),
      ([CONFIG, "--over=child.lr=0.1"], "--over: must be config.KEY=VALUE"),
      ([CONFIG, "--over=config.child.lr"], "--over: must be config.KEY=VALUE"),
      ([CONFIG, "--over=config.child.lrr=1"], "config.child.lrr: no such key."),
      ([CONFIG, "--over=config.child.lr=x"], "config.child.lr: must be a num"),
      ([CONFIG, lr, lr], "--over: names an option twice."),
      ([CONFIG, f"{lr},0.1"], "--over: config.child.lr has a value twice."),
      ([CONFIG, f"{lr},0.10"], "--over: lr=0.1 and lr=0.10 are the same run."),
      ([CONFIG, "--over=config.seed=1"], "--over: give --seeds in place"),
      ([CONFIG, lr, "--config.child.lr=1"], "--config.child.lr: does nothing"),
      ([CONFIG, lr, "--config.seed=1", "--seeds=1"], "--config.seed: does"),
      ([CONFIG, "--seeds=1,1"], "--seeds: must be different whole numbers"),
      ([CONFIG, lr, "--at_once=0"], "--at_once: "),
      ([CONFIG, lr, "--slurm=time=5"], "--slurm: does not go with --launch="),
      ([CONFIG, lr, "--launch=slurm"], "--slurm: must say time=MINUTES"),
      ([CONFIG, lr, "--launch=slurm", "--slurm=5"], "--slurm: must be NAME="),
      ([CONFIG, lr, "--launch=here"], "--launch: "),
      # In the process that makes the plans.
      ([CONFIG, f"{lr},-1"], "config.child.lr: must be a number > 0, got -1."),
  ]
  cases = [([*args, "--workdir=W"], message) for args, message in cases]
  for (_, message), (code, text, files) in zip(
      cases,
      answers(cases, str(tmp_path), "experiments.sweep"),
      strict=True,
  ):
    assert (code, text.count("\n"), files) == (2, 1, [])
    assert text.startswith(f"error: {message}")


def test_an_option_is_one_of_the_part_that_another_flag_chooses(monkeypatch):
  def axes(values, *words):
    argv = ["sweep", CONFIG, f"--over=config.child.whole={values}", *words]
    found = flags.FlagValues()
    command.config_flag(found, argv)
    flags.DEFINE_multi_string("over", [], "", flag_values=found)
    found(argv)
    monkeypatch.setattr(flags, "FLAGS", found)
    return sweep._axes(found.over)

  with pytest.raises(ConfigError, match=r"config.child.whole: no such key\."):
    axes("true")
  # Only one of the two optimisers has it.
  for choice in (
      "--config.child.optimiser=sgd",
      "--over=config.child.optimiser=nesterov,sgd",
  ):
    assert axes("true,false", choice)[0].values == (True, False)
    with pytest.raises(ConfigError, match="must be true or false, got 'x'"):
      axes("x", choice)


def test_a_sweep_runs_what_is_not_finished_and_tells_what_diverges(tmp_path):
  own, path = tmp_path / "own.py", tmp_path / "W"
  own.write_text(
      "from enas_jax.configs import ptb_lstm_final\n"
      "def get_config():\n"
      "  config = ptb_lstm_final.get_config('smoke')\n"
      f"  config.data.update(name='ptb', path={tiny_texts(tmp_path / 't')!r})\n"
      "  config.epochs = 1\n"
      "  return config\n"
  )
  config = configfile.load("--config", str(own))
  config.child.lr = 0.3
  finished = folder.claim(path / "lr=0.3", build.record(config))
  folder.write_json(finished / "result.json", {"test/perplexity": 7.5})
  done = subprocess.run(
      [
          *(sys.executable, "-m", "experiments.sweep", f"--config={own}"),
          *(f"--workdir={path}", "--over=config.child.lr=0.1,1e30,0.3"),
      ],
      capture_output=True,
      text=True,
      cwd=ROOT,
      env={**os.environ, "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
  )
  assert done.returncode == 1
  assert done.stderr.startswith("error: 1 of 3 runs failed. The same command")
  log = (path / "log.txt").read_text()
  assert "3 runs in" in log and "1 are finished" in log
  assert "lr=0.1 ended after" in log and "lr=0.3 ended" not in log
  assert "lr=1e30 failed: a number of the child is not finite" in log
  result = json.loads((path / "lr=0.1" / "result.json").read_text())
  ended, failed, before = csv.DictReader(
      (path / "sweep.csv").read_text().splitlines()
  )
  assert float(ended["test/perplexity"]) == result["test/perplexity"]
  assert failed["state"].startswith("a number of the child")
  assert before["test/perplexity"] == "7.5"
  assert (path / "sweep.png").exists()
  assert not (path / "jobs" / "lr=0.1").exists()
