"""Searches and trainings as calls, and trainings that go on from a model."""

import json
import re
import shutil

import jax
import numpy as np
from PIL import Image
import pytest
from test_main import answers

import enas_jax
from enas_jax import build, data, folder, keeper, modelfile
from enas_jax.configs import (
  digits_micro,
  digits_micro_final,
  ptb_lstm_final,
  pydoc_recurrent_final,
)
from enas_jax.errors import ConfigError

CELL = "0 1 1 2 " * 4  # of two nodes


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
  """Folders of five and of ten digits, and of five turned to negatives."""
  root = tmp_path_factory.mktemp("pictures")
  digits = data.load("digits")
  for part, images in (("train", digits.train()), ("test", digits.test())):
    for number, (pixels, label) in enumerate(
        zip(images.images[:160], images.labels[:160], strict=True)
    ):
      pixels = pixels[..., 0]
      kind = f"d{label}"
      places = [("ten", kind, pixels)]
      if label < 5:
        places += [("five", kind, pixels), ("odd", kind, 255 - pixels)]
      for name, kind, drawn in places:
        place = root / name / part / kind
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn).save(place / f"{number:03}.png")
  return root


def training(pictures, name="five", **changes):
  config = digits_micro_final.get_config("smoke")
  config.data = {
      "name": "folder", "path": str(pictures / name), "eval_batch": 32
  }
  config.space.nodes = 2
  config.arch = CELL
  config.child.batch = 16
  config.update(changes)
  return config


@pytest.fixture(scope="module")
def five(pictures, tmp_path_factory):
  """The run of a training on five digits."""
  path = tmp_path_factory.mktemp("five") / "run"
  return path, enas_jax.train(training(pictures), path)


def first(config):
  """The weights and averages before the first step, by name."""
  experiment = build.plan(config).experiment
  params, state = experiment.task.init(
      jax.random.key(0), experiment.train.shapes(), experiment.arch
  )
  return modelfile.named({"params": params, **state})


def test_a_training_is_a_call(five, capsys):
  path, trained = five
  result = json.loads((path / "result.json").read_text())
  assert trained.folder == path and trained.encoding == result["encoding"]
  assert trained.scores["test/accuracy"] == result["test/accuracy"]
  assert trained.parameters == result["parameters"]
  assert trained.arch.normal.dtype == np.int32
  assert trained.model().classes == [f"d{n}" for n in range(5)]
  assert capsys.readouterr().out == ""


