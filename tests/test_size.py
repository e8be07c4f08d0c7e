"""The size of an architecture is that of the network that is built from it."""

import contextlib
import functools
import json
import types

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from enas_jax import build, data, run, settings, steps
from enas_jax.build import recipes, spaces
from enas_jax.configs import (
  cifar_macro,
  digits_macro,
  digits_micro,
  own_images,
  pydoc_recurrent,
)
from enas_jax.derive import candidates, flops, latency, objective, places
from enas_jax.errors import ConfigError
from enas_jax.nn import avg_pool, Classifier, ConvNorm
from enas_jax.report import words
from enas_jax.report.display import Display
from enas_jax.spaces import choices, SPACES
from enas_jax.strategies import STRATEGIES
from enas_jax.tasks import TASKS

NETWORKS = [
    ("macro", {"layers": 4}, {"filters": 3, "widen": 2, "concat": True}),
    ("macro", {"layers": 7}, {"filters": 4, "plain_convs": True}),
    ("macro", {"layers": 3}, {"filters": 3, "concat": True, "stretch": 2}),
    ("micro", {"nodes": 2}, {"filters": 4, "cells": 4}),
    ("micro", {"nodes": 4}, {"filters": 4, "cells": 1}),
    ("macro", {"layers": 4}, {"filters": 3, "stem": 1}),
    ("micro", {"nodes": 2}, {"filters": 4, "cells": 1, "stem": 2}),
    ("nasbench201", {}, {"filters": 4, "cells": 2}),
]
IMAGE = (9, 12, 3)


def built(network, arch, image):
  """(parameters without the auxiliary head, operations of an image)."""
  images = jnp.ones((2, *image))
  variables = jax.eval_shape(
      lambda key: network.init({"params": key}, images, arch, train=True),
      jax.random.key(0),
  )
  params = {k: v for k, v in variables["params"].items() if k != "aux"}
  count = flops.count(
      lambda variables: network.apply(variables, images, arch, train=False),
      variables,
  )
  return sum(leaf.size for leaf in jax.tree.leaves(params)), count / 2


@pytest.mark.parametrize("name, arguments, hparams", NETWORKS)
def test_the_size_is_that_of_the_built_network(name, arguments, hparams):
  space = SPACES[name](**arguments)
  network = space.network(classes=5, final=True, **hparams)
  uniform = STRATEGIES["random"](space)
  drawn = steps.propose(uniform, (), jax.random.key(1), 6)
  traced = jax.jit(
      jax.vmap(lambda arch: space.size(arch, network, IMAGE))
  )(drawn)
  found = set()
  for n, arch in enumerate(steps.listed(drawn, 6)):
    size = space.size(arch, network, IMAGE)
    found.add(size)
    assert size == built(network, arch, IMAGE)
    assert traced.params[n] == size.params
    np.testing.assert_allclose(traced.flops[n], size.flops, rtol=1e-6)
  assert len(found) > 1


@pytest.mark.parametrize("name, preset, hparams, params", [
    ("micro", "enas_micro", {"cells": 15, "filters": 36}, 3_894_372),
    (
        "macro",
        "enas_macro_24",
        {"filters": 96, "widen": 2, "concat": True},
        30_947_424,
    ),
])
def test_the_references_counts(name, preset, hparams, params):
  given = SPACES[name].presets[preset]
  space = SPACES[name](**given.space)
  network = space.network(classes=10, final=True, **hparams)
  arch = space.unflatten(given.encoding)
  assert space.size(arch, network, (32, 32, 3)).params == params


def final_size(config):
  """(space, arch -> its Size) of a search on images of 32 pixels."""
  space, _ = spaces.read(config, {})
  source = types.SimpleNamespace(facts={"classes": 10})
  run = settings.Run(epochs=1)
  network = recipes.network(config, space.network, source, run)
  return space, lambda arch: space.size(arch, network, (32, 32, 3))


