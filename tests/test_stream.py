"""Data that are read batch by batch, beside the same data in memory."""

import chex
import jax
import numpy as np
from PIL import Image
import pytest

from enas_jax import build, evaluate, loop
from enas_jax.configs import cifar_macro


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
  """A folder of two classes with 45 pictures to train on, and 20 to test."""
  root, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
  for split, counts in (("train", (25, 20)), ("test", (10, 10))):
    for name, count in zip("ab", counts, strict=True):
      path = root / split / name
      path.mkdir(parents=True)
      for n in range(count):
        pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).save(path / f"{n}.png")
  return root


def config(pictures, **data):
  config = cifar_macro.get_config("smoke")
  config.space.update(layers=2, operations="avg_pool_3x3,max_pool_3x3")
  config.child.batch = 8
  config.data = {
      "name": "folder",
      "path": str(pictures),
      "valid": 13,
      "eval_batch": 5,
      **data,
  }
  config.steps_per_call = 2
  return config


@pytest.fixture(scope="module")
def held(pictures):
  return build.plan(config(pictures)).experiment


@pytest.fixture(scope="module")
def streamed(pictures):
  return build.plan(config(pictures, stream=True, workers=0)).experiment


@pytest.fixture(scope="module")
def ended(held):
  return loop.fit(held, loop.start(held))


def without_key(state):
  return jax.device_get(state._replace(key=None))


def test_a_stream_is_the_same_to_the_bit(held, streamed, ended):
  state = loop.fit(streamed, loop.start(streamed))
  chex.assert_trees_all_equal(without_key(state), without_key(ended))
  arch = jax.jit(held.strategy.ask)(ended.strategy, jax.random.key(0))
  records = [
      evaluate.evaluator(each.task, each.held)(ended, arch)
      for each in (held, streamed)
  ]
  chex.assert_trees_all_equal(*records)


def test_a_stream_goes_on_at_any_step(streamed, ended):
  kept = []

  def save(state):
    if len(kept) < 2:
      kept.append(jax.tree.map(lambda leaf: leaf.copy(), state))

  amid = {2, streamed.child_steps + 1}
  hooks = loop.Hooks(due=lambda step: step in amid, save=save)
  loop.fit(streamed, loop.start(streamed), hooks)
  for state in kept:
    again = loop.fit(streamed, state)
    chex.assert_trees_all_equal(without_key(again), without_key(ended))
