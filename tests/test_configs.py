"""Every file of configs/: it builds, and says what its paper says."""

import importlib
import json
import pathlib
import re

import chex
import jax
import numpy as np
import pytest
from test_run import last, ran, Stop, tiny_texts

from enas_jax import build, loop, signals
from enas_jax.build import configfile
from enas_jax.configs import (
  cifar_macro,
  cifar_macro_final,
  cifar_micro_final,
  digits_macro,
  digits_micro,
  ptb_lstm_final,
  ptb_recurrent_final,
  pydoc_recurrent,
  pydoc_recurrent_final,
)
from enas_jax.errors import ConfigError
from enas_jax.strategies import STRATEGIES

_SEED = "must be a whole number >= 0 and < 4294967296"
FILES = pathlib.Path(__file__).parents[1] / "configs"
NAMES = configfile.shipped()


def small(name, variant="smoke"):
  return importlib.import_module(f"enas_jax.configs.{name}").get_config(variant)


def config_page(name):
  return importlib.import_module(f"enas_jax.configs.{name}").__doc__


def values(block, prefix=""):
  """The values of a config by their keys, without those of other configs."""
  for key, value in block.items():
    if isinstance(value, dict) and key not in ("config", "retrain"):
      yield from values(value, f"{prefix}{key}.")
    elif key not in ("config", "retrain"):
      yield f"{prefix}{key}", value


@pytest.mark.parametrize("name", NAMES)
def test_the_faithful_profile_sets_what_the_page_of_its_config_says(name):
  page, promise = name, None
  while promise is None:
    words = config_page(page)
    if "no profile" in words:
      with pytest.raises(ConfigError, match=r"^config: profile=.* nothing"):
        small(name, "profile=faithful")
      return
    promise = re.search(r"The faithful profile sets ([^.;]*)[.;]", words)
    page = re.search(r"Variants as in (\w+)\.py\.", words)
    page = page and page.group(1)
  one = dict(values(small(name, "").to_dict()))
  other = dict(values(small(name, "profile=faithful").to_dict()))
  assert one.keys() == other.keys()
  options = {key.split(".")[-1] for key in one}
  promised = options & set(re.findall(r"\w+", promise.group(1)))
  changed = {key.split(".")[-1] for key in one if one[key] != other[key]}
  assert promised == changed


@pytest.mark.parametrize("variant", ["smoke", "smoke,profile=faithful"])
@pytest.mark.parametrize("name", NAMES)
def test_every_config_builds_in_small(name, variant):
  if "profile" in variant and "no profile" in config_page(name):
    return
  config = small(name, variant)
  plan = build.plan(config)
  assert plan.experiment.epochs == 2
  json.dumps(plan.record, allow_nan=False)
  assert (plan.experiment.arch is None) != name.endswith("_final")
  if plan.derive and not plan.retrain:
    # The config that would retrain is there, and of the same space.
    final, _, own = config.retrain.command.partition(":")
    if "no profile" in config_page(final):
      variant = "smoke"
    assert own == variant
    assert name.startswith(final.removesuffix("_final"))
    assert small(final).space.name == config.space.name


def test_the_macro_search_is_the_references():
  config = cifar_macro.get_config()
  assert (config.child.batch, config.epochs) == (128, 310)
  assert (config.child.lr, config.child.lr_min) == (0.05, 5e-4)
  assert config.child.l2 == 2.5e-4
  assert (config.strategy.steps, config.strategy.archs) == (50, 20)
  reinforce = config.reinforce
  assert (reinforce.lr, reinforce.b1, reinforce.eps) == (1e-3, 0.0, 1e-3)
  assert (reinforce.entropy_weight, reinforce.skip_weight) == (1e-4, 0.8)
  assert (config.space.scale, config.space.skip_target) == (1.5, 0.4)
  assert (config.network.filters, config.network.keep) == (36, 0.9)


def test_the_macro_final_training_is_the_references():
  config = cifar_macro_final.get_config()
  assert (config.child.batch, config.epochs) == (100, 310)
  assert (config.child.lr, config.child.lr_min) == (0.05, 1e-3)
  assert config.child.l2 == 2e-4
  network = config.network
  assert (network.filters, network.widen, network.keep) == (96, 2, 0.5)


