"""An exported program gives what the model gives, without this package."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import jax
import numpy as np
from PIL import Image
import pytest

import enas_jax
from enas_jax import build, export, folder, loop, model, modelfile
from enas_jax.configs import (
  cifar_macro_final,
  cifar_micro_final,
  nasbench201_final,
  ptb_lstm_final,
)
from enas_jax.errors import ConfigError

ROOT = pathlib.Path(__file__).parent.parent
CONFIGS = {
    "macro": cifar_macro_final,
    "micro": cifar_micro_final,
    "nasbench201": nasbench201_final,
}
# Every operation of the space, in a micro cell with stride and without.
ARCHS = {
    "macro": "0 1 1 2 1 1 3 1 1 1 4 0 0 1 1 5 1 0 0 0 1",
    "micro": "0 0 1 1 0 2 1 3 0 4 1 0 " + "0 4 1 3 0 2 1 1 1 0 0 3",
    "nasbench201": "1 2 3 4 0 3",
}
SPACE = {"macro": {"layers": 6}, "micro": {"nodes": 3}, "nasbench201": {}}

# Runs where only the exported folder is: the code of its README.
ALONE = """
import re, sys
import numpy
code = re.findall("^    (.*)$", open("README.md").read(), re.MULTILINE)
exec("\\n".join(code))
pixels = numpy.load(sys.argv[1])
exec("\\n".join(line for line in code if not line.startswith("pixels")))
numpy.save(sys.argv[2], found)
assert not any(name.startswith(("enas_jax", "flax")) for name in sys.modules)
"""


def made(path, name, seed=0, **changes):
  """Writes a model with weights and averages that nobody trained."""
  config = CONFIGS[name].get_config("smoke")
  config.space.update(SPACE[name])
  config.arch, config.seed = ARCHS[name], seed
  config.data.size = 8
  config.update(changes)
  return written(path, build.plan(config), seed)


def written(path, plan, seed=0):
  state = jax.eval_shape(lambda: loop.start(plan.experiment))
  rng = np.random.default_rng(seed)

  def drawn(low, high, tree):
    return jax.tree.map(
        lambda a: rng.uniform(low, high, a.shape).astype(a.dtype), tree
    )

  # Averages differ with the channel, as in a network that was trained.
  state = state._replace(
      params=drawn(-0.7, 0.7, state.params),
      opt_state=None,
      model_state=drawn(0.5, 1.5, state.model_state),
  )
  modelfile.write(path, plan, state, {})
  return path


@pytest.fixture(scope="module")
def two(tmp_path_factory):
  """Two models of the same classes."""
  root = tmp_path_factory.mktemp("two")
  return [made(root / f"seed{seed}", "nasbench201", seed) for seed in (0, 1)]


def images(count, size=8):
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (count, size, size, 3), np.uint8)


@pytest.mark.parametrize(
    "name, dtype",
    [*((name, "float32") for name in CONFIGS), ("nasbench201", "bfloat16")],
)
def test_a_program_of_any_batch_gives_what_the_model_gives(
    name, dtype, tmp_path
):
  loaded = enas_jax.load(made(tmp_path / "model", name, dtype=dtype), batch=7)
  export.write(tmp_path / "E", export.program([loaded]), loaded.classes)
  raw = (tmp_path / "E" / "program.bin").read_bytes()
  found = jax.export.deserialize(raw)
  assert found.platforms == ("cpu", "cuda", "tpu")
  pixels = images(7)
  wanted = loaded.predict(pixels)
  assert wanted.std(0).max() > 1e-3  # the pictures make a difference
  out = found.call(pixels)
  assert out.dtype == np.float32
  # Sums of bfloat16 are rounded where XLA likes.
  atol = 1e-5 if dtype == "float32" else 1e-3
  np.testing.assert_allclose(out, wanted, atol=atol)


def test_the_lines_of_its_readme_run_without_this_package(two, tmp_path):
  loaded = enas_jax.load(two[0])
  content = export.program([loaded])
  export.write(tmp_path / "E", content, ["a", "b\nc", "", "é"])
  np.save(tmp_path / "pixels.npy", images(1000))
  env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path[1:])}
  files = [tmp_path / "pixels.npy", tmp_path / "found.npy"]
  ended = subprocess.run(
      [sys.executable, "-P", "-c", ALONE, *map(str, files)],
      cwd=tmp_path / "E",
      env=env,
      capture_output=True,
      text=True,
  )
  assert ended.returncode == 0, ended.stderr
  found = np.load(tmp_path / "found.npy")
  np.testing.assert_allclose(found, loaded.predict(images(1000)), atol=1e-5)
  names = np.array(["a", "b c", "", "é"])[found.argmax(1)]
  assert ended.stdout.endswith(f"{names}\n")
  readme = (tmp_path / "E" / "README.md").read_text()
  assert sum(bool(line) for line in readme.splitlines()) == 5


def test_probabilities_of_several_models_are_averaged(two):
  models = model.together([str(path) for path in two])
  pixels = images(5)
  each = [one.predict(pixels) for one in models]
  assert np.abs(each[0] - each[1]).max() > 1e-3
  found = export.program(models).call(pixels)
  np.testing.assert_allclose(found, np.mean(each, 0), atol=1e-5)


def test_models_that_do_not_agree_are_told(two, tmp_path):
  first, other = two[0], tmp_path / "other"
  made(other, "nasbench201")
  words = (other / "model.json").read_text()
  (other / "model.json").write_text(words.replace('"0",', '"x",', 1))
  paths = [str(first), str(other)]
  with pytest.raises(ConfigError, match=rf"^{other}: has other classes than"):
    model.together(paths)
  larger = made(tmp_path / "larger", "nasbench201", data={
      "name": "synthetic", "size": 16, "eval_batch": 32,
  })
  models = model.together([str(first), str(larger)])
  with pytest.raises(ConfigError, match="8 x 8 x 3 and of 16 x 16 x 3 are not"):
    export.program(models)
  written(tmp_path / "text", build.plan(ptb_lstm_final.get_config("smoke")))
  with pytest.raises(ConfigError, match=r"reads no pictures; .*perplexity"):
    model.together([str(tmp_path / "text")])


def test_a_folder_is_filled_whole_or_stays_as_it_was(tmp_path):
  path = tmp_path / "made" / "here"
  with folder.whole(path) as draft:
    (draft / "old").touch()
  with pytest.raises(KeyboardInterrupt), folder.whole(path) as draft:
    (draft / "new").touch()
    raise KeyboardInterrupt
  assert [entry.name for entry in path.iterdir()] == ["old"]
  assert list(path.parent.iterdir()) == [path]
  with folder.whole(path) as draft:
    (draft / "new").touch()
  assert [entry.name for entry in path.iterdir()] == ["new"]
  assert list(path.parent.iterdir()) == [path]


def command(*words):
  """Runs a command of Python, `-m module ...`."""
  env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
  return subprocess.run(
      [sys.executable, *map(str, words)],
      env=env,
      capture_output=True,
      text=True,
  )


def told(module, name):
  """The guide's command of a module that has `name` in it."""
  page = (ROOT / "experiments" / "guides" / "trained-models.md").read_text()
  line = rf"^    python (-m enas_jax\.{module} .*{name}.*)$"
  return re.search(line, page, re.MULTILINE)[1]


