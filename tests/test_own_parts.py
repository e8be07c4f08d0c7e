"""Parts in a user's own files, named in a config."""

import importlib
import json
import os
import sys
import textwrap

from absl import flags as absl_flags
import jax
import numpy as np
import pytest

import enas_jax
from enas_jax import build, command, loop, modelfile, registry
from enas_jax.build import configfile
from enas_jax.configs import digits_micro, digits_micro_final, own_images
from enas_jax.errors import ConfigError
from enas_jax.keeper import Diverged
from experiments import search_vs_random

OWN = '''
"""An experiment with parts of its own."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, NamedTuple

from flax import linen as nn
import jax.numpy as jnp
import numpy as np
from words import OPERATIONS

from enas_jax import optim
from enas_jax.build import recipe
from enas_jax.configs import digits_micro, digits_micro_final
from enas_jax.data import Images, Source
from enas_jax.nn.lstm import Lstm
from enas_jax.options import Count, Positive, Small
from enas_jax.spaces import base, schedule
from enas_jax.strategies.random import random
from enas_jax.tasks.classification import classification
from enas_jax.types import Head, Preset
from enas_jax.variants import parse


class Arch(NamedTuple):
  ops: Any


class Net(nn.Module):
  classes: int
  filters: Annotated[Count, Small(3)] = 8
  final: bool = False
  dtype: str = "float32"

  @nn.compact
  def __call__(self, images, arch, *, train, dropout=None, progress=1.0):
    x = nn.Conv(self.filters, (3, 3))(images)
    for op in arch.ops:
      x = jnp.stack([nn.relu(x), jnp.tanh(x), x])[op]
    return nn.Dense(self.classes)(x.mean((1, 2))), None


@dataclasses.dataclass(frozen=True)
class Space(base.Space):
  layers: Annotated[Count, Small(2)] = 5

  module = Net
  presets = {"mine": Preset({"layers": 2}, [1, 0])}

  @property
  def schedule(self):
    one = schedule.row(3, head=Head.OP, choices=len(OPERATIONS))
    return schedule.table([one] * self.layers)

  def decode(self, choices):
    return Arch(jnp.argmax(choices, -1).astype(jnp.int32))

  def parse(self, text):
    return text.startswith("!") and [int(digit) for digit in text[1:]] or None


made = Space(layers=4)


def greedy(space, *, rate: Positive = 0.5):
  return random(space)


def load(*, count: int = 128) -> Source:
  def images():
    labels = np.arange(count, dtype=np.int32) % 3
    return Images(np.zeros((count, 8, 8, 1), np.uint8), labels)

  return Source(shape=(8, 8, 1), classes=3, train=images, test=images)


def task(network, *, score: str = "accuracy"):
  return classification(network, score=score)


def mover(epochs, steps, *, lr: Positive):
  return optim.sgd(epochs=epochs, steps=steps, lr=lr, clip=0.0)


class Cell(Lstm):
  pass


def get_config(variant=""):
  config = digits_micro.get_config(variant).unlock()
  final = digits_micro_final.get_config(variant).unlock()
  for each in (config, final):
    each.space = {"name": "own.py:Space", "layers": 2}
    each.network = {"filters": 8}
    each.task = {"name": "own.py:task"}
    each.child = {"optimiser": "own.py:mover", "batch": 32, "lr": 0.1}
  config.data = {"name": "own.py:load", "valid": 32}
  final.data = {"name": "own.py:load", "eval_batch": 32}
  final.network.final = True
  if parse(variant).smoke:
    parse(variant).shrink(config)
    parse(variant).shrink(final)
  config.retrain.config = recipe(final)
  config.strategy.name = "own.py:greedy"
  config.greedy = {"rate": 0.1}
  return config
'''

FINAL = '''
import own

def get_config(variant=""):
  config = own.digits_micro_final.get_config(variant).unlock()
  config.space = {"name": "own.py:Space", "layers": None}
  config.network = {"filters": 4, "final": True}
  config.data = {"name": "own.py:load", "eval_batch": 32}
  config.task = {"name": "classification"}
  config.arch = "mine"
  return config
'''


def written(folder, name="own.py", text=OWN):
  folder.mkdir(exist_ok=True)
  (folder / "words.py").write_text("OPERATIONS = ('relu', 'tanh', 'same')\n")
  (folder / name).write_text(textwrap.dedent(text))
  return folder / name