def test_the_cost_is_that_of_the_network_that_is_retrained():
  config = cifar_macro.get_config()
  space, size = final_size(config)
  alone, most = (
      space.unflatten(
          [n for layer in range(12) for n in (0, *[bit] * layer)]
      )
      for bit in (0, 1)
  )
  assert size(alone).params == 9_293_472
  assert size(most).params == 15_763_104
  config.network.filters = 7  # of the search alone
  assert final_size(config)[1](most).params == 15_763_104
  own = digits_macro.get_config()
  space, size = final_size(own)
  arch = space.unflatten([0] * 21)
  own.retrain.config.network.filters *= 2
  assert final_size(own)[1](arch).params > 3 * size(arch).params


def test_the_objective_takes_off_what_is_above_its_target(monkeypatch):
  config = digits_micro.get_config("smoke")
  plan = build.plan(config)
  assert plan.penalty is None
  drawn = steps.propose(plan.uniform, (), jax.random.key(0), 20)
  costs = np.asarray(jax.vmap(plan.size)(drawn).flops)
  target = float(np.median(costs))
  config.objective.update(cost="flops", target=target, weight=0.5)
  classification = TASKS["classification"]

  @functools.wraps(classification)
  def flat(*args, **kwargs):
    task = classification(*args, **kwargs)
    return task._replace(reward=lambda *unused: 0.9)

  monkeypatch.setitem(TASKS, "classification", flat)
  task = build.plan(config).experiment.task
  rewards = jax.jit(
      jax.vmap(lambda arch: task.reward(None, None, arch, None, None))
  )(drawn)
  over = np.maximum(0.0, costs / target - 1)
  assert over.max() > 0.1
  np.testing.assert_allclose(rewards, 0.9 - 0.5 * over, rtol=1e-5)


class Twice(nn.Module):
  """Two widths in a row, so that what one costs depends on the other."""

  classes: int

  @nn.compact
  def __call__(self, images, arch):
    x = images
    for width in arch.width:
      x = choices.narrow(width, ConvNorm(8, 1, relu=False), x)
    return Classifier(self.classes)(x)


class Layered(nn.Module):
  """Two layers of one of two operations."""

  classes: int

  @nn.compact
  def __call__(self, images, arch):
    x = ConvNorm(4, relu=False)(images)
    for op in arch.op:
      x = choices.apply(op, {"conv": ConvNorm(4), "pool": avg_pool}, x)
    return Classifier(self.classes)(x)


OWN = {
    "twice": choices.space(Twice, width=choices.one_of(0.5, 1.0, times=2)),
    "layered": choices.space(
        Layered, op=choices.one_of("conv", "pool", times=2)
    ),
}


def config_of(name, monkeypatch, **objective):
  """Returns a small search of a space of one's own."""
  monkeypatch.setitem(SPACES, name, OWN[name])
  config = own_images.get_config("smoke")
  for each in (config, config.retrain.config):
    each.network = {"final": True} if each is not config else {}
  config.space = {"name": name}
  config.objective = objective
  return config


def test_the_size_by_measured_choices_is_the_spaces_own():
  space = SPACES["macro"](layers=2, operations="conv_3x3,sep_conv_5x5")
  source = data.load("synthetic")
  network = space.network(**source.facts, final=True, filters=3)
  task = TASKS["classification"](network)
  split, _ = source.search(batch=32, valid=64)
  measured = places.sized(space, task, split)
  drawn = steps.propose(STRATEGIES["random"](space), (), jax.random.key(1), 9)
  traced = jax.jit(jax.vmap(measured))(drawn)
  for n, arch in enumerate(steps.listed(drawn, 9)):
    own = space.size(arch, network, source.shape)
    assert measured(arch) == own
    assert traced.params[n] == own.params
    np.testing.assert_allclose(traced.flops[n], own.flops, rtol=1e-6)


def test_a_space_of_ones_own_has_an_objective(monkeypatch):
  config = config_of(
      "layered", monkeypatch, cost="params", target=100.0, weight=1.0
  )
  plan = build.plan(config)
  pools = plan.space.unflatten([1, 1])
  less, more = (plan.size(plan.space.unflatten([op, 1])) for op in (1, 0))
  assert more.params - less.params == 9 * 4 * 4 + 2 * 4
  assert less == plan.size(pools)
  assert plan.penalty(pools) == pytest.approx(less.params / 100 - 1)


