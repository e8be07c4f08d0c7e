"""Commands of enas_jax.main and keys that the pages name are there."""

import json
import os
import re
import shlex
import subprocess
import sys
import textwrap

from absl import flags
import jax
import pytest
from test_configs import FILES, NAMES, small

from enas_jax import build, command, data, testing
from enas_jax.data import pydoc, synthetic

ROOT = FILES.parent
PAGES = [ROOT / "README.md", ROOT / "WORKSPACE.md"]
PAGES += sorted(FILES.glob("*.py"))
PAGES += sorted((ROOT / "experiments" / "colab").glob("*.ipynb"))
_COMMAND = r"python -m enas_jax\.main((?:[^\n`]*\\\n)*[^\n`]*)"
_NO_KEYS = {"config.json", "config.derive.update", "config.greedy"}


def _text(page):
  if page.suffix != ".ipynb":
    return page.read_text()
  cells = json.loads(page.read_text())["cells"]
  return "\n".join("".join(cell["source"]) for cell in cells)


def _commands():
  for page in PAGES:
    for found in re.findall(_COMMAND, _text(page)):
      found = found.replace("{VARIANT}", "")
      found = re.sub(r"\$\w+|\{\w+\}", "1", found)  # variables
      words = shlex.split(found.replace("\\\n", " "))
      yield pytest.param(words, id=f"{page.name}: {words[0]}")


def test_every_page_but_the_map_has_a_command():
  pages = {each.id.partition(":")[0] for each in _commands()}
  assert pages == {page.name for page in PAGES} - {"WORKSPACE.md"}


@pytest.mark.parametrize("words", _commands())
def test_a_command_is_accepted(words, monkeypatch):
  monkeypatch.chdir(ROOT)

  def stand_in(name, **args):
    """As many images as CIFAR-10 has classes for a second; or a text."""
    if name in ("ptb", "pydoc"):
      return pydoc.load()
    return synthetic.load(examples=60_000, test_examples=1000, size=8)

  monkeypatch.setattr(data, "load", stand_in)
  # What these name is on the reader's machine only.
  theirs = r"--config\.(arch=(.*arch\.json|W_final)|benchmark\.path=T|init=.*)"
  argv = ["main", *(word for word in words if not re.fullmatch(theirs, word))]
  values = flags.FlagValues()
  command.config_flag(values, argv)
  flags.DEFINE_string("workdir", None, "", flag_values=values)
  assert values(argv) == ["main"]
  assert values.workdir
  build.plan(values.config)


def test_the_readmes_own_config_is_one():
  page = (ROOT / "README.md").read_text()
  block = re.search(r"^    from enas_jax(?:.*\n)*?(?=^\S)", page, re.MULTILINE)
  names = {}
  exec(textwrap.dedent(block[0]), names)
  plan = build.plan(names["get_config"]("smoke"))
  assert plan.derive.finalists == 10
  assert plan.finalist.experiment.part == "valid"


def test_the_readmes_own_network_is_one():
  page = (ROOT / "README.md").read_text()
  block = re.search(r"^    from flax(?:.*\n)*?(?=^\S)", page, re.MULTILINE)
  names = {"__name__": "readme"}
  exec(textwrap.dedent(block[0]), names)
  space = names["Layers"]()
  network = space.network(classes=3, final=True)
  shapes = jax.eval_shape(
      lambda key: network.init(
          key,
          testing.images().images,
          space.unflatten([0, 1, 1, 0, 0]),
          train=True,
      ),
      jax.random.key(0),
  )
  kernels = shapes["params"]["Classifier_0"]["linear"]["kernel"]
  assert kernels.shape == (32, 3)


def _known(block, name="config"):
  yield name
  for key, value in block.items():
    here = f"{name}.{key}"
    yield from _known(value, here) if hasattr(value, "items") else [here]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_key_that_a_page_names_is_one(page):
  known = {key for name in NAMES for key in _known(small(name, ""))}
  # In a config file "config" without dashes is code.
  start = r"\b" if page.suffix == ".md" else "(?<=--)"
  named = re.findall(start + r"config(?:\.[a-z_0-9]+)+", _text(page))
  assert named or page.suffix == ".py"
  assert set(named) - _NO_KEYS <= known


def test_the_ten_minutes_with_digits_work_in_small(tmp_path):
  page = (ROOT / "README.md").read_text()
  section = page.partition("## Digits in ten minutes")[2].partition("\n## ")[0]
  blocks = re.findall(r"(?:^    .*\n|(?<=    .)\n)+", section, re.MULTILINE)
  typed, code = textwrap.dedent(blocks[0]), textwrap.dedent("".join(blocks[1:]))
  recipe = (ROOT / "Makefile").read_text().partition("\ndemo:")[2]
  demo = re.search(r"\$\(BIN\)/(python .*\\\n.*)\n", recipe)[1]
  small = (
      "digits_micro.py:smoke --config.epochs=1 --config.space.nodes=1"
      " --config.retrain.random=0 --config.retrain.config.epochs=1"
  )
  assert "digits_micro.py " in demo
  demo = demo.replace("digits_micro.py", small)
  assert typed.startswith("make demo\n. .venv/bin/activate\n")
  typed = typed.replace("make demo\n. .venv/bin/activate", demo)
  (tmp_path / "bin").mkdir()
  (tmp_path / "bin" / "python").symlink_to(sys.executable)
  for name in ("configs", "experiments"):
    (tmp_path / name).symlink_to(ROOT / name)
  path = os.pathsep.join([str(ROOT), *sys.path])
  code = f"python - <<'END'\n{code}END\n"
  done = subprocess.run(
      ["bash", "-ec", f'PATH="$PWD/bin:$PATH"\n{typed}{code}'],
      cwd=tmp_path,
      env={
          **os.environ,
          "PYTHONPATH": path,
          "JAX_DISABLE_MOST_OPTIMIZATIONS": "true",
      },
      capture_output=True,
      text=True,
  )
  assert not done.returncode, done.stderr
  *_, seen, found = done.stdout.splitlines()
  assert re.match(r"experiments/seven\.png  \d [01]\.\d{3}  ", seen)
  assert found.startswith("['0', '1', '2', '3'] [[")