def test_the_commands_of_the_guide_work(two, tmp_path):
  picture = tmp_path / "picture.png"
  Image.fromarray(images(1)[0]).save(picture)
  here = {"A": two[0], "B": two[1], "W_final": two[0], "E": tmp_path / "E"}
  here["picture.png"] = picture

  def run(line):
    line = re.sub(r"[\w.]+", lambda m: str(here.get(m[0], m[0])), line)
    found = command(*shlex.split(line))
    assert found.returncode == 0, found.stderr
    return found.stdout

  shown = run(told("predict", "A,B"))
  models = [enas_jax.load(path) for path in two]
  mean = np.mean([each.predict(picture) for each in models], 0)[0]
  best = np.argsort(-mean)[:3]
  names = models[0].classes
  terms = [f"{names[n]} {mean[n]:.3f}" for n in best]
  assert shown == "  ".join([str(picture), *terms]) + "\n"
  assert "README.md" in run(told("export", "E"))
  assert (here["E"] / "labels.txt").read_text() == "0\n1\n2\n3\n"


def called(monkeypatch, *words):
  """Runs the command in this process."""
  values = export.flags.FlagValues()
  export.flags.DEFINE_list("model", None, "", flag_values=values)
  for name in ("out", "space", "network", "task"):
    export.flags.DEFINE_string(name, None, "", flag_values=values)
  values(["export", *words])
  monkeypatch.setattr(export.flags, "FLAGS", values)
  export.main()


def test_an_export_is_replaced_and_nothing_else(two, tmp_path, monkeypatch):
  words, out = (f"--model={two[0]}", f"--out={tmp_path}"), tmp_path
  called(monkeypatch, *words)
  (out / "labels.txt").write_text("old")
  called(monkeypatch, *words)
  assert (out / "labels.txt").read_text() == "0\n1\n2\n3\n"
  (out / "mine.txt").touch()
  (out / "labels.txt").write_text("old")
  with pytest.raises(ConfigError, match=r"not empty, and no former export\.$"):
    called(monkeypatch, *words)
  assert len(list(out.iterdir())) == 4
  assert (out / "labels.txt").read_text() == "old"


@pytest.mark.parametrize(
    "words, line",
    [
        ([], "--model: is required."),
        (["--model=x"], "--out: is required."),
        (["--model=x", "--out=setup.cfg"], f"--out: {ROOT}/setup.cfg is a"),
        (["--model=x,y", "--out={tmp}"], "x: there is no such folder."),
    ],
)
def test_a_mistake_is_a_line(words, line, tmp_path, monkeypatch):
  monkeypatch.chdir(ROOT)
  with pytest.raises(ConfigError) as found:
    called(monkeypatch, *(word.format(tmp=tmp_path / "E") for word in words))
  assert str(found.value).startswith(line)
  assert not list(tmp_path.iterdir())
