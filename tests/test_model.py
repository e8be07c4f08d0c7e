"""What a final training leaves can be used, wherever it lies."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
from PIL import Image
import pytest

import enas_jax
from enas_jax import build, data, evaluate, loop, model, modelfile, run
from enas_jax.configs import (
  digits_micro_final,
  ptb_lstm_final,
  pydoc_recurrent_final,
)
from enas_jax.data.text import held
from enas_jax.errors import ConfigError
from enas_jax.spaces import SPACES
from enas_jax.spaces.micro.final import FinalCell
from enas_jax.types import SearchState
from experiments import mutations

ROOT = pathlib.Path(__file__).parent.parent
TESTS, NAMES = 60, [f"digit {n}" for n in range(10)]

# Runs where nothing of the training is left but its folder and test data.
FRESH = """
import json, pathlib, sys
import enas_jax
folder, data = sys.argv[1:]
model = enas_jax.load(folder)
if model.classes:
  files = sorted(pathlib.Path(data).glob("*/*.png"))
  guesses = [model.classes[model.predict(file).argmax()] for file in files]
  right = sum(g == f.parent.name for g, f in zip(guesses, files))
  print(json.dumps([right, model.evaluate(data).right, len(files)]))
else:
  words = json.loads(pathlib.Path(data).read_text())
  print(json.dumps(model.perplexity(words, model.content["text"]["rows"])))