@pytest.mark.parametrize("variant, hidden, vary, loose, averages, drops", [
    ("", 850, False, True, (2000, 0), [0.15, 0.2, 0.75, 0.25, 0.75]),
    (
        "recipe=gpu",
        800,
        True,
        None,  # by dialect
        (0, 10),
        [0.125, 0.175, 0.725, 0.225, 0.75],
    ),
])
def test_the_recurrent_recipes_are_the_references(
    variant, hidden, vary, loose, averages, drops
):
  config = ptb_recurrent_final.get_config(variant)
  network, child = config.network, config.child
  keeps = ("word", "embedded", "input", "state", "output")
  found = [1 - network[f"{name}_keep"] for name in keeps]
  assert found == pytest.approx(drops)
  assert (network.hidden, network.loose) == (hidden, loose)
  assert (config.data.length, config.data.vary) == (35, vary)
  assert (child.batch, child.lr, child.clip, child.l2) == (64, 20, 0.25, 8e-7)
  assert (child.average_after, child.patience) == averages
  # Of pydoc, the same recipe in small.
  small = pydoc_recurrent_final.get_config(variant)
  assert (small.child.average_after, small.child.patience) == averages


@pytest.mark.parametrize("profile", ["repaired", "faithful"])
def test_the_macro_profiles_set_every_quirk(profile):
  search = cifar_macro.get_config(f"profile={profile}")
  final = cifar_macro_final.get_config(f"profile={profile}")
  quirks = [
      search.space.kl_of_half,
      search.space.shifted_anchors,
      search.reinforce.single_entropy,
      search.reinforce.zero_baseline,
      search.child.l2_all,
      final.child.l2_all,
      final.network.plain_convs,
      final.augment.cutout_corner,
  ]
  assert quirks == [profile == "faithful"] * len(quirks)


@pytest.mark.parametrize("profile", ["repaired", "faithful"])
def test_the_faithful_search_for_a_cell_has_the_papers_loop(profile):
  config = pydoc_recurrent.get_config(f"profile={profile}")
  own = [
      config.strategy.children == "random",
      config.strategy.warmup == 10,
      config.strategy.same_batch,
      config.reinforce.step_baseline,
  ]
  assert own == [profile == "repaired"] * len(own)


def final_of(tmp_path, **network):
  """Parameter shapes of a final training of 3 layers found elsewhere."""
  space = {"name": "macro", "layers": 3, "skip_target": 0.3}
  found = {"space": space, "encoding": [1, 4, 1, 0, 0, 1]}
  (tmp_path / "arch.json").write_text(json.dumps(found))
  config = cifar_macro_final.get_config("smoke")
  config.arch = str(tmp_path / "arch.json")
  config.network.update(network)
  plan = build.plan(config)
  own = plan.record["space"]
  assert {key: own[key] for key in space} == space
  assert plan.record["arch"] == "1 4 1 0 0 1"
  parts = plan.experiment
  batch = parts.train.shapes()
  key = jax.random.key(0)
  return jax.eval_shape(lambda: parts.task.init(key, batch, parts.arch))[0]


@pytest.mark.parametrize("stretch, layers", [(1, 3), (2, 6)])
def test_a_found_network_trains_as_found_and_stretched(
    stretch, layers, tmp_path
):
  params = final_of(tmp_path, stretch=stretch)
  assert sum(name.startswith("layer_") for name in params) == layers


def test_a_preset_brings_its_space():
  assert cifar_macro_final.get_config().arch == "enas_macro_24"
  config = cifar_macro_final.get_config("smoke")
  config.arch = "enas_macro_12"
  record = build.plan(config).record
  assert record["space"]["layers"] == 12
  assert len(record["arch"].split()) == 78