@pytest.fixture(scope="module")
def own(tmp_path_factory):
  """A file with parts of all kinds, and the experiment that uses them."""
  return written(tmp_path_factory.mktemp("own"))


def config_of(own, variant="smoke"):
  return configfile.load("--config", f"{own}:{variant}")


def refusal(config):
  with pytest.raises(ConfigError) as caught:
    build.plan(config)
  assert "\n" not in str(caught.value)
  return str(caught.value)


def test_parts_of_all_kinds_are_found_beside_their_config(own):
  plan = build.plan(config_of(own, ""))
  assert type(plan.space).__name__ == "Space"
  assert plan.space.layers == 2
  assert plan.facts.classes == ("0", "1", "2")
  experiment = plan.experiment
  assert experiment.rates[0] == pytest.approx(0.1)
  record = plan.record
  named = [record[block]["name"] for block in ("space", "data", "strategy")]
  assert named == ["own.py:Space", "own.py:load", "own.py:greedy"]
  assert record["child"]["optimiser"] == "own.py:mover"
  assert record["greedy"] == {"rate": 0.1}
  assert plan.facts.task == {"name": "own.py:task", "score": "accuracy"}
  assert plan.retrain.facts.space == {"name": "own.py:Space", "layers": 2}
  batch = experiment.train.shapes()
  arch = plan.space.unflatten([0, 2])
  assert jax.eval_shape(
      lambda key: experiment.task.init(key, batch, arch), jax.random.key(0)
  )


def test_the_small_variant_knows_the_options_of_own_parts(own):
  config = config_of(own)
  assert (config.space.layers, config.network.filters) == (2, 3)
  assert (config.epochs, config.child.batch, config.data.valid) == (2, 32, 64)
  # Such a task keeps its data.
  assert registry.recorded(config.data.name) == "own.py:load"
  assert build.plan(config).space.layers == 2


def test_the_options_of_own_parts_are_read_as_any(own):
  for block, key, value, message in [
      ("greedy", "rate", 0.0, "config.greedy.rate: must be a number > 0"),
      ("greedy", "rat", 0.1, "config.greedy.rat: no such key of 'greedy'. Did"),
      ("space", "layers", 0, "config.space.layers: must be a whole number"),
      ("child", "lrr", 0.1, "config.child.lrr: no such key of "),
      ("task", "score", 1, "config.task.score: must be text, got 1."),
      ("data", "count", "1", "config.data.count: must be a whole number"),
  ]:
    config = config_of(own)
    with config.ignore_type():
      config[block][key] = value
    assert refusal(config).startswith(message)


def typed(own, *flags, variant=":smoke"):
  """Returns the config of the own experiment with flags, or the error."""
  values, argv = absl_flags.FlagValues(), ["main"]
  argv += [f"--config={own}{variant}", *flags]
  command.config_flag(values, argv)
  try:
    values(argv)
  except Exception as error:
    return str(command.explain(argv, error, ["config"]))
  return values.config


def test_options_that_no_file_sets_can_be_set_by_flags(own):
  config = typed(
      own,
      "--config.data.count=96",
      "--config.data.eval_batch",
      "16",
      "--config.task.score=accuracy",
      "--config.benchmark.path=~/t.json",
      "--config.steps_per_call=3",
  )
  assert "count" not in config_of(own).data
  assert (config.data.count, config.data.eval_batch) == (96, 16)
  assert "benchmark" not in config_of(own)
  assert config.benchmark.to_dict() == {"path": "~/t.json"}
  assert (config.steps_per_call, config.task.score) == (3, "accuracy")
  # Whose options there are depends on what other flags name.
  config = typed(
      own, f"--config.space.name={own}:Space", "--config.network.filters=9"
  )
  assert config.network.filters == 9
  config = typed(
      own,
      "--config.strategy.name=evolution",
      "--config.evolution.population=7",
  )
  assert config.evolution.population == 7


@pytest.mark.parametrize("flag, line", [
    (
        "data.cuont=9",
        "config.data.cuont: no such key. Did you mean '--config.data.count'? C",
    ),
    ("data.count=x", "config.data.count: must be a whole number, got 'x'."),
    ("data.valid.x=1", "config.data.valid.x: no such key. Choices: none."),
    (
        "tsak.score=x",
        "config.tsak: no such key. Did you mean '--config.task'? Choices",
    ),
    (
        "task.scroe=x",
        "config.task.scroe: no such key. Did you mean '--config.task.score'?",
    ),
])
def test_a_flag_of_no_option_names_all_that_there_are(own, flag, line):
  assert typed(own, f"--config.{flag}").startswith(line)