def test_each_call_runs_its_own_kind_of_config(tmp_path):
  search = digits_micro.get_config("smoke")
  with pytest.raises(ConfigError, match="config: searches; enas_jax"):
    enas_jax.train(search, tmp_path / "run")
  final = digits_micro_final.get_config("smoke")
  with pytest.raises(ConfigError, match="trains one network; enas_jax"):
    enas_jax.search(final, tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_a_training_goes_on_from_all_weights_of_its_own_classes(
    pictures, five
):
  path, _ = five
  held = modelfile.named(enas_jax.load(path).variables)
  begun = first(training(pictures, init=str(path)))
  assert begun.keys() == held.keys()
  for name, leaf in begun.items():
    np.testing.assert_array_equal(leaf, held[name])


# More classes; as many of other names.
@pytest.mark.parametrize("name", ["ten", "renamed"])
def test_for_other_classes_the_head_starts_afresh_and_it_says_so(
    pictures, five, tmp_path, name
):
  path, _ = five
  if name == "renamed":
    for part in ("train", "test"):
      for kind in (pictures / "five" / part).iterdir():
        place = tmp_path / "renamed" / part / f"new {kind.name}"
        shutil.copytree(kind, place)
  where = tmp_path if name == "renamed" else pictures
  config = training(where, name, init=str(path / "model"))
  held = modelfile.named(enas_jax.load(path).variables)
  begun, alone = first(config), first(training(where, name))
  same = {
      key for key, leaf in begun.items()
      if leaf.shape == held[key].shape and np.all(leaf == held[key])
  }
  fresh = sorted({*begun} - same)
  assert fresh and all("classifier" in key.lower() for key in fresh)
  for key in fresh:
    np.testing.assert_array_equal(begun[key], alone[key])
  trained = enas_jax.train(config, tmp_path / "run")
  log = (tmp_path / "run" / "log.txt").read_text()
  assert "starts afresh: " + ", ".join(fresh) in log
  assert len(trained.model().classes) == (10 if name == "ten" else 5)
  record = json.loads((tmp_path / "run" / "config.json").read_text())
  assert re.fullmatch("[0-9a-f]{64}", record["init_sha256"])


@pytest.mark.parametrize(
    "files", [ptb_lstm_final, pydoc_recurrent_final], ids=["lstm", "recurrent"]
)
def test_a_text_model_goes_on_and_other_words_start_afresh(files, tmp_path):
  spoken = ["".join("abcdefg"[n * n % 7] + " " for n in range(32 * 60))]
  spoken.append(spoken[0].replace("a", "h i"))
  for name, text in zip(("one", "two"), spoken, strict=True):
    (tmp_path / name).mkdir()
    for part in ("train", "valid", "test"):
      (tmp_path / name / f"{part}.txt").write_text(text)

  def config(name, **changes):
    made = files.get_config("smoke")
    made.data.update(name="ptb", path=str(tmp_path / name))
    made.update(changes)
    return made

  path = tmp_path / "run"
  enas_jax.train(config("one"), path)
  held = modelfile.named(enas_jax.load(path).variables)
  more = {"init": str(path)}
  if "arch" in config("one"):
    more["arch"] = str(path)
  for name, other in (("one", 0), ("two", 2)):
    begun = {
        key: leaf for key, leaf in first(config(name, **more)).items()
        if key in held  # no carry of a text
    }
    assert begun.keys() == held.keys()
    unlike = {
        key for key, leaf in begun.items()
        if leaf.shape != held[key].shape or np.any(leaf != held[key])
    }
    assert len(unlike) <= other and bool(unlike) is bool(other), unlike


def test_on_other_pictures_a_kernel_as_large_as_its_map_starts_afresh(
    pictures, five
):
  path, _ = five
  for size, fresh in ((None, ()), (32, ("params/aux/Conv_1/kernel",))):
    config = training(pictures, init=str(path))
    config.data.size = size
    plan = build.plan(config)
    assert plan.start.fresh == fresh
  experiment = plan.experiment
  shapes = jax.eval_shape(
      lambda key: experiment.task.init(
          key, experiment.train.shapes(), experiment.arch
      ),
      jax.random.key(0),
  )[0]
  assert shapes["aux"]["Conv_1"]["kernel"].shape[:2] == (2, 2)


def test_another_network_is_refused_with_the_flags_that_make_it_the_same(
    pictures, five
):
  path, _ = five
  config = training(pictures, init=str(path), arch="0 1 1 0 " * 4)
  with pytest.raises(ConfigError, match=rf"add --config\.arch={path}\.$"):
    build.plan(config)
  config.arch = str(path)  # what a training has left names its arch
  config.network.filters = 8
  with pytest.raises(ConfigError, match=r"add --config\.network\.filters=4\."):
    build.plan(config)
  config.init = str(pictures)
  with pytest.raises(ConfigError, match=r"config\.init: .*has no model/model"):
    build.plan(config)
  config = digits_micro.get_config("smoke")
  config.retrain.config.init = str(path)
  with pytest.raises(ConfigError, match=r"retrain\.config\.init: does nothing"):
    build.plan(config)


def test_more_epochs_are_answered_with_the_command_that_goes_on(
    five, pictures, tmp_path
):
  path, _ = five
  again = training(pictures, epochs=9)
  with pytest.raises(folder.OtherConfig, match=r"epochs \(2 there, 9 here\)"):
    enas_jax.train(again, path)
  file = tmp_path / "own.py"
  file.write_text(f"""
from enas_jax.configs import digits_micro_final

def get_config():
  config = digits_micro_final.get_config("smoke")
  config.data = {training(pictures).data.to_dict()!r}
  config.space.nodes = 2
  config.arch = {CELL!r}
  config.child.batch = 16
  return config
""")
  asked = [f"--config={file}", "--config.epochs=9", "--workdir", str(path)]
  (tmp_path / "first").mkdir()
  [[code, text, _]] = answers([(asked, "")], str(tmp_path / "first"))
  assert code == 2
  found = re.fullmatch(
      r"error: --config\.epochs: .* was trained for 2 epochs, .*: python main"
      r" (.*)\n",
      text.splitlines(keepends=True)[-1],
  )
  args = found[1].split()
  assert f"--config.init={path}" in args and "--config.epochs=7" in args
  assert f"--workdir={path}_more" in args and "--workdir" not in args


def test_what_changes_no_result_is_no_reason_to_refuse(
    pictures, five, tmp_path, monkeypatch
):
  path, trained = five
  moved = tmp_path / "moved"
  shutil.copytree(pictures / "five", moved)
  other = training(tmp_path, "moved", checkpoint_seconds=1.0)
  assert enas_jax.train(other, path).scores == trained.scores
  run = tmp_path / "run"
  # Of its last epoch on, the number of epochs that a metrics file has.
  with monkeypatch.context() as patched:
    def stopped(self, epoch, values):
      if epoch:
        raise KeyboardInterrupt
    patched.setattr(keeper.Keeper, "_epoch", stopped)
    patched.setattr(keeper.Keeper, "_due", lambda self, step: True)
    with pytest.raises(KeyboardInterrupt):
      enas_jax.train(training(pictures), run)
  with pytest.raises(ConfigError, match="began on other data than"):
    enas_jax.train(training(pictures, "odd"), run)
  before = (run / "config.json").read_text()
  refused = pytest.raises(ConfigError, match="another process is at work")
  with folder.locked(run, print), refused:
    enas_jax.train(other, run)
  assert (run / "config.json").read_text() == before
  resumed = enas_jax.train(other, run)
  assert resumed.scores == trained.scores
  record = json.loads((run / "config.json").read_text())
  assert record["data"]["path"] == str(moved)
  for key, value in (("seed", 1), ("eval_every", 2)):
    with pytest.raises(ConfigError, match=rf"another config: {key} \("):
      enas_jax.train(training(pictures, **{key: value}), run)
