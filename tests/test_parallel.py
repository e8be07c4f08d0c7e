"""Several devices: what they do together is what one does."""

import functools
import os
import signal

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_run import lines, ran, tiny_texts

from enas_jax import (
  build,
  data,
  folder,
  loop,
  optim,
  parallel,
  rows,
  signals,
  steps,
)
from enas_jax.configs import cifar_micro, ptb_recurrent
from enas_jax.errors import ConfigError
from enas_jax.report import display
from enas_jax.spaces import SPACES
from enas_jax.strategies.fixed import fixed
from enas_jax.tasks import TASKS
from enas_jax.types import Mean

ROWS = 8


class Linear(nn.Module):
  """A network of images without batch norm or dropout."""

  @nn.compact
  def __call__(self, images, arch, *, train, dropout=None, progress=0.0):
    del train, dropout, progress
    return nn.Dense(3)(images.reshape(len(images), -1)) * arch[0], None


def images():
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (5 * ROWS, 4, 4, 3), np.uint8)
  read = lambda: data.Images(
      pixels, np.arange(5 * ROWS, dtype=np.int32) % 3
  )
  splits = data.Source((4, 4, 3), 3, read, read).search(
      batch=ROWS,
      valid=2 * ROWS,
      pad=0,
      flip=False,
      cutout=0,
      cutout_corner=False,
  )
  return TASKS["classification"](Linear()), splits, np.ones(1)


def text(wrapper=rows.in_use):
  words = np.random.default_rng(0).integers(0, 9, 50 * ROWS).astype(np.int32)
  read = lambda: words
  splits = data.TextSource(9, read, read, read).search(
      batch=ROWS, length=5, vary=True
  )
  space = SPACES["recurrent"](nodes=2)
  masks = ("word", "embedded", "input", "state", "output")
  keeps = {f"{name}_keep": 1.0 for name in masks}
  network = space.network(vocabulary=9, hidden=4, init_range=0.5, **keeps)
  arch = space.unflatten([0, 1, 1, 2])
  task = TASKS["language_model"](network, slowness=1.0)
  return wrapper(task, network.reads), splits, arch


def whole_text():
  return text(rows.whole)


@pytest.mark.parametrize("make, tx", [
    (images, optax.sgd(0.5)),
    (images, optax.sgd(0.5, momentum=0.9)),
    (text, optax.sgd(0.5)),
    (whole_text, optax.sgd(0.5, momentum=0.9)),
])
def test_two_devices_with_one_child_are_one_device(make, tx):
  task, (split, held), arch = make()
  # Told rewards are reported so that their order shows.
  strategy = fixed(arch)._replace(
      tell=lambda state, archs, rewards: (
          state, {"reward": rewards @ (1.0 + np.arange(len(rewards)))}
      )
  )
  known = {"task": task, "strategy": strategy}
  step = functools.partial(
      steps.child_step, **known, tx=tx, train=split, progress=lambda n: 0.0
  )
  first = steps.init(
      jax.random.key(0), **known, tx=tx, train=split, arch=arch
  )
  mesh = parallel.mesh(jax.devices()[:2])
  both = jax.jit(parallel.child_step(step, mesh, split))
  alone, shared = first, parallel.place(mesh, split, first)
  arrays = parallel.place_arrays(mesh, split, split.arrays)
  plan = split.rows(jax.random.key(1))
  for n in range(3):
    row = jax.tree.map(lambda leaf: leaf[n], plan)  # noqa: B023
    alone = jax.jit(step)(alone, split.arrays, row)
    shared = both(shared, arrays, row)
  plain = lambda s: jax.device_get(
      s._replace(key=jax.random.key_data(s.key))
  )
  chex.assert_trees_all_close(plain(alone), plain(shared), atol=1e-5)
  moved = jax.tree.map(lambda a, b: np.any(a != b), first.params, alone.params)
  assert all(jax.tree.leaves(moved))

  # An odd number of rewards: one device has one to spare.
  step = functools.partial(
      steps.strategy_step, **known, valid=held, archs=3
  )
  alone = jax.jit(step)(alone, held.arrays)
  everywhere = parallel.place_everywhere(mesh, held.arrays)
  several = functools.partial(jax.lax.map, batch_size=2)
  shared = jax.jit(parallel.strategy_step(step, mesh, split, several))(
      shared, everywhere
  )
  chex.assert_trees_all_close(alone.controller, shared.controller, rtol=1e-5)