def test_a_run_goes_on_where_its_files_were_moved(own, tmp_path, monkeypatch):
  here = build.record(config_of(own))
  moved = written(tmp_path / "moved")
  monkeypatch.chdir(tmp_path)
  assert build.record(config_of("moved/own.py")) == here
  assert build.plan(config_of("moved/own.py")).record == here
  monkeypatch.chdir(moved.parent)
  assert build.record(config_of("own.py")) == here


def test_a_path_of_the_command_line_is_of_the_current_folder(
    own, tmp_path, monkeypatch
):
  config = config_of(own)
  config.space.name = "own.py:Space"
  monkeypatch.chdir(tmp_path)
  assert refusal(config) == (
      f"config.space.name: there is no file '{tmp_path / 'own.py'}'. Choices:"
      " none."
  )
  monkeypatch.chdir(own.parent)
  assert build.plan(config).space.layers == 2


def test_own_parts_are_found_as_python_finds_modules(own, monkeypatch):
  monkeypatch.syspath_prepend(own.parent)
  config = config_of(own)
  config.space.name, config.strategy.name = "own:Space", "own:greedy"
  plan = build.plan(config)
  assert plan.record["space"]["name"] == "own:Space"
  assert type(plan.space).__module__ == "own"


def test_an_installed_package_brings_parts(own, monkeypatch):
  monkeypatch.syspath_prepend(own.parent)
  info = own.parent / "theirs-1.dist-info"
  info.mkdir()
  (info / "METADATA").write_text("Name: theirs\nVersion: 1\n")
  (info / "entry_points.txt").write_text(
      "[enas_jax]\nspace.theirs = own:Space\nstrategy.hasty = own:greedy\n"
      "data.blank = own:load\nspace.broken = own:nothing\n"
      "strategy.late = own:late\n"
  )
  importlib.invalidate_caches()
  config = config_of(own).unlock()
  config.space.name, config.data.name = "theirs", "blank"
  config.strategy.name = "hasty"
  config.hasty = {"rate": 2.0}
  del config.greedy
  assert build.plan(config).record["space"]["name"] == "theirs"
  with monkeypatch.context() as patched:
    module = importlib.import_module("own")
    late = lambda space: module.random(space)._replace(ask=lambda key: ())
    patched.setattr(module, "late", late, raising=False)
    config.strategy.name = "late"
    del config.hasty
    assert refusal(config).startswith("config.strategy.name: own: TypeError: ")
  config.space.name = "their"
  assert "mean 'theirs'? Choices: broken, macro," in refusal(config)
  config.space.name = "broken"
  assert refusal(config).startswith("config.space.name: own has no name 'noth")


def test_a_space_that_is_made_already_has_no_options(own):
  config = config_of(own).unlock()
  config.space = {"name": f"{own}:made"}
  assert build.plan(config).space.layers == 4
  config.space.layers = 2
  assert refusal(config).startswith("config.space.layers: no such key")


def test_an_arch_that_is_none_is_refused_whatever_makes_the_space(own):
  config = config_of(own).retrain.config.unlock()
  config.space = {"name": f"{own}:made"}
  config.arch = str(own.parent)
  message = refusal(config)
  assert message.startswith(f"config.arch: the folder {own.parent} has no arch")
  assert "This space reads the path of an arch.json" in message


def test_a_baseline_network_of_ones_own(own):
  from enas_jax.configs import ptb_lstm_final

  config = ptb_lstm_final.get_config("smoke")
  config.network.name = f"{own}:Cell"
  plan = build.plan(config)
  assert plan.facts.network["name"] == "own.py:Cell"
  config.network.name = f"{own}:Cel"
  assert f"{own} has no name 'Cel'. Did you mean 'Cell'?" in refusal(config)