def test_what_an_arch_brings_and_what_was_said_must_agree(tmp_path):
  config = cifar_micro_final.get_config("smoke")
  config.space.nodes = 3
  with pytest.raises(ConfigError) as caught:
    build.plan(config)
  assert str(caught.value) == (
      "config.space.nodes: is 3, but config.arch='enas_micro' is of 5. Leave"
      " one of them out."
  )
  config.space.nodes = 5
  assert build.plan(config).record["space"] == {"name": "micro", "nodes": 5}
  found = {"space": {"name": "micro", "nodes": 2}, "encoding": [0, 0, 1, 0] * 4}
  (tmp_path / "arch.json").write_text(json.dumps(found))
  config.arch = str(tmp_path / "arch.json")
  with pytest.raises(ConfigError, match=r"config\.space\.nodes: is 5, but"):
    build.plan(config)


@pytest.mark.parametrize(
    "key, near",
    [
        ("epoch", "epochs"),
        ("augment.flipp", "flip"),
        ("strategy.arch", "archs"),
        ("evolution.populations", "population"),  # not the chosen strategy
        ("objective.targets", "target"),
        ("derive.randoms", "random"),
        ("retrain.configs", "config"),
    ],
)
def test_a_key_that_nothing_reads_is_refused(key, near):
  config = digits_micro.get_config("smoke").unlock()
  config.update_from_flattened_dict({key: 1})
  with pytest.raises(ConfigError, match=f"config.{key}: .*mean '{near}'"):
    build.plan(config)


@pytest.mark.parametrize(
    "config, block, value, message",
    [
        (cifar_macro, "eval_every", 1, "config.eval_every: "),
        (cifar_macro, "data", {"length": 9}, "config.data.length: "),
        (pydoc_recurrent_final, "data", {"valid": 9}, "config.data.valid: "),
        (pydoc_recurrent_final, "augment", {"pad": 1}, "config.augment: "),
        (pydoc_recurrent_final, "derive", {"top": 1}, "config.derive: "),
    ],
)
def test_a_key_of_other_runs_is_refused(config, block, value, message):
  config = config.get_config("smoke").unlock()
  config.update({block: value})
  with pytest.raises(ConfigError) as caught:
    build.plan(config)
  assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("layers", 0, "must be a whole number >= 1 and <= 100, got 0."),
        ("layers", 2.0, "must be a whole number >= 1 and <= 100, got"),
        ("skip_target", 0.0, "must be a number > 0"),
        ("operations", "conv", "unknown operation"),
        ("widen", 0, "must be a whole number >= 1, got 0."),
        ("filters", 36.0, "must be a whole number >= 1"),
        ("keep", 1.5, "must be a number > 0 and <= 1, got"),
        ("keep", 0, "must be a number > 0 and <= 1, got 0."),
        ("concat", 1, "must be true or false, got 1."),
        ("width", 1, "no such key."),
    ],
)
def test_what_no_macro_network_can_be_is_refused(key, value, message):
  config = cifar_macro.get_config("smoke").unlock()
  name = "space" if key in config.space else "network"
  block = config[name]
  with block.ignore_type():
    block[key] = value
  with pytest.raises(ConfigError) as caught:
    build.plan(config)
  assert str(caught.value).startswith(f"config.{name}.{key}: {message}")


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("seed", 0.5, f"{_SEED}, got 0.5."),
        ("seed", True, f"{_SEED}, got True."),
        ("epochs", "2", "must be a whole number >= 1, got '2'."),
        ("epochs", None, "must be a whole number >= 1, got None."),
        ("strategy.steps", 0.5, "must be a whole number >= 0, got 0.5."),
        ("strategy.warmup", 0.5, "must be a whole number >= 0, got 0.5."),
        ("strategy.same_batch", "False", "must be true or false, got 'False'."),
        ("strategy.at_once", 2, "must be 1 where choices are branches"
         " (config.network.arithmetic=True has none), got 2: every branch"
         " would run."),
        ("space.kl_of_half", "False", "must be true or false, got 'False'."),
        ("network.concat", "False", "must be true or false, got 'False'."),
        ("child.l2_all", "False", "must be true or false, got 'False'."),
        ("augment.flip", "False", "must be true or false, got 'False'."),
        ("augment.scale", 0.0, "must be a number > 0 and <= 1, got 0.0."),
        ("augment.ratio", 0.5, "must be a number >= 1, got 0.5."),
        ("reinforce.step_baseline", 1, "must be true or false, got 1."),
        ("reinforce.lr", "0.1", "must be a number > 0, got '0.1'."),
        ("child.l2", "0", "must be a number >= 0, got '0'."),
        ("child.l2", None, "must be a number >= 0, got None."),
    ],
)
def test_a_value_of_another_kind_is_refused(key, value, message):
  config = cifar_macro.get_config("smoke")
  block, _, name = key.rpartition(".")
  with config.ignore_type():
    (config[block] if block else config)[name] = value
  with pytest.raises(ConfigError) as caught:
    build.plan(config)
  assert str(caught.value) == f"config.{key}: {message}"


