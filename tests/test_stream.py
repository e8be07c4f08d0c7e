"""Data that are read batch by batch, beside the same data in memory."""

import contextlib
import json
import shutil
import sys

import chex
import jax
import numpy as np
from PIL import Image
import pytest

from enas_jax import build, data, feeds, loop, run
from enas_jax.build import recipe
from enas_jax.configs import cifar_macro, cifar_macro_final
from enas_jax.derive import candidates
from enas_jax.errors import ConfigError


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


def config(pictures, **more):
  config = cifar_macro.get_config("smoke")
  config.space.update(layers=2, operations="avg_pool_3x3,max_pool_3x3")
  config.child.batch = 8
  config.data = {
      "name": "folder",
      "path": str(pictures),
      "valid": 13,
      "eval_batch": 5,
      **more,
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


def test_a_streamed_search_is_the_same_to_the_bit(
    pictures, held, ended, tmp_path
):
  plan = build.plan(config(pictures, stream=True, workers=0))
  run.run(plan, tmp_path / "run", show=False)
  lines = (tmp_path / "run" / "derive.jsonl").read_text().splitlines()
  in_memory = plan._replace(experiment=held)
  drawn = candidates.drawn(in_memory, ended)
  for line, own in zip(
      map(json.loads, lines),
      candidates.scored(in_memory, ended, drawn),
      strict=True,
  ):
    assert {**line, "seconds": 0} == {**own, "seconds": 0}


def whole(pictures, path, **more):
  """Runs a search with two finalists and a retraining; returns its folder."""
  search = config(pictures, **more)
  final = cifar_macro_final.get_config("smoke")
  final.child.batch, final.data = 8, {**search.data.to_dict(), "valid": 0}
  search.derive.update(finalists=2, config=recipe(final))
  search.retrain = {"random": 0, "command": "", "config": recipe(final)}
  search.epochs = search.derive.config.epochs = final.epochs = 1
  run.run(build.plan(search), path, show=False)
  return path


def told(path):
  """Returns what each training ended with, but for clocks and config."""
  found = {
      str(each.relative_to(path)): json.loads(each.read_text())
      for each in path.rglob("result.json")
  }
  assert len(found) == 4
  named = jax.tree_util.tree_leaves_with_path(found)
  leaves = {jax.tree_util.keystr(name): leaf for name, leaf in named}
  own = ("'seconds", "'config_hash")
  return {
      name: leaf
      for name, leaf in leaves.items()
      if not any(key in name for key in own)
  }


def test_streamed_finalists_and_retrainings_are_those_in_memory(
    pictures, tmp_path
):
  held = told(whole(pictures, tmp_path / "held"))
  more = {"stream": True, "workers": 0}
  streamed = told(whole(pictures, tmp_path / "streamed", **more))
  assert streamed.keys() == held.keys()
  for name, own in held.items():
    # Without optimisations, as the tests compile, the programs round otherwise.
    near = isinstance(own, float)
    expected = pytest.approx(own, rel=1e-5, abs=1e-7) if near else own
    assert streamed[name] == expected, name


def test_a_stream_goes_on_at_any_step(streamed, ended):
  kept = []

  def save(state):
    if len(kept) < 2:
      kept.append(jax.tree.map(lambda leaf: leaf.copy(), state))

  amid = {2, streamed.child_steps + 1}
  hooks = loop.Hooks(due=lambda step: step in amid, save=save)
  whole = without_key(loop.fit(streamed, loop.start(streamed), hooks))
  chex.assert_trees_all_equal(whole.params, ended.params)
  # Without optimisations, as the tests compile, this program rounds otherwise.
  chex.assert_trees_all_close(whole.strategy, ended.strategy, atol=1e-8)
  for state in kept:
    again = loop.fit(streamed, state)
    chex.assert_trees_all_equal(without_key(again), whole)


def test_processes_that_read_change_nothing(streamed):
  images = streamed.train.stream.images
  order = feeds.Order(jax.random.key, 3, streamed.train.steps)
  found = []
  for workers in (0, 2):
    stream = streamed.train.stream._replace(
        images=images._replace(workers=workers)
    )
    with contextlib.closing(stream.read(order, 1, 2)) as batches:
      found.append(list(batches))
  assert len(found[0]) == 2 * streamed.train.steps - 2
  chex.assert_trees_all_equal(*found)


def test_a_process_reads_the_rows_of_its_devices(streamed, monkeypatch):
  steps = streamed.train.steps
  every = feeds.Order(jax.random.key, 1, steps)
  mine = every._replace(parts=(1, 2), of=4)
  examples = streamed.train.stream.images.examples
  read, asked = type(examples).read, []

  def counted(examples, numbers):
    asked.append(len(numbers))
    return read(examples, numbers)

  monkeypatch.setattr(type(examples), "read", counted)
  for order, rows in (every, slice(None)), (mine, slice(2, 6)):
    asked.clear()
    with contextlib.closing(streamed.train.stream.read(order, 0, 0)) as batches:
      found = list(batches)
    assert asked == [len(range(8)[rows])] * steps
    if order is every:
      all_rows = found
    expected = jax.tree.map(lambda leaf: leaf[rows], all_rows)  # noqa: B023
    chex.assert_trees_all_equal(found, expected)


def test_a_window_holds_what_the_rows_ask_for(held, streamed):
  key, steps = jax.random.key(7), held.train.steps
  index, _ = held.train.rows(key)
  place, _ = streamed.train.rows(key)
  order = feeds.Order(lambda number: key, 2, steps)
  with contextlib.closing(
      feeds.feed(streamed.train, jax.device_put, order, 3)
  ) as feed:
    for number, first in ((1, steps - 1), (0, 1), (0, 0)):  # not in order
      window = feed(number, first)
      for at in range(first, min(first + 3, steps)):
        chex.assert_trees_all_equal(
            jax.tree.map(lambda leaf: leaf[place[at][0] % 3], window),  # noqa: B023
            jax.tree.map(lambda leaf: leaf[index[at]], held.train.arrays),  # noqa: B023
        )


def test_a_text_is_the_same_from_a_file(tmp_path):
  random = np.random.default_rng(0)
  for part in ("train", "valid", "test"):
    words = random.choice(list("abcd"), 400).tolist()
    words[::9] = "\n" * len(words[::9])
    (tmp_path / f"{part}.txt").write_text(" ".join(words))
  source = data.load("ptb", path=str(tmp_path))
  assert isinstance(source.train(), np.memmap)
  args = {"batch": 3, "length": 7, "vary": True}
  order = feeds.Order(jax.random.key, 2, 4)
  for whole, stream in zip(
      source.search(**args), source.search(**args, stream=True), strict=True
  ):
    with contextlib.closing(
        feeds.feed(stream, jax.device_put, order, 3)
    ) as feed:
      for at in range(4):
        rows = [split.rows(jax.random.key(1)) for split in (whole, stream)]
        own, other = jax.tree.map(lambda leaf: leaf[at], rows)  # noqa: B023
        chex.assert_trees_all_equal(
            whole.batch(jax.device_put(whole.arrays), own, None),
            stream.batch(feed(1, at), other, None),
        )


def test_what_cannot_be_read_is_one_line(pictures, tmp_path, monkeypatch):
  broken = tmp_path / "pictures"
  shutil.copytree(pictures, broken)
  (broken / "train" / "b" / "7.png").write_bytes(b"no picture")
  with pytest.raises(ConfigError, match=r"path: 1 picture cannot .*7\.png"):
    build.plan(config(broken, size=8, stream=True, workers=0))
  monkeypatch.setitem(sys.modules, "grain", None)
  with pytest.raises(ConfigError) as caught:
    build.plan(config(pictures, stream=True))
  assert str(caught.value) == (
      "config.data.stream: needs Grain. Run: pip install 'enas_jax[stream]'"
  )