def test_a_size_that_is_no_sum_is_refused(monkeypatch):
  config = config_of("twice", monkeypatch, cost="flops", target=1.0, weight=1.0)
  with pytest.raises(ConfigError) as caught:
    build.plan(config)
  text = str(caught.value)
  assert text.startswith("config.objective.cost: what a choice adds to the ")
  assert "depends on others" in text and "Write `size` in" in text
  assert "\n" not in text


def test_latency_is_measured_once_and_kept(tmp_path, monkeypatch):
  config = config_of(
      "layered", monkeypatch, cost="latency", target=1.0, weight=0.5
  )
  monkeypatch.setattr(latency, "TRIED", 4)
  asked = []

  def timed(task, split, archs):
    asked.append(len(archs))
    return np.array([2.0 + 3 * (arch.op.value == 0).sum() for arch in archs])

  monkeypatch.setattr(latency, "milliseconds", timed)
  with contextlib.closing(Display(tmp_path / "log.txt")) as shown:
    stage = run.Stage(build.plan(config), tmp_path, tmp_path, shown, None)
    plan = run._timed(stage).plan
    saved = json.loads((tmp_path / "latency.json").read_text())
    assert saved["base"] == [8.0] and saved["device"]
    kept = {**saved, "base": [9.0]}
    (tmp_path / "latency.json").write_text(json.dumps(kept))
    resumed = run._timed(stage).plan
  assert asked == [3]  # the choices, once
  one = plan.space.unflatten([0, 1])
  line = candidates.sized(plan, one)
  assert line["milliseconds"] == 5.0 and line["penalty"] == 0.5 * 4
  assert candidates.sized(resumed, one)["milliseconds"] == 6.0
  # A reward is less what the time takes off.
  flat = plan.experiment.task._replace(reward=lambda *unused: 0.9)
  task = objective.penalised(flat, plan.penalty)
  reward = jax.jit(lambda arch: task.reward(None, None, arch, None, None))
  assert reward(jax.tree.map(jnp.asarray, one)) == pytest.approx(0.9 - 2)
  # What is predicted is held against the clock.
  found = latency.report(plan, "this")
  assert asked == [3, 4] and found["predicted"] == found["measured"]
  assert found["mean_error"] == pytest.approx(0)
  assert latency.report(resumed, "this")["mean_error"] > 0
  assert "takes the derived network 5.00 ms on this" in words.latency(found, 5)
  json.dumps(found, allow_nan=False)


def test_networks_are_timed(monkeypatch):
  config = config_of(
      "layered", monkeypatch, cost="latency", target=1.0, weight=0.5
  )
  plan = build.plan(config)
  archs = [plan.space.unflatten(values) for values in ([0, 0], [1, 1])]
  times = latency.milliseconds(plan.timed.task, plan.experiment.held, archs)
  assert times.shape == (2,) and np.all(times > 0) and np.isfinite(times).all()


def test_where_all_cost_the_same_there_is_no_objective():
  config = pydoc_recurrent.get_config("smoke")
  config.objective = {"cost": "params", "target": 1.0, "weight": 1.0}
  with pytest.raises(ConfigError, match=r"config\.objective\.cost: all archit"):
    build.plan(config)


def test_candidates_of_before_sizes_were_wanted_have_none():
  plan = types.SimpleNamespace(
      experiment=types.SimpleNamespace(
          train=types.SimpleNamespace(unit="words")
      )
  )
  content = {"params": 20, "flops": 3.0}
  assert words.size(plan, content, [{"score": 1.0}]) == ""
  known = {"params": 10, "flops": 2.0}
  said = words.size(plan, content, [known, {"score": 1.0}])
  assert "3.000e+00 FLOPs for one of the words; random ones 10 to 10 " in said
