"""Commands, keys, links and numbers of the pages are there."""

import importlib.util
import json
import os
import pathlib
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
from experiments import keys, plots

ROOT = FILES.parent
GUIDES = ROOT / "experiments" / "guides"
RESULTS = ROOT / "experiments" / "results"
PAGES = [ROOT / "README.md", ROOT / "WORKSPACE.md", FILES / "README.md"]
PAGES += [ROOT / "experiments" / "README.md"]
PAGES += [*sorted(GUIDES.glob("*.md")), *sorted(RESULTS.glob("*.md"))]
PAGES += sorted(FILES.glob("*.py"))
PAGES += sorted((ROOT / "experiments" / "colab").glob("*.ipynb"))
# A command of this package, to the end of its line or of its code.
_COMMAND = (
    r"python -m ((?:enas_jax|experiments)\b[\w.]*)"
    r"((?:[^\n`]*\\\n)*[^\n`]*)"
)
_NO_KEYS = {"config.json", "config.derive.update", "config.greedy"}
# What a page names that is on the reader's machine only.
_THEIRS = (
    r"--config\.(arch=(W|A|W_final|.*arch\.json)|benchmark\.path=T|init=.*)"
)
_OWN = "my_folder/mine.py"

def _text(page):
  if page.suffix != ".ipynb":
    return page.read_text()
  cells = json.loads(page.read_text())["cells"]
  return "\n".join("".join(cell["source"]) for cell in cells)


def _commands():
  """Yields (page, module, its words) for each command of the pages."""
  for page in PAGES:
    for module, found in re.findall(_COMMAND, _text(page)):
      module = module.rstrip(".")
      found = found.replace("{VARIANT}", "")
      found = re.sub(r"\$\w+|\{\w+\}", "1", found)  # variables
      found = re.sub(r"(=)S\b", r"\g<1>1", found)  # a seed
      words = shlex.split(found.replace("\\\n", " "), comments=True)
      yield page, module, [word for word in words if word not in (";", "&")]


def _cases(wanted):
  """Returns each command once, wherever its run would lie."""
  found = {}
  for page, module, words in _commands():
    if wanted(page, module):
      rest = [word for word in words if not word.startswith("--workdir")]
      rest = tuple(word for word in rest if not re.fullmatch(_THEIRS, word))
      name = f"{page.name}: {module} {' '.join(words)[:60]}"
      found.setdefault((module, rest), pytest.param(words, id=name))
  return list(found.values())


def _is_run(page, module):
  return module == "enas_jax.main" and page.parent != RESULTS


def _config_of(words):
  """Returns the config that a command asks for, and its other flags."""
  argv = ["main", *(w for w in words if not re.fullmatch(_THEIRS, w))]
  values = flags.FlagValues()
  command.config_flag(values, argv)
  names = {match[1] for w in argv if (match := re.match(r"--(\w+)", w))}
  for name in names - {"config"}:
    flags.DEFINE_string(name, None, "", flag_values=values)
  assert values(argv) == ["main"]
  return values


def test_every_page_that_should_has_a_command():
  pages = {page for page, *_ in _commands()}
  without = {
      "WORKSPACE.md",
      "how_enas_works.ipynb",
      "paper.md",
      "troubleshooting.md",
  }
  lacking = {page.name for page in PAGES if page not in pages}
  assert lacking <= {*without, "README.md"}
  assert ROOT / "README.md" in pages


@pytest.mark.parametrize("words", _cases(_is_run))
def test_a_command_is_accepted(words, monkeypatch):
  monkeypatch.chdir(ROOT)
  if f"--config={_OWN}" in words:
    return

  def stand_in(name, **args):
    """As many images as CIFAR-10 has classes for a second; or a text."""
    if name in ("ptb", "pydoc"):
      return pydoc.load()
    if args.get("size", 8) > 16:  # a stem needs some pixels
      return synthetic.load(examples=2000, test_examples=1000, size=32)
    return synthetic.load(examples=60_000, test_examples=1000, size=8)

  monkeypatch.setattr(data, "load", stand_in)
  values = _config_of(words)
  assert values.workdir
  config = values.config
  if config.devices > 2:  # which the tests do not have
    config.devices = 2
  build.plan(config)


@pytest.mark.parametrize(
    "words",
    _cases(lambda page, module: page.parent == RESULTS
           and module in ("enas_jax.main", "experiments.search_vs_random")),
)
def test_a_command_of_the_results_has_a_config_and_its_keys(words, monkeypatch):
  monkeypatch.chdir(ROOT)
  if not any(word.startswith("--table") for word in words):
    assert _config_of(words).workdir