"""


def trained(config, path):
  return run.run(build.plan(config), str(path))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
  """A folder of digits, and the run of a training on it."""
  root = tmp_path_factory.mktemp("pictures")
  digits = data.load("digits")
  for part, images, count in (
      ("train", digits.train(), 160),
      ("test", digits.test(), TESTS),
  ):
    pairs = zip(images.images[:count], images.labels[:count], strict=True)
    for number, (pixels, label) in enumerate(pairs):
      folder = root / "set" / part / NAMES[label]
      folder.mkdir(parents=True, exist_ok=True)
      Image.fromarray(pixels[..., 0]).save(folder / f"{number:03}.png")
  config = digits_micro_final.get_config("smoke")
  config.data = {"name": "folder", "path": str(root / "set"), "eval_batch": 32}
  config.space.nodes = 2
  config.arch = "0 1 1 0 " * 4
  config.epochs = 4
  config.child.batch = 16
  result = trained(config, root / "run")
  return root, result


def text_config(name):
  files = {"lstm": ptb_lstm_final, "recurrent": pydoc_recurrent_final}
  config = files[name].get_config("smoke")
  config.data.name = "pydoc"
  # Weights whose average is measured.
  config.child.update(average_after=0)
  return config


@pytest.fixture(scope="module", params=["recurrent", "lstm"])
def text(request, tmp_path_factory):
  """The run of a training on text."""
  path = tmp_path_factory.mktemp(request.param) / "run"
  return path, trained(text_config(request.param), path)


def fresh(*args):
  """What `FRESH` prints in a process of its own."""
  env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
  found = subprocess.run(
      [sys.executable, "-c", FRESH, *map(str, args)],
      env=env,
      capture_output=True,
      text=True,
      check=True,
  )
  return json.loads(found.stdout)


def test_a_moved_folder_is_right_of_as_many_images_without_its_data(
    pictures, tmp_path
):
  root, result = pictures
  shutil.copytree(root / "run" / "model", tmp_path / "elsewhere")
  shutil.copytree(root / "set" / "test", tmp_path / "test")
  (root / "set").rename(root / "gone")
  try:
    found = fresh(tmp_path / "elsewhere", tmp_path / "test")
  finally:
    (root / "gone").rename(root / "set")
  right = round(result["test/accuracy"] * TESTS)
  assert found == [right, right, TESTS]
  assert TESTS / 10 < right < TESTS  # neither by chance


def test_the_perplexity_is_that_of_the_training(text, tmp_path):
  path, result = text
  source = data.load("pydoc")
  words = [source.words.vocabulary[n] for n in source.test()]
  (tmp_path / "words.json").write_text(json.dumps(words))
  found = fresh(path, tmp_path / "words.json")
  assert found == pytest.approx(result["test/perplexity"], rel=1e-5)


def test_a_text_its_words_and_their_numbers_have_one_perplexity(text):
  loaded = enas_jax.load(text[0])
  content = "The value of x is 1.\n\nA list\n"
  words = ["the", "value", "of", "x", "is", "1", ".", "<eos>", "a", "list"]
  words.append("<eos>")
  numbers = data.load("pydoc").words.numbers(words)
  found = {loaded.perplexity(each) for each in (content, words, numbers)}
  assert len(found) == 1
  strange = ["the", "qqqq", "of"]
  assert loaded.perplexity(strange) == loaded.perplexity(["the", "<unk>", "of"])
  for wrong, message in (
      ("", "need 2 words"),
      (np.array([1, 10**6]), "below"),
      (np.array([1.0, 2.0]), "numbers must be"),
  ):
    with pytest.raises(ConfigError, match=message):
      loaded.perplexity(wrong)
  with pytest.raises(ConfigError, match="no network that reads pictures"):
    loaded.predict("x.png")


def test_a_long_text_is_read_as_the_training_reads_it_in_one_row(text):
  """Several segments, of which the last is short: the carry goes on."""
  loaded = enas_jax.load(text[0])
  numbers = data.load("pydoc").valid()[:101]
  length = loaded.content["text"]["length"]
  assert len(numbers) > 3 * length and (len(numbers) - 1) % length
  split = held(numbers, batch=1, length=length, part="test")
  measure = evaluate.evaluator(loaded._texts._parts.task, split, loaded.arch)
  nothing = dict.fromkeys(SearchState._fields)
  record = measure(
      SearchState(**{**nothing, "params": loaded.variables["params"]})
  )
  expected = float(record["perplexity"].value())
  assert loaded.perplexity(numbers) == pytest.approx(expected, rel=1e-6)


def test_the_files_say_what_was_trained(pictures):
  root, result = pictures
  content = json.loads((root / "run" / "model" / "model.json").read_text())
  assert content["format"] == 1
  assert content["space"]["name"] == "micro"
  assert content["space"]["nodes"] == 2
  assert content["arch"]["encoding"] == result["encoding"]
  assert content["arch"]["readable"][0].startswith("normal 2 = ")
  assert content["network"]["filters"] == 4 and content["network"]["final"]
  assert content["images"]["classes"] == NAMES
  assert content["images"]["shape"] == [8, 8, 1]
  assert content["metrics"] == json.loads(
      (root / "run" / "result.json").read_text()
  )
  assert content["versions"]["jax"] == jax.__version__
  loaded = enas_jax.load(root / "run")
  assert loaded.space.flatten(loaded.arch) == result["encoding"]
  sizes = jax.tree.map(np.size, loaded.variables["params"])
  assert sum(jax.tree.leaves(sizes)) == result["parameters"]
  assert set(loaded.variables) == {"params", "averages"}


def test_all_ways_to_give_a_picture_agree(pictures):
  root, _ = pictures
  loaded = enas_jax.load(root / "run", batch=4)
  files = sorted((root / "set" / "test").glob("*/*.png"))[:7]
  arrays = np.stack([np.asarray(Image.open(f))[..., None] for f in files])
  wanted = loaded.predict(arrays)
  assert wanted.shape == (7, 10) and wanted.dtype == np.float32
  np.testing.assert_allclose(wanted.sum(1), 1, rtol=1e-5)
  mixed = [files[0], str(files[1]), Image.open(files[2]), *arrays[3:]]
  np.testing.assert_array_equal(loaded.predict(mixed), wanted)
  for number, file in enumerate(files):
    one = loaded.predict(file)
    np.testing.assert_allclose(one, wanted[number : number + 1], rtol=1e-5)
  np.testing.assert_array_equal(
      loaded.predict(arrays[0]), loaded.predict(files[0])
  )
  assert loaded.predict([]).shape == (0, 10)
  assert loaded.probabilities._cache_size() == 1  # of batches of any size


def test_another_size_and_other_channels_are_brought_to_it(
    pictures, tmp_path
):
  root, _ = pictures
  loaded = enas_jax.load(root / "run")
  file = next((root / "set" / "test").glob("*/*.png"))
  small = Image.open(file)
  wanted = loaded.predict(small)
  rgba = Image.merge("RGBA", [small] * 3 + [Image.new("L", (8, 8), 255)])
  for same in (rgba, np.asarray(rgba), small.convert("RGB")):
    np.testing.assert_array_equal(loaded.predict(same), wanted)
  # Of another size it is what the reader of a folder makes of it.
  wide = Image.new("L", (40, 16), 255)
  wide.paste(small.resize((18, 16)), (11, 0))
  for part in ("train", "test"):
    for name in NAMES[:2]:
      (tmp_path / part / name).mkdir(parents=True)
      wide.save(tmp_path / part / name / "wide.png")
  read = data.load("folder", path=str(tmp_path), size=8).test().images[:1]
  path = tmp_path / "test" / NAMES[0] / "wide.png"
  for same in (wide, path, np.asarray(wide)[..., None]):
    np.testing.assert_array_equal(loaded.predict(same), loaded.predict(read))
  assert np.abs(loaded.predict(read) - wanted).max() > 1e-3
  for wrong in (
      np.zeros((8, 8, 1), np.float32),
      np.zeros((8, 8), np.uint8),
      np.zeros((0, 8, 1), np.uint8),
      3,
  ):
    with pytest.raises(ConfigError, match=r"^images: must be paths"):
      loaded.predict(wrong)
  with pytest.raises(ConfigError, match="more than 8 bits"):
    loaded.predict(Image.new("I;16", (8, 8)))
  with pytest.raises(ConfigError, match=r"cannot read .*setup\.cfg"):
    loaded.predict(ROOT / "setup.cfg")


def test_evaluate_tells_which_class_is_taken_for_which(pictures, tmp_path):
  root, _ = pictures
  loaded = enas_jax.load(root / "run")
  found = loaded.evaluate(root / "set" / "test")
  assert found.confusions.sum() == found.count == TESTS
  assert found.accuracy == found.right / TESTS
  files = sorted((root / "set" / "test" / "digit 3").iterdir())
  guesses = loaded.predict(files).argmax(1)
  np.testing.assert_array_equal(
      found.confusions[3], np.bincount(guesses, minlength=10)
  )
  shutil.copytree(root / "set" / "test" / "digit 3", tmp_path / "digit 3")
  assert loaded.evaluate(tmp_path).count == len(files)
  (tmp_path / "digit x").mkdir()
  with pytest.raises(ConfigError, match="unknown class 'digit x'"):
    loaded.evaluate(tmp_path)
  with pytest.raises(ConfigError, match="no such folder"):
    loaded.evaluate(tmp_path / "nowhere")


def taken(own, path):
  """How many of 100 broken copies of a model are taken."""
  found = mutations.attack(own / "model", path, 100)
  assert found.total() == 100
  return sum(found[f"{kind} taken"] for kind in ("json", "weights"))


def test_files_that_are_broken_are_refused_in_a_line(pictures, tmp_path):
  # A changed metric, or a class of another name, is no mistake.
  assert 0 < taken(pictures[0] / "run", tmp_path / "model") < 50


def test_files_of_a_text_that_are_broken_are_refused(text, tmp_path):
  assert 0 < taken(text[0], tmp_path / "model") < 50


def test_a_deep_network_is_not_built_to_be_refused(
    pictures, tmp_path, monkeypatch
):
  path, built = tmp_path / "model", []
  shutil.copytree(pictures[0] / "run" / "model", path)
  content = json.loads((path / "model.json").read_text())
  content["network"]["cells"] = 30_000  # fewer than there are weights
  (path / "model.json").write_text(json.dumps(content))
  call = FinalCell.__call__
  monkeypatch.setattr(
      FinalCell, "__call__", lambda *a, **k: built.append(0) or call(*a, **k)
  )
  with pytest.raises(ConfigError, match=r"model\.json: network.* layers than"):
    enas_jax.load(path)
  assert len(built) < 500


@pytest.mark.parametrize(
    "key, value", [("mean", 1e300), ("mean", -1e40), ("std", 1e-300)]
)
def test_numbers_that_float32_has_not_are_refused(
    pictures, tmp_path, key, value
):
  path = tmp_path / "model"
  shutil.copytree(pictures[0] / "run" / "model", path)
  content = json.loads((path / "model.json").read_text())
  content["images"][key] = [value]
  (path / "model.json").write_text(json.dumps(content))
  with pytest.raises(ConfigError, match=rf"model\.json: .*images\.{key}\.0"):
    enas_jax.load(path)


def test_sizes_are_checked_before_memory_is_taken(pictures, tmp_path):
  path = tmp_path / "model"
  shutil.copytree(pictures[0] / "run" / "model", path)
  words, held = path / "model.json", path / "weights.safetensors"
  content = json.loads(words.read_text())
  for block, key in (("space", "nodes"), ("network", "filters")):
    changed = json.loads(json.dumps(content))
    changed[block][key] = 10**8
    words.write_text(json.dumps(changed))
    with pytest.raises(ConfigError, match=rf"{block}\.{key}: 100000000 is"):
      enas_jax.load(path)
  header = {"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
  raw = json.dumps(header).encode()
  held.write_bytes(len(raw).to_bytes(8, "little") + raw)
  content["weights"]["sha256"] = modelfile._hash(held)
  words.write_text(json.dumps(content))
  with pytest.raises(ConfigError, match=r"weights\.safetensors: cannot be"):
    enas_jax.load(path)


def test_a_space_of_a_stranger_is_refused_unless_it_is_named(
    pictures, tmp_path
):
  path = tmp_path / "model"
  shutil.copytree(pictures[0] / "run" / "model", path)
  content = json.loads((path / "model.json").read_text())
  content["space"]["name"] = "theirs"
  (path / "model.json").write_text(json.dumps(content))
  with pytest.raises(ConfigError, match=r"'theirs' is none of .*space="):
    enas_jax.load(path)
  of = SPACES["micro"]
  for space in (of, of(nodes=2)):
    assert enas_jax.load(path, space=space).classes == NAMES


def test_a_folder_without_a_model_is_told_apart(tmp_path):
  with pytest.raises(ConfigError, match="no such folder"):
    enas_jax.load(tmp_path / "nowhere")
  with pytest.raises(ConfigError, match=r"has no model/model\.json"):
    enas_jax.load(tmp_path)
  inner = tmp_path / "retrain" / "derived" / "model"
  inner.mkdir(parents=True)
  (inner / "model.json").write_text('{"format": 99}')
  with pytest.raises(ConfigError, match=r"Take .*retrain/derived"):
    enas_jax.load(tmp_path)
  with pytest.raises(ConfigError, match="is of format 99; this enas_jax"):
    enas_jax.load(inner)


def test_a_model_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
  config = text_config("lstm")
  plan, path = build.plan(config), tmp_path / "model"
  state = loop.start(plan.experiment)

  def killed(*args):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(modelfile, "_content", killed)
    with pytest.raises(KeyboardInterrupt):
      modelfile.write(path, plan, state, {})
  assert not path.exists()
  modelfile.write(path, plan, state, {"x": 1.0})
  modelfile.write(path, plan, state, {"x": 2.0})
  assert [entry.name for entry in tmp_path.iterdir()] == ["model"]
  assert model.load(path).content["metrics"] == {"x": 2.0}


def command(*args):
  env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
  return subprocess.run(
      [sys.executable, "-m", "enas_jax.predict", *map(str, args)],
      env=env,
      capture_output=True,
      text=True,
  )


def test_the_command_tells_what_a_picture_shows(pictures):
  root, result = pictures
  where = f"--model={root / 'run'}"
  file = next((root / "set" / "test").glob("*/*.png"))
  loaded = enas_jax.load(root / "run")
  (each,) = loaded.predict(file)
  best = np.argsort(-each)[:3]
  found = command(where, file)
  assert found.returncode == 0, found.stderr
  terms = [f"{NAMES[n]} {each[n]:.3f}" for n in best]
  assert found.stdout == "  ".join([str(file), *terms]) + "\n"
  lines = command(where, "--json", root / "set" / "test", file).stdout
  measured, told = map(json.loads, lines.splitlines())
  assert measured["right"] == round(result["test/accuracy"] * TESTS)
  assert np.trace(measured["confusions"]) == measured["right"]
  assert [*told["best"]] == [NAMES[n] for n in best]


@pytest.mark.parametrize(
    "args, line",
    [
        ([], "--model: is required."),
        (["--model=nowhere", "setup.cfg"], "nowhere: there is no such folder."),
        (["--modle=x"], "--modle: no such flag. Did you mean '--model'?"),
        (["--model=x", "y.png"], "y.png: there is no such file or folder."),
    ],
)
def test_a_mistake_is_a_line_and_code_2(args, line):
  found = command(*args)
  assert found.returncode == 2 and found.stdout == ""
  assert found.stderr.startswith(f"error: {line}")
  assert found.stderr.count("\n") == 1