@pytest.mark.parametrize(
    "gone, message",
    [
        ("retrain", "config.retrain.command: is required where config.retrain"),
        ("retrain.command", "config.retrain.command: is required where"),
        ("strategy.steps", "config.strategy.steps: is required: Strategy"),
        ("strategy.archs", "config.strategy.archs: is required: "),
        ("strategy", "config.strategy.name: is required: "),
        ("space.name", "config.space.name: is required. Choices: macro, "),
        ("child.lr", "config.child.lr: 'nesterov' needs it: The highest"),
        ("child.batch", "config.child.batch: 'synthetic' needs it: "),
        ("data.valid", "config.data.valid: 'synthetic' needs it: "),
        ("epochs", "config.epochs: is required: "),
    ],
)
def test_what_is_missing_is_told_at_the_start(gone, message):
  config = cifar_macro.get_config("smoke").unlock()
  block, _, name = gone.rpartition(".")
  del (config[block] if block else config)[name]
  with pytest.raises(ConfigError) as caught:
    build.plan(config)
  assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "gone", ["derive", "derive.top", "objective", "evolution", "augment"]
)
def test_what_has_a_default_may_be_missing(gone):
  config = cifar_macro.get_config("smoke").unlock()
  block, _, name = gone.rpartition(".")
  del (config[block] if block else config)[name]
  plan = build.plan(config)
  assert plan.derive.top == (5 if "derive" in gone else 2)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("network", None, "network: must be a block of keys, got None."),
        ("network", 3, "network: must be a block of keys, got 3."),
        ("network.final", True, "network.final: is for trainings, got True."),
        ("space.name", ["a"], "space.name: unknown search space ['a']."),
        ("child.optimiser", ["a"], "child.optimiser: unknown optimiser ['a']."),
        ("task.name", 3, "task.name: unknown task 3."),
        ("data.name", 3, "data.name: must be text, got 3."),
        ("data.name", None, "data.name: is required. Choices: digits, "),
        ("data.pad", 3, "data.pad: no such key of 'synthetic'."),
        ("data.batch", 3, "data.batch: no such key of 'synthetic'."),
        ("data.name", "pydoc", "task.name: 'pydoc' is data for the task"),
        ("arch", "smoke_macro", "strategy: searches, but config.arch or"),
        ("retrain.config", "configs/x.py", "retrain.config: must be"),
        ("retrain.config.data", None, "retrain.config.data: must be a block"),
        ("retrain.config.augment", 1, "retrain.config.augment: must be a"),
        ("retrain.config.seed", 1, "retrain.config.seed: does nothing here"),
        ("retrain.config.strategy", {}, "retrain.config.strategy: no such key"),
        ("derive.config", {"epochs": 0}, "derive.config.epochs: must be"),
    ],
)
def test_a_value_of_no_sense_is_one_line(key, value, message):
  config = digits_macro.get_config("smoke").unlock()
  block, _, name = key.rpartition(".")
  with config.ignore_type():
    inner = config
    for each in filter(None, block.split(".")):
      inner = inner[each]
    inner[name] = value
  with pytest.raises(ConfigError) as caught:
    build.plan(config)
  assert str(caught.value).startswith(f"config.{message}")
  assert "\n" not in str(caught.value)


def test_a_config_that_is_none_is_one_line():
  with pytest.raises(ConfigError, match="must be a ConfigDict, got 3"):
    build.plan(3)