@pytest.mark.parametrize("name, message", [
    ("owm.py:Space", "there is no file '{}/owm.py'. Did you mean 'own.py'?"),
    ("own.py:Spce", "own.py has no name 'Spce'. Did you mean 'Space'?"),
    ("own.py:", "own.py has no name ''. Choices: "),
    ("owm:Space", "there is no module 'owm'. Did you mean 'own'? It must be"),
    ("own.no:Space", "there is no module 'own.no'. It must be installed"),
    ("enas_jax.space:X", "there is no module 'enas_jax.space'. Did you mean"),
    ("a b:Space", "there is no module 'a b'. "),
    (":Space", "there is no module ''. "),
    ("own.py:task", "'own.py:task' needs it"),
])
def test_a_name_of_nothing_is_one_line(own, name, message, monkeypatch):
  monkeypatch.syspath_prepend(own.parent)
  monkeypatch.chdir(own.parent)
  config = config_of(own)
  config.space.name = name
  if "task" in name:
    config.space = {"name": name}
    assert refusal(config) == f"config.space.network: {message}."
  else:
    message = message.format(own.parent)
    assert refusal(config).startswith(f"config.space.name: {message}")


@pytest.mark.parametrize("kind, text, message", [
    ("space", "import nothing_there", "1: ModuleNotFoundError: No module"),
    ("space", "x = 1\nPart = unknown", "2: NameError: name 'unknown'"),
    ("space", "x = 1\ndef Part(:", "2: SyntaxError: "),
    ("space", "def Part():\n  return 1 / 0", "2: ZeroDivisionError: "),
    ("strategy", "def Part(space):\n  return space.no", "2: AttributeError"),
    ("task", "def Part(network):\n\n  raise ValueError(3)", "3: ValueError: 3"),
    ("data", "def Part():\n  return {}['a']", "2: KeyError: 'a'"),
])
def test_an_error_of_a_users_file_tells_its_line(
    own, tmp_path, kind, text, message
):
  file = written(tmp_path, "broken.py", text)
  config = config_of(own).unlock()
  config[kind].name = f"{file}:Part"
  if kind == "strategy":
    del config.greedy
  else:
    for key in [*config[kind]]:
      if key != "name":
        del config[kind][key]
  assert refusal(config).startswith(f"config.{kind}.name: {file}:{message}")
  assert str(file) not in sys.modules or "def" in text


def test_an_error_of_ones_own_data_is_one_line_when_it_is_read(own, tmp_path):
  file = written(tmp_path, "mine.py", """
      import own

      def make(**changes):
        source = own.load()
        return own.dataclasses.replace(source, **changes)

      def read():
        return open("nowhere.npy")

      def lost():
        return make(train=read)

      def grey():
        return make(shape=(8, 8, 3))
      """)
  for name, message in [
      ("lost", f"{file}:9: FileNotFoundError: [Errno 2] No such file"),
      ("grey", "the images of its train must be uint8[n, 8, 8, 3] in numpy, "),
  ]:
    config = config_of(own)
    config.data.name = f"{file}:{name}"
    assert refusal(config).startswith(f"config.data.name: {message}")


def test_a_part_that_makes_something_else_is_refused_at_the_start(
    own, tmp_path
):
  file = written(tmp_path, "other.py", """
      import dataclasses
      from enas_jax.spaces import base
      import own

      def nothing(space=None, network=None, epochs=1, steps=1):
        return 3

      class Bare(base.Space):
        schedule = own.made.schedule

      class Undecoded(own.Space):
        decode = base.Space.decode

      class Undrawn(own.Space):
        def graphs(self, arch):
          return arch.nodes

      class Unread(own.Space):
        def unflatten(self, values):
          raise ValueError("never")
      """)
  for kind, name, message in [
      ("strategy", "nothing", "must return a Strategy (enas_jax.types), got 3"),
      ("task", "nothing", "must return a Task (enas_jax.types), got 3."),
      ("space", "Bare", "(enas_jax.spaces.base.Space); 'Bare' lacks module."),
      ("space", "Undecoded", "Space); 'Undecoded' lacks decode."),
      ("space", "Undrawn", "17: AttributeError: 'Arch' object has no"),
      ("space", "Unread", "21: ValueError: never"),
      ("data", "nothing", "'int' lacks task, facts, search, final."),
  ]:
    config = config_of(own).unlock()
    config[kind] = {**config[kind].to_dict(), "name": f"{file}:{name}"}
    if kind == "strategy":
      del config.greedy
    else:
      config[kind] = {"name": config[kind].name}
    assert message in refusal(config)