def _defined(source):
  """Returns the names of the flags that a piece of code defines."""
  define = r'(?:DEFINE_\w+|number)\(\s*"(\w+)"|"--(\w+)"'
  found = re.findall(define, source)
  return {name for pair in found for name in pair}


def _shared():
  """Returns the flags that a function defines for several programs."""
  found = {}
  for folder in ("enas_jax", "experiments"):
    for file in (ROOT / folder).rglob("*.py"):
      for code in re.split(r"^(?=def )", file.read_text(), flags=re.MULTILINE):
        if name := re.match(r"def (\w+_flags?)\(", code):
          found[name[1]] = _defined(code)
  found["model_flags"] |= {"space", "network", "task"}
  return found


def test_every_command_names_a_program_and_its_flags():
  shared = _shared()
  for page, module, words in _commands():
    spec = importlib.util.find_spec(module)
    assert spec, f"{page}: {module}"
    if spec.submodule_search_locations:
      spec = importlib.util.find_spec(f"{module}.__main__")
    source = pathlib.Path(spec.origin).read_text(encoding="utf-8")
    known = _defined(source)
    for function in re.findall(r"(\w+_flags?)\(", source):
      known |= shared.get(function, set())
    for word in words:
      name = re.match(r"--(\w+)", word)
      assert not name or name[1] in known, f"{page}: {module} {word}"


def _anchors(page):
  """Returns the anchors that GitHub makes of the headings of a page."""
  headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
  return {
      re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
      for heading in headings
  }


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.suffix == ".md"],
    ids=lambda page: f"{page.parent.name}/{page.name}",
)
def test_every_link_leads_somewhere(page):
  for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
    if link.startswith("https://"):
      continue
    path, _, anchor = link.partition("#")
    place = (page.parent / path).resolve() if path else page
    assert place.exists(), link
    assert not anchor or anchor in _anchors(place), link


def test_the_page_of_keys_is_that_of_the_parts():
  # python -m experiments.keys writes it.
  assert keys.PAGE.read_text() == keys.page()


def test_the_plot_is_of_the_numbers_on_its_page():
  assert plots.FILE.read_text() == plots.svg()
  page = (RESULTS / "nasbench201.md").read_text()
  for (first, last), found in plots.RESULTS:
    cells = [f"{mean:.2f} ± {std:.2f}" for mean, std in found.values()]
    row = " | ".join([*cells, f"{first} to {last}"])
    assert row in page.replace("*", "")
  assert f"{plots.OPTIMUM} %" in page


def test_the_config_of_the_guide_is_one():
  page = (GUIDES / "better-search.md").read_text()
  block = re.search(r"^    from enas_jax(?:.*\n)*?(?=^\S)", page, re.MULTILINE)
  names = {}
  exec(textwrap.dedent(block[0]), names)
  plan = build.plan(names["get_config"]("smoke"))
  assert plan.derive.finalists == 10
  assert plan.finalist.experiment.part == "valid"


def test_the_network_of_the_guide_is_one():
  page = (GUIDES / "own-network.md").read_text()
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


def test_the_strategy_of_the_guide_is_one():
  page = (GUIDES / "own-network.md").read_text()
  starts = ("from flax", "import jax", r"from .*\n    testing.check_strategy")
  names = {"__name__": "readme"}
  for start in starts:
    block = re.search(
        rf"^    {start}(?:.*\n)*?(?=^\S)", page, re.MULTILINE
    )
    exec(textwrap.dedent(block[0]), names)


def _known(block, name="config"):
  yield name
  for key, value in block.items():
    here = f"{name}.{key}"
    yield from _known(value, here) if hasattr(value, "items") else [here]


@pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}"
)
def test_every_key_that_a_page_names_is_one(page):
  known = {key for name in NAMES for key in _known(small(name, ""))}
  # A part may have options that no file sets.
  rows = re.findall(r"^\| `([\w.]+)`", keys.PAGE.read_text(), re.MULTILINE)
  known |= {f"config.{key}" for key in rows}
  # In a config file "config" without dashes is code.
  start = r"\b" if page.suffix == ".md" else "(?<=--)"
  named = re.findall(start + r"config(?:\.[a-z_0-9]+)+", _text(page))
  assert set(named) - _NO_KEYS <= known


def test_the_ten_minutes_with_digits_work_in_small(tmp_path):
  page = (ROOT / "README.md").read_text()
  section = page.partition("## Ten minutes with digits")[2]
  section = section.partition("\n## ")[0]
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