def test_the_record_of_a_run_takes_no_data():
  for config in (digits_macro, cifar_macro_final, ptb_lstm_final):
    small = config.get_config("smoke")
    expected = build.plan(small).record
    small.data.name = "cifar10"  # which is not there
    expected["data"] = {**expected["data"], "name": "cifar10"}
    assert build.record(small) == expected


def test_the_loop_measures_a_training_by_itself():
  config = ptb_lstm_final.get_config("smoke").unlock()
  config.update(epochs=1)
  config.child.update(average_after=0, patience=1)
  experiment = build.plan(config).experiment
  state = loop.fit(experiment, loop.start(experiment))
  assert np.isfinite(state.opt_state.trigger[1]).all()


def test_plain_sgd_trains_images():
  config = cifar_macro.get_config("smoke").unlock()
  config.space.update(layers=2, operations="avg_pool_3x3,max_pool_3x3")
  config.child = {"optimiser": "sgd", "batch": 32, "lr": 0.1, "clip": 0.0}
  config.update(epochs=1, strategy={"steps": 0})
  experiment = build.plan(config).experiment
  first = loop.start(experiment)
  before = jax.tree.map(np.asarray, first.params)
  after = loop.fit(experiment, first).params
  moved = jax.tree.map(lambda a, b: np.any(a != b), before, after)
  assert any(jax.tree.leaves(moved))


def test_a_strangers_strategy_needs_no_edit_of_the_house(monkeypatch):
  def mine(space, *, rate: "float | None" = None, on: "bool" = False):
    """Asks at random.

    Args:
      space: the space.
      rate: nothing.
      on: nothing either.
    """
    asked.append((rate, on))
    return STRATEGIES["random"](space)

  asked = []
  monkeypatch.setitem(STRATEGIES, "mine", mine)
  config = cifar_macro.get_config("smoke").unlock()
  config.strategy.name = "mine"
  config.mine = {"rate": 0.5}
  assert build.plan(config).experiment.strategy.least == 1
  assert asked == [(0.5, False)]
  config.mine.on = "False"
  with pytest.raises(ConfigError, match=r"config\.mine\.on: .* true or false"):
    build.plan(config)
  config.mine = {"rat": 1.0}
  with pytest.raises(ConfigError, match=r"config\.mine\.rat: .*mean 'rate'"):
    build.plan(config)


def test_an_average_of_shared_rows_has_to_be_asked_for():
  config = pydoc_recurrent.get_config("smoke").unlock()
  config.child.average_after = 10
  with pytest.raises(ConfigError, match=r"config\.child\.whole: must be True"):
    build.plan(config)
  config.child.whole = True
  build.plan(config)
  config.child.patience = 2.5
  with pytest.raises(ConfigError, match=r"config\.child\.patience: .* 2\.5\."):
    build.plan(config)


def test_a_plan_leaves_the_data_on_the_host():
  plan = build.plan(digits_micro.get_config("smoke"))
  for experiment in (plan.experiment, plan.retrain.experiment):
    for split in (experiment.train, experiment.held):
      leaves = jax.tree.leaves(split.arrays)
      assert all(type(leaf) is np.ndarray for leaf in leaves)
  # One reading serves both.
  one, other = (
      each.experiment.train.arrays.images for each in (plan, plan.retrain)
  )
  assert np.shares_memory(one, other)


def test_a_run_stopped_while_it_averages_is_the_uninterrupted_one(
    tmp_path, monkeypatch
):
  path = tiny_texts(tmp_path / "texts")

  def config():
    config = pydoc_recurrent_final.get_config("smoke")
    config.space.update(nodes=2, dialect="lm")
    config.arch = "0 1 1 2"
    config.data.update(name="ptb", path=path)
    config.child.average_after = 4
    return config

  whole = ran(config(), tmp_path / "whole")
  with monkeypatch.context() as patched:
    Stop(patched, 9)
    with pytest.raises(signals.Interrupted):
      ran(config(), tmp_path / "run")
  assert ran(config(), tmp_path / "run") == whole
  chex.assert_trees_all_equal(last(tmp_path / "run"), last(tmp_path / "whole"))
  # The mean is of all weights since, and what is measured.
  state = last(tmp_path / "run")
  average = state["opt_state"]
  assert int(average["count"]) == int(state["step"]) - 4
