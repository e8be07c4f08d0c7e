"""The size of an architecture is that of the network that is built from it."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from enas_jax import build, settings, steps
from enas_jax.build import recipes, spaces
from enas_jax.configs import (
  cifar_macro,
  digits_macro,
  digits_micro,
  pydoc_recurrent,
)
from enas_jax.derive import flops
from enas_jax.errors import ConfigError
from enas_jax.spaces import SPACES
from enas_jax.strategies import STRATEGIES
from enas_jax.tasks import TASKS

NETWORKS = [
    ("macro", {"layers": 4}, {"filters": 3, "widen": 2, "concat": True}),
    ("macro", {"layers": 7}, {"filters": 4, "plain_convs": True}),
    ("macro", {"layers": 3}, {"filters": 3, "concat": True, "stretch": 2}),
    ("micro", {"nodes": 2}, {"filters": 4, "cells": 4}),
    ("micro", {"nodes": 4}, {"filters": 4, "cells": 1}),
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


def test_where_all_cost_the_same_there_is_no_objective():
  config = pydoc_recurrent.get_config("smoke")
  config.objective = {"cost": "params", "target": 1.0, "weight": 1.0}
  with pytest.raises(ConfigError, match=r"config\.objective\.cost: all archit"):
    build.plan(config)