def test_parts_that_fail_in_a_step_fail_at_the_start(own, tmp_path):
  file = written(tmp_path, "late.py", """
      import own

      def words(space):
        return own.random(space)._replace(ask=lambda state, key: {"op": 1})

      def grows(space):
        tell = lambda state, archs, rewards: (rewards, {})
        return own.random(space)._replace(tell=tell)

      def bare(space):
        return own.random(space)._replace(tell=lambda state, a, rewards: state)

      def short(space):
        return own.random(space)._replace(tell=lambda state, rewards: ((), {}))

      class Net(own.Net):
        @own.nn.compact
        def __call__(self, images, arch, *, train, **_):
          x = own.nn.Dense(3)(images.mean((1, 2)))
          return [x, x][arch.ops[0] % 2], None

      class Space(own.Space):
        module = Net

      def lost(network):
        def loss(*given):
          raise ValueError("never")
        return own.classification(network)._replace(loss=loss)
      """)
  for block, name, message in [
      ("strategy", "words", "config.strategy.name: its ask must return an"),
      ("strategy", "grows", "config.strategy.name: its tell must return a"),
      ("strategy", "bare", "the tell of '{}:bare' must return a state and a"),
      ("strategy", "short", "config.strategy.name: {}: TypeError: short.<"),
      ("space", "Space", "config.space.name: {}:21: TracerIntegerConversion"),
  ]:
    config = config_of(own).unlock()
    config[block].name = f"{file}:{name}"
    if block == "strategy":
      del config.greedy
    assert message.format(file) in refusal(config)
  for config in (digits_micro, digits_micro_final):
    config = config.get_config("smoke").unlock()
    config.task = {"name": f"{file}:lost"}
    said = refusal(config)
    assert said == f"config.task.name: {file}:28: ValueError: never"


def test_a_space_of_one_network_says_its_size(own, tmp_path):
  file = written(tmp_path, "one.py", """
      import own
      from enas_jax.types import Size

      class Net(own.nn.Module):
        classes: int
        dtype: str = "float32"

        @own.nn.compact
        def __call__(self, images, arch, *, train, dropout=None, progress=1.0):
          return own.nn.Dense(self.classes)(images.mean((1, 2))), None

      class Space(own.Space):
        module = Net

        def size(self, arch, network, image):
          return Size(image[2] * network.classes, 0.0)
      """)
  config = config_of(own).unlock()
  config.space.name = f"{file}:Space"
  for each in (config, config.retrain.config):
    each.network = {}
  plan = build.plan(config)
  assert plan.size(()) == plan.size_here(())


def test_the_block_of_a_strategy_is_its_own(own, tmp_path):
  file = written(tmp_path, "named.py", """
      from enas_jax.strategies.random import random as data
      """)
  config = config_of(own).unlock()
  del config.greedy
  config.strategy.name = f"{file}:data"
  assert refusal(config) == (
      f"config.strategy.name: config.data is something else; call"
      f" '{file}:data' otherwise."
  )


def test_the_command_at_the_end_names_the_own_final_config(
    own, tmp_path, monkeypatch
):
  written(own.parent, "final.py", FINAL)
  config = config_of(own, "").unlock()
  config.retrain.random, config.retrain.config = 0, {}
  config.retrain.command = str(own.parent / "final.py")
  plan = build.plan(config)
  assert plan.command[0] == f"--config={own.parent}/final.py"
  assert f"--config.data.name={own}:load" in plan.command
  assert plan.record["retrain"]["command"] == "final.py"
  # What the search leaves trains, also where the files have moved.
  content = {"space": plan.record["space"], "encoding": [1, 2]}
  (tmp_path / "arch.json").write_text(json.dumps(content))
  moved = written(tmp_path / "moved")
  final = configfile.load(
      "--config", str(written(moved.parent, "final.py", FINAL))
  )
  for text, expected in [
      (str(tmp_path / "arch.json"), "1 2"), ("mine", "1 0"), ("!21", "2 1")
  ]:
    final.arch = text
    if text == "!21":
      final.space.layers = 2
    assert build.plan(final).record["arch"] == expected


