"""What is told of the data: live, in the log, and in the folder of a run."""

import contextlib

import numpy as np
from PIL import Image
import pytest

from enas_jax import build, calls, main, run
from enas_jax.configs import cifar_macro, ptb_recurrent
from enas_jax.report import classes, words


def config_of(root, names):
  for split, count in (("train", 24), ("test", 1)):
    for number, name in enumerate(names):
      for i in range(count):
        path = root / split / name / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 40 * number + i).save(path)
  (root / "train" / "@eaDir").mkdir()
  config = cifar_macro.get_config("smoke")
  config.space.update(layers=2, operations="avg_pool_3x3,max_pool_3x3")
  config.data.update(name="folder", path=str(root), valid=4, size=None)
  config.child.batch = config.data.eval_batch = 2
  return config


@pytest.fixture
def config(tmp_path):
  return config_of(tmp_path / "D", ["1", "2", "10"])


def test_what_is_read_is_told_at_once_and_logged(config, tmp_path, monkeypatch):
  told = []
  plan = build.plan(config, tell=told.append)
  train = tmp_path / "D" / "train"
  assert told == [*plan.notes] == [
      f"Left out of {train}: 1 file or folder of a system: @eaDir.",
      "Pictures are read as 8 x 8 pixels in 1 channel.",
      f"Read 72 pictures in {train} in 0:00:00.",
  ]
  monkeypatch.setattr(run, "_search", lambda stage: {"done": True})
  run.run(plan, str(tmp_path / "W"))
  log = (tmp_path / "W" / "log.txt").read_text().splitlines()
  assert log[1:4] == told
  assert log[4] == (
      "3 classes, numbered from 0 in this order (labels.txt): 1, 2, 10."
  )
  assert log[5] == (
      "Pictures: 68 to train on (1: 23, 2: 23, 10: 22), 4 to validate on (1: 1,"
      " 2: 1, 10: 2)."
  )
  assert (tmp_path / "W" / "labels.txt").read_text() == "1\n2\n10\n"


def test_a_learning_rate_that_ends_high_is_told(config):
  config.epochs = 3
  assert build.plan(config).notes[-1] == (
      "The learning rate ends amid a cycle, at 0.05: with child.lr_first = 2 a"
      " cycle ends after 2 or 6 epochs, not after 3."
  )


def test_a_line_is_told_once(config, tmp_path, monkeypatch):
  told = []
  make = build.plans._search

  def twice(config, sources):
    make(config, sources)
    return make(config, {})

  monkeypatch.setattr(build.plans, "_search", twice)
  build.plan(config, tell=told.append)
  assert len([line for line in told if line.startswith("Left out")]) == 1


def test_classes_that_are_called_by_their_numbers_need_no_line():
  config = cifar_macro.get_config("smoke")
  config.space.update(layers=2, operations="avg_pool_3x3,max_pool_3x3")
  assert classes.named(build.plan(config)) == ""


def test_a_command_and_a_call_that_shows_tell_it(
    config, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(run, "_search", lambda stage: {})
  found = config, str(tmp_path / "W")
  flags = {"config": found[0], "workdir": found[1]}
  holder = type("Flags", (), {**flags, "__getitem__": lambda *_: _Given})()
  monkeypatch.setattr(main.hosts, "join", lambda *flags: None)
  monkeypatch.setattr(main.flags, "FLAGS", holder)
  main.main()
  assert capsys.readouterr().out.count("Read 72 pictures in") == 1
  for show in (True, False):
    with contextlib.suppress(KeyError):  # what is derived is not there
      calls.search(config, tmp_path / f"W{show}", show=show)
    assert capsys.readouterr().out.count("Read 72 pictures in") == show


class _Given:
  value = "given"


def test_candidates_that_all_score_alike_are_told(
    config, tmp_path, monkeypatch
):
  plan = build.plan(config)
  encoding = [0, 1, 0]

  def line(source, score):
    return {
        "source": source,
        "accuracy": score,
        **dict.fromkeys(("params", "flops", "seconds"), 1.0),
        "encoding": encoding,
    }

  def log_of(name, *scores):
    monkeypatch.setattr(run, "_fit", lambda stage: None)
    lines = [
        line(source, score)
        for source, score in zip(("policy", "random"), scores, strict=True)
    ]
    monkeypatch.setattr(run, "_scored", lambda *unused: lines)
    monkeypatch.setattr(run, "_finalists", _stop)
    with pytest.raises(KeyboardInterrupt):
      run.run(plan, str(tmp_path / name), show=False)
    return (tmp_path / name / "log.txt").read_text()

  assert words.ALIKE in log_of("alike", 1.0, 1.0)
  assert words.ALIKE not in log_of("apart", 1.0, 0.5)


def test_candidates_that_are_one_architecture_again_are_told():
  def ranked(policy, random):
    found = {"policy": policy, "random": random}
    return {
        source: [{"encoding": [n, 0]} for n in numbers]
        for source, numbers in found.items()
    }

  assert words.repeated(ranked([1, 2, 3], [1, 2])) == ""
  assert words.repeated(ranked([1, 1, 1], [1, 2])) == (
      "Not all candidates differ: 1 of the 3 of policy and 2 of the 2 of random"
      " are different architectures."
  )


def _stop(*unused):
  raise KeyboardInterrupt


def test_a_recipe_takes_over_how_a_text_becomes_words(tmp_path):
  for part in ("train", "valid", "test"):
    text = " ".join("abcdefgh"[n * n % 8] for n in range(4000))
    (tmp_path / f"{part}.txt").write_text(text)
  config = ptb_recurrent.get_config("smoke")
  config.data.update(
      name="ptb", path=str(tmp_path), vocabulary=4, unit="character"
  )
  plan = build.plan(config)
  assert plan.experiment.train.preprocess.splitter == "characters"
  assert len(plan.experiment.train.preprocess.vocabulary) == 4
  assert {
      "--config.data.vocabulary=4",
      "--config.data.unit=character",
  } < {*plan.command}
  assert np.max(plan.experiment.train.arrays) == 3