def test_children_that_differ_move_their_rows_by_the_mean_gradient():
  l2 = clip = 0.1
  task, (split, _), one = text()
  # Both have the first node in common and not the second.
  other = one._replace(ops=np.array([0, 1, 3]), sources=np.array([0, 0]))
  reads = SPACES["recurrent"](nodes=2).network(vocabulary=9).reads
  read = [reads(arch)["nodes"].tolist() for arch in (one, other)]
  assert read[0][0] == read[1][0] and read[0][1] != read[1][1]
  differing = fixed(one)._replace(
      ask=lambda state, key: jax.tree.map(
          functools.partial(jnp.where, jax.lax.axis_index("devices") == 0),
          one,
          other,
      )
  )
  tx = optim.sgd(epochs=1, steps=1, lr=2.0, clip=clip, l2=l2).tx
  first = steps.init(
      jax.random.key(0),
      task=task,
      strategy=fixed(one),
      tx=tx,
      train=split,
      arch=one,
  )
  row = jax.tree.map(lambda leaf: leaf[0], split.rows(jax.random.key(1)))
  halves = []
  for n, arch in enumerate((one, other)):
    half = slice(n * ROWS // 2, (n + 1) * ROWS // 2)
    arrays, state = jax.tree.map(
        lambda leaf: leaf[half],  # noqa: B023
        (split.arrays, first.model_state),
    )
    batch = split.batch(arrays, row, None)

    def loss(params, arch, state, batch):
      used = rows.take(params, reads(arch))
      return task.loss(used, state, arch, batch, jax.random.key(0), 0.0)[0]

    halves.append(jax.jit(jax.grad(loss))(first.params, arch, state, batch))
  grads = jax.tree.map(lambda a, b: (a + b) / 2, *halves)
  used = jax.tree.map(jnp.ones_like, first.params)
  used["nodes"] = jnp.zeros_like(used["nodes"]).at[np.array(read)].set(1.0)
  grads = jax.tree.map(
      lambda g, w, u: g + 2 * l2 * w * u, grads, first.params, used
  )
  norm = optax.global_norm(grads)
  assert norm > clip
  grads = jax.tree.map(lambda g: g * clip / norm, grads)
  expected = jax.tree.map(
      lambda w, g: w - 2.0 * batch.share * g, first.params, grads
  )

  mesh = parallel.mesh(jax.devices()[:2])
  step = functools.partial(
      steps.child_step,
      task=task,
      strategy=differing,
      tx=tx,
      train=split,
      progress=lambda n: 0.0,
  )
  after = jax.jit(parallel.child_step(step, mesh, split))(
      parallel.place(mesh, split, first),
      parallel.place_arrays(mesh, split, split.arrays),
      row,
  )
  chex.assert_trees_all_close(
      jax.device_get(after.params), expected, atol=1e-5
  )


def test_a_row_of_two_children_is_moved_once():
  _, _, arch = text()
  params = {"nodes": jnp.arange(1.0, 6.0)[:, None], "bias": jnp.ones(2)}
  read = {"nodes": jnp.array([0, 2, 1, 2])}  # two of each device
  grads = {
      "nodes": jnp.array([[10.0], [20.0], [30.0], [40.0]]),
      "bias": jnp.array([1.0, 2.0, 3.0, 4.0]),
  }
  plain = images()[0]

  def both(params, read, grads):
    task = rows.in_use(plain, lambda arch: read)
    moving, mean = task.moving(params, arch).shared(grads, "devices")
    return moving.params, mean, moving.add(moving.params)

  shared = jax.sharding.PartitionSpec("devices")
  moved, mean, after = jax.shard_map(
      both,
      mesh=parallel.mesh(jax.devices()[:2]),
      in_specs=(jax.sharding.PartitionSpec(), shared, shared),
      out_specs=jax.sharding.PartitionSpec(),
      check_vma=False,
  )(params, read, grads)
  assert moved["nodes"].ravel().tolist() == [1.0, 3.0, 2.0, 0.0]
  assert mean["nodes"].ravel().tolist() == [5.0, 30.0, 15.0, 0.0]
  assert moved["bias"].tolist() == [1.0, 1.0]
  assert mean["bias"].tolist() == [2.0, 3.0]
  # Doubled where a child reads it, and once where two do.
  assert after["nodes"].ravel().tolist() == [2.0, 4.0, 6.0, 4.0, 5.0]


def test_what_one_device_does_differs_from_the_other_and_counts():
  """Children, averages, and a number that is not finite on one of the two."""
  plain, (split, _), _ = images()

  def loss(params, model_state, arch, batch, key, progress):
    record = {"asked": Mean(arch[0], 1.0), "square": Mean(arch[0] ** 2, 1.0)}
    first = batch.labels[0] * 1.0
    value = jnp.where(first == 1, jnp.nan, params["Dense_0"]["bias"].sum())
    return value, ({"first": first}, record)

  def init(key, batch, arch):
    return plain.init(key, batch, arch)[0], {"first": jnp.zeros(())}

  task = plain._replace(init=init, loss=loss)
  strategy = fixed(None)._replace(
      ask=lambda state, key: jax.random.uniform(key, (1,))
  )
  known = {"task": task, "strategy": strategy, "tx": optax.sgd(0.1)}
  step = functools.partial(
      steps.child_step, **known, train=split, progress=lambda n: 0.0
  )
  mesh = parallel.mesh(jax.devices()[:2])
  state = steps.init(jax.random.key(0), **known, train=split)
  state = parallel.place(mesh, split, state)
  # Labels count 0, 1, 2, 0, so that the second device's first one is 1.
  row = jax.tree.map(lambda leaf: leaf[0], split.rows(None))
  after = jax.jit(parallel.child_step(step, mesh, split))(
      state, split.arrays, row
  )
  asked, square = (after.child[k].value() for k in ("asked", "square"))
  assert after.child["asked"].count == 2
  assert square - asked**2 > 1e-4
  assert after.model_state["first"] == 0.5
  assert after.failed == 0 and after.step == 1


def test_a_search_on_two_devices_resumes_to_the_same_bits(
    tmp_path, monkeypatch
):
  config = ptb_recurrent.get_config("smoke")
  config.update(devices=2, space={"nodes": 2})
  # A text of a few segments: each run is many steps else.
  config.data.update(name="ptb", path=tiny_texts(tmp_path / "texts"))
  whole = ran(config, tmp_path / "whole")
  left, caught = [5], []
  pace_step, init = display.Pace.step, signals.Signals.__init__

  def stop(pace, *args):
    left[0] -= 1
    if not left[0]:
      caught[0].caught = True
    pace_step(pace, *args)

  def remember(signals, *args):
    caught.append(signals)
    init(signals, *args)

  with monkeypatch.context() as patched:
    patched.setattr(display.Pace, "step", stop)
    patched.setattr(signals.Signals, "__init__", remember)
    with pytest.raises(signals.Interrupted):
      ran(config, tmp_path / "run")
  again = ran(config, tmp_path / "run")
  assert again["scores"] == whole["scores"]
  log = (tmp_path / "whole" / "log.txt").read_text()
  assert "1 of the child step, 1 of the controller step." in log

  one, other = (
      lines(tmp_path / run / "metrics.jsonl") for run in ("run", "whole")
  )
  assert one == other


def test_a_search_goes_on_on_other_devices(tmp_path, monkeypatch, capsys):
  config = ptb_recurrent.get_config("smoke")
  config.update(devices=2, space={"nodes": 2})
  config.data.update(name="ptb", path=tiny_texts(tmp_path / "texts"))
  pace_step = display.Pace.step
  for devices in (2, 1, 2):
    config.devices, left = devices, [4]

    def stop(pace, *args):
      left[0] -= 1  # noqa: B023
      if not left[0]:  # noqa: B023
        os.kill(os.getpid(), signal.SIGTERM)
      pace_step(pace, *args)

    monkeypatch.setattr(display.Pace, "step", stop)
    with pytest.raises(signals.Interrupted):
      ran(config, tmp_path / "run")
  record = folder.read_json(tmp_path / "run" / "config.json")
  assert record["run_on"] == [
      {"step": step, "devices": devices, "processes": 1}
      for step, devices in ((0, 2), (4, 1), (8, 2))
  ]
  told = capsys.readouterr().out
  assert "It ran on 2 devices and goes on on 1 device: from here on" in told


def test_programs_are_counted_and_not_the_ways_to_them():
  mesh = parallel.mesh(jax.devices()[:2])
  spec = jax.sharding.PartitionSpec()

  @functools.partial(jax.jit, donate_argnums=0)
  def child(key, array):
    same = lambda *args: args
    return jax.shard_map(
        same, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
    )(key, array)

  put = functools.partial(parallel.place_everywhere, mesh)
  with loop._counted("child", "controller") as counts:
    for length in (2, 3):
      key, array = put(jax.random.key(0)), put(np.ones(length))
      for _ in range(4):  # the key's sharding is described in two ways
        key, array = child(key, array)
      assert counts == {"child": length - 1, "controller": 0}
  jax.jit(lambda x: x + 1)(1)  # is not counted any more


def test_devices_that_are_not_there_or_do_not_divide_are_refused():
  config = cifar_micro.get_config("smoke")
  config.devices = 64
  with pytest.raises(ConfigError, match=r"config\.devices: 64 is more than"):
    build.plan(config)
  config.devices, config.child.batch = 2, 9
  with pytest.raises(ConfigError, match=r"config\.child\.batch: 9 cannot be"):
    build.plan(config)