def test_what_a_get_config_lacks_is_one_line(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for text, message in [
      ("x = 1", "a.py has no function get_config."),
      ("def get_config():\n  pass", "a.py: its get_config() returns nothing."),
      ("def get_config():\n  return 1 + ''", "a.py:2: TypeError: unsupported"),
  ]:
    file = written(tmp_path, "a.py", text)
    with pytest.raises(ConfigError) as caught:
      configfile.load("--config", "a.py")
    assert str(caught.value).startswith(f"--config: {message}")
    sys.modules.pop(str(file))
    os.utime(file, (0, len(text)))  # or a compiled file might be taken for it


@pytest.mark.parametrize("kind", ["space", "network", "task"])
@pytest.mark.parametrize("name", ["evil.py:X", "evil:X"])
def test_a_model_runs_no_code_that_it_names(kind, name, tmp_path, monkeypatch):
  file = tmp_path / "evil.py"
  file.write_text("open('ran', 'w')\nX = None\n")
  monkeypatch.syspath_prepend(tmp_path)
  monkeypatch.chdir(tmp_path)
  content = {
      "format": modelfile.FORMAT,
      "space": {"name": "micro", "nodes": 1},
      "arch": {"encoding": [0, 0, 0, 0] * 2, "readable": []},
      "network": {"classes": 2, "filters": 4},
      "task": {"name": "classification"},
      "images": {
          "shape": [8, 8, 1], "mean": [0.5], "std": [0.5], "classes": ["a", "b"]
      },
      "metrics": {},
      "config_hash": "",
      "versions": {},
      "weights": {"sha256": ""},
  }
  if kind == "network":
    content["space"] = None
  content[kind] = {**content[kind], "name": name}
  (tmp_path / "model.json").write_text(json.dumps(content))
  with pytest.raises(ConfigError) as caught:
    enas_jax.load(tmp_path)
  assert f"{kind}.name: {name!r} is none of " in str(caught.value)
  assert f"load it with {kind}=" in str(caught.value)
  assert "\n" not in str(caught.value)
  assert not (tmp_path / "ran").exists()


def test_a_name_is_recorded_without_its_folder():
  assert registry.recorded("a/b/c.py:D") == "c.py:D"
  assert registry.recorded("a.b.c:D") == "a.b.c:D"
  assert registry.recorded("micro") == "micro"
  assert registry.short("a/c.py:D") == "D"


def test_own_strategies_are_compared_with_ours(own, tmp_path, monkeypatch):
  def ended(plan, where):
    asked.append((plan.record["strategy"]["name"], where))

  asked = []
  monkeypatch.setattr(search_vs_random, "_ended", ended)
  with pytest.raises(Diverged):
    search_vs_random.compared(
        config_of(own), [f"{own}:greedy", "random"], [3], str(tmp_path / "W")
    )
  assert asked == [
      ("own.py:greedy", str(tmp_path / "W" / "greedy_3")),
      ("random", str(tmp_path / "W" / "random_3")),
  ]


def test_an_own_strategy_proposes_archs_of_a_space_of_choices(tmp_path):
  file = tmp_path / "same.py"
  file.write_text("from enas_jax.strategies.random import random")
  config = own_images.get_config("smoke")
  config.strategy.name = f"{file}:random"
  assert build.plan(config).experiment.strategy.least == 1


def test_a_trained_model_is_given_its_own_parts(own, tmp_path):
  plan = build.plan(config_of(own)).retrain
  state = loop.start(plan.experiment)
  modelfile.write(tmp_path / "model", plan, state, {})
  with pytest.raises(ConfigError, match=r"space\.name: 'own.py:Space' is none"):
    enas_jax.load(tmp_path)
  space = registry.find("space", f"{own}:Space", "space", {})
  with pytest.raises(ConfigError, match=r"task\.name: 'own.py:task' is none"):
    enas_jax.load(tmp_path, space)
  task = registry.find("task", f"{own}:task", "task", {})
  model = enas_jax.load(tmp_path, space, task=task)
  assert model.space == space(layers=2)
  named = enas_jax.load(tmp_path, f"{own}:Space", task=f"{own}:task")
  assert named.space == space(layers=2)
  blank = np.zeros((8, 8, 1), np.uint8)
  assert model.predict(blank).shape == (1, 3)
  # A training that goes on from it has named these parts itself.
  config = config_of(own).retrain.config.unlock()
  config.space = {"name": f"{own}:Space", "layers": 2}
  config.data.name = f"{own}:load"
  config.arch = config.init = str(tmp_path)
  assert build.plan(config).start.fresh == ()
