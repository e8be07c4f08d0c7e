"""What every search space keeps, and the numbers of each one's reference."""

from collections.abc import Sequence
import functools
from typing import Any, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from enas_jax import testing
from enas_jax.archfile import described
from enas_jax.ops import layers
from enas_jax.spaces import SPACES
from enas_jax.spaces.macro import Macro
from enas_jax.spaces.micro import final as final_file
from enas_jax.spaces.micro import Micro
from enas_jax.spaces.micro.final import FinalCell
from enas_jax.tasks import TASKS
from enas_jax.testing import filled, on_host, random_choices, unmoved
from enas_jax.testing.supernet import whole


class Small(NamedTuple):
  """What makes a space cheap to test."""

  arguments: dict[str, Any]  # of the space
  network: dict[str, Any]  # the smallest that has every part
  task: str
  batch: Any
  # Architectures by their integers. In the first every single choice shows in
  # the loss; the second compiles fast; the third runs fast without jit.
  every_choice_shows: Sequence[int]
  cheap: Sequence[int]
  plain: Sequence[int]
  # Anchor slots that stand for an input: nothing writes them, they are zeros.
  zeros: Sequence[int] = ()


SMALL = {
    "macro": Small(
        {"layers": 3},
        {"classes": 3, "filters": 4, "keep": 0.5},
        "classification",
        testing.images(8, 12),
        [1, 0, 1, 2, 0, 1],
        [1, 4, 1, 5, 1, 0],
        [4, 1, 0, 5, 1, 1],
        zeros=[0],
    ),
    "micro": Small(
        {"nodes": 2},
        {"classes": 3, "cells": 1, "filters": 4, "keep": 0.5, "aux": False},
        "classification",
        testing.images(8),
        # No pool reads a pool: on 2 x 2 pixels it would read a constant.
        [0, 0, 1, 1, 1, 2, 2, 4, 1, 0, 0, 1, 0, 3, 2, 4],
        [0, 1, 1, 2, 1, 4, 2, 3, 1, 4, 0, 0, 2, 3, 0, 2],
        [0, 4, 1, 4, 2, 4, 1, 4, 1, 4, 1, 4, 0, 4, 2, 4],
    ),
    "nasbench201": Small(
        {},
        {"classes": 3, "cells": 1, "filters": 4, "affine": True},
        "classification",
        testing.images(8),
        [3, 2, 3, 2, 3, 2],
        [2, 3, 4, 1, 2, 0],
        [2, 1, 4, 0, 4, 1],
    ),
    "recurrent": Small(
        {"nodes": 4},
        {
            "vocabulary": 7,
            "hidden": 8,
            "input_keep": 0.9,
            "output_keep": 0.9,
        },
        "language_model",
        testing.words(),
        [0, 0, 1, 1, 1, 2, 2, 3],
        [0, 2, 1, 1, 0, 3, 3, 0],
        [0, 3, 1, 1, 2, 2, 0, 0],
        zeros=[0],
    ),
}


def test_every_space_is_under_test():
  assert SMALL.keys() == SPACES.keys()


def small_space(name):
  return SPACES[name](**SMALL[name].arguments)


@pytest.mark.parametrize("name", SMALL)
def test_a_small_space_is_large_enough_to_ask(name):
  # Else the questions of its losses would be of few archs.
  space = small_space(name)
  drawn = random_choices(space.schedule, 30, seed=1)
  assert len(np.unique(drawn, axis=0)) == 30
  shown = space.unflatten(list(SMALL[name].every_choice_shows))
  choices = np.asarray(space.encode(shown))
  assert len(testing.changes(space.schedule, choices)) >= 10


@functools.cache
def supernet_of(name, **more) -> testing.Supernet:
  """One for all tests of a process: its program is compiled once."""
  small = SMALL[name]
  return testing.Supernet(
      small_space(name), {**small.network, **more}, small.batch, small.task
  )


def questions():
  """Those of every space, one space after the other."""
  for name, small in SMALL.items():
    for ask in testing.space_questions(
        small_space(name),
        network=small.network,
        batch=small.batch,
        task=small.task,
        shows=small.every_choice_shows,
        cheap=small.cheap,
        plain=small.plain,
        zeros=small.zeros,
        supernet=functools.partial(supernet_of, name),
    ):
      yield pytest.param(ask, id=f"{name}-{ask}")


@pytest.mark.parametrize("ask", questions())
def test_every_space(ask):
  ask()


@pytest.mark.parametrize("name", SMALL)
def test_archs_rewarded_at_once_have_the_rewards_of_one_by_one(name):
  """Dropout is on, so random numbers would show if they were others."""
  small, space = SMALL[name], small_space(name)
  more, options = {}, {}
  if small.task == "classification":
    more = {"arithmetic": True}
    options = {"score": "likelihood", "dropout_in_reward": True}
  net = supernet_of(name, **more)
  make = functools.partial(TASKS[small.task], **options)
  task = whole(make, space, {**small.network, **more})
  archs = jax.tree.map(lambda *leaves: jnp.stack(leaves), *net.random(2))
  inputs = archs, jax.random.split(jax.random.key(0), 2)

  def reward(inputs):
    arch, key = inputs
    return task.reward(net.params, net.state, arch, net.batch, key)

  one, several = (
      jax.jit(functools.partial(jax.lax.map, reward, batch_size=size))(inputs)
      for size in (None, 2)
  )
  assert len(np.unique(one)) == 2
  np.testing.assert_allclose(several, one, rtol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_every_space_has_a_published_architecture(name):
  assert SPACES[name].presets


# The micro space.


@pytest.fixture
def micro():
  return supernet_of("micro")


CONV_OF_OP = {0: "3", 1: "5"}


def read_weights(table, kernel):
  """bool[rows, sides]: which rows of a table the cell reads."""
  nodes = len(table)
  first = np.cumsum([0, *range(2, nodes + 2)])  # node k has k + 2 rows
  out = np.zeros((first[-1], 2), bool)
  for k, node in enumerate(table):
    for side in range(2):
      source, op = node[2 * side : 2 * side + 2]
      if CONV_OF_OP.get(int(op)) == kernel:
        out[first[k] + source, side] = True
  return out


@pytest.mark.parametrize("seed", range(10))
def test_exactly_the_chosen_weights_have_a_gradient(micro, seed):
  choices = random_choices(micro.space.schedule, 1, seed)[0]
  arch = on_host(micro.space.decode(choices))
  _, grads = micro.grade(arch)
  cells = (("cell_0", "reduce"), ("cell_1", "reduce"), ("cell_2", "normal"))
  for cell, which in cells:
    table = getattr(arch, which)
    tables = grads.pop(cell)
    for kernel in ("3", "5"):
      read = read_weights(table, kernel)
      for name in ("depthwise", "pointwise", "scale", "offset"):
        grad = np.asarray(tables.pop(f"{name}_{kernel}"))
        some = np.any(grad.reshape(*read.shape, 2, -1) != 0, -1)  # 2 stacks
        np.testing.assert_array_equal(some[..., 0], read, f"{cell} {name}")
        np.testing.assert_array_equal(some[..., 1], read, f"{cell} {name}")
    loose = ~np.isin(np.arange(4), table[:, ::2])
    mixed = np.any(np.asarray(tables.pop("mix")) != 0, (1, 2))
    np.testing.assert_array_equal(mixed, loose, cell)
    assert all(np.any(grad) for grad in jax.tree.leaves(tables))
  # Stem, reductions and classifier belong to every architecture.
  assert all(np.any(grad) for grad in jax.tree.leaves(grads))


REDUCE = [0, 0, 1, 1, 1, 2, 2, 4]


def test_pools_of_a_constant_are_the_identity(micro):
  # On the normal cell's 2 x 2 pixels a pool sees everything everywhere, so
  # what follows it cannot matter unless it has weights.
  def loss(op1, op2):
    normal = [0, 2, 1, 3, 2, op1, 2, op2]
    return micro.loss(micro.space.unflatten(normal + REDUCE))

  same = [loss(op1, op2) for op1 in (2, 3, 4) for op2 in (2, 3, 4)]
  np.testing.assert_allclose(same, same[0], rtol=1e-5)
  for op in (0, 1):
    assert abs(loss(op, 4) - same[0]) > 1e-4


def test_sides_differ_in_their_weights_only(micro):
  def loss(*node):
    normal = [*node, 0, 0, 2, 4]
    return micro.loss(micro.space.unflatten(normal + REDUCE))

  np.testing.assert_allclose(loss(0, 2, 1, 3), loss(1, 3, 0, 2), rtol=1e-6)
  assert abs(loss(0, 0, 1, 3) - loss(1, 3, 0, 0)) > 1e-4


def count(tree) -> int:
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


class Called(NamedTuple):
  """A cell, or the auxiliary head, as it was run."""

  name: str
  shape: tuple[int, ...]
  module: nn.Module


def walk(network, arch, size=32):
  """(parameter shapes, calls) of a training network at its end; no array."""
  calls = []

  def note(call, args, kwargs, context):
    out = call(*args, **kwargs)
    name = context.module.name or ""
    run = context.method_name == "__call__"
    if run and (name == "aux" or name.startswith("cell_")):
      calls.append(Called(name, out.shape, context.module))
    return out

  def init(key, x):
    return network.init(
        {"params": key, "dropout": key}, x, arch, train=True, progress=1.0
    )["params"]

  with nn.intercept_methods(note):
    params = jax.eval_shape(
        init, jax.random.key(0), jnp.zeros((1, size, size, 3))
    )
  return params, calls


def published():
  return Micro().unflatten(Micro.presets["enas_micro"].encoding)


def test_shared_network_is_the_references():
  network = Micro().network(classes=10, cells=6, filters=20)
  params, calls = walk(network, jax.tree.map(jnp.asarray, published()))
  aux = params.pop("aux")
  assert (count(params), count(aux)) == (5_373_140, 412_928)
  names = [f"cell_{i}" for i in range(8)]
  assert [c.name for c in calls] == [*names[:7], "aux", names[7]]
  channels = [c.shape[1:] for c in calls if c.name != "aux"]
  expected = [(32, 20)] * 2 + [(16, 40)] * 3 + [(8, 80)] * 3
  assert channels == [(size, size, c) for size, c in expected]


def test_final_network_is_the_references():
  network = Micro().network(
      classes=10, final=True, cells=15, filters=36, drop_path_keep=0.6
  )
  params, calls = walk(network, published())
  aux = params.pop("aux")
  assert (count(params), count(aux)) == (3_894_372, 494_848)
  names = [f"cell_{i}" for i in range(17)]
  assert [c.name for c in calls] == [*names[:13], "aux", *names[13:]]
  cells = [c for c in calls if c.name != "aux"]
  # Loose ends: all 5 nodes of the normal cell, 4 states of the reduction.
  expected = [(32, 180)] * 5 + [(16, 288)] + [(16, 360)] * 5
  expected += [(8, 576)] + [(8, 720)] * 5
  assert [c.shape[1:] for c in cells] == [(s, s, c) for s, c in expected]
  keep = [cell.module.keep for cell in cells]
  for cell, value in ((0, 0.9765), (5, 0.8588), (11, 0.7176), (16, 0.6)):
    np.testing.assert_allclose(keep[cell], value, atol=5e-5)


@pytest.mark.parametrize("size, side", [(8, 1), (32, 2), (64, 4)])
def test_the_heads_second_kernel_is_the_size_of_its_map(size, side):
  network = Micro().network(classes=10, final=True, cells=3, filters=4)
  aux = walk(network, published(), size)[0]["aux"]
  assert aux["Conv_1"]["kernel"].shape == (side, side, 128, 768)


@pytest.mark.parametrize("stride", [1, 2])
def test_drop_path_spares_identities(stride, monkeypatch):
  keeps = []

  def spy(key, x, keep):
    keeps.append(keep)
    return x

  monkeypatch.setattr(final_file.drop, "drop_path", spy)
  table = np.array([[0, 0, 1, 1], [0, 2, 1, 3], [0, 4, 2, 4], [1, 4, 3, 2]])
  x = jnp.zeros((1, 4, 4, 4))
  keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
  for drop_path in (False, True):
    cell = FinalCell(4, stride, 0.7, drop_path)
    out = jax.eval_shape(
        lambda: cell.init_with_output(keys, x, x, table, train=True)[0]  # noqa: B023
    )
    assert keeps == [0.7] * (5 * drop_path)
  # Nodes 4 and 5 are loose, the reduction's inputs were halved on the way.
  assert out.shape == (1, 4 // stride, 4 // stride, 2 * 4)


def test_unread_inputs_of_a_reduction_are_loose_ends_too():
  table = np.array([[1, 4, 1, 3], [2, 0, 1, 2]])  # nothing reads input 0
  x = jnp.zeros((1, 4, 4, 4))
  cell = FinalCell(4, 2, 1.0, False)
  out, _ = jax.eval_shape(
      lambda key: cell.init_with_output(key, x, x, table, train=True),
      jax.random.key(0),
  )
  assert out.shape == (1, 2, 2, 2 * 4)


def test_final_network_trains_and_evaluates_by_its_averages():
  space, small = Micro(nodes=2), SMALL["micro"]
  network = space.network(
      **{**small.network, "aux": True, "keep": 0.8},
      final=True,
      drop_path_keep=0.9,
  )
  # No input is read by a stride-2 identity alone: a linear map and a batch
  # norm forget the offset before them.
  arch = space.unflatten([0, 0, 1, 2, 1, 4, 2, 3, 1, 3, 0, 4, 2, 4, 0, 2])
  batch = testing.images(8)
  task = TASKS["classification"](network)
  params, state = filled(
      jax.eval_shape(lambda k: task.init(k, batch, arch), jax.random.key(0))
  )
  tx = optax.sgd(0.05, momentum=0.9)

  @jax.jit
  def step(params, state, opt_state, key):
    (loss, (state, _)), grads = jax.value_and_grad(task.loss, has_aux=True)(
        params, state, arch, batch, key, 0.5
    )
    updates, opt_state = tx.update(grads, opt_state)
    return optax.apply_updates(params, updates), state, opt_state, loss

  now, losses = (params, state, tx.init(params)), []
  for i in range(40):
    *now, loss = step(*now, jax.random.key(i))
    losses.append(float(loss))
    if i == 0:
      first = now[1]
  assert np.mean(losses[-5:]) < 0.3 * losses[0]
  for before, after in ((params, now[0]), (state, now[1])):
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), before, after)
    assert not unmoved(moved)  # the auxiliary head too

  # "Decay 0.9" of the reference: a tenth of the batch's own moment.
  stem = jax.lax.conv_general_dilated(
      batch.images,
      params["Conv_0"]["kernel"],
      (1, 1),
      "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  old, new = (
      t["averages"]["Conv_0"]["BatchNorm_0"] for t in (state, first)
  )
  for name, moment in (("mean", np.mean), ("var", np.var)):
    np.testing.assert_allclose(
        new[name],
        0.9 * old[name] + 0.1 * moment(np.asarray(stem), (0, 1, 2)),
        rtol=1e-4,
        atol=1e-5,
    )

  measure = jax.jit(lambda p, s, b: task.measure(p, s, arch, b)[1]["loss"])
  trained = measure(*now[:2], batch)
  assert abs(measure(now[0], state, batch).total - trained.total) > 0.01
  # By averages, an example's logits do not depend on its neighbours.
  alike = jnp.array([5, 6])  # by their images now, not by their labels
  changed = batch._replace(images=batch.images.at[alike].set(7.0))
  assert abs(measure(*now[:2], changed).total - trained.total) > 0.01
  without = batch.weight.at[alike].set(0.0)
  np.testing.assert_allclose(
      measure(*now[:2], changed._replace(weight=without)).total,
      measure(*now[:2], batch._replace(weight=without)).total,
      rtol=1e-6,
  )


@pytest.mark.parametrize("row_fan_in", [False, True])
def test_tables_start_at_the_scale_of_their_slice_or_of_their_rows(row_fan_in):
  space = Micro(nodes=2)
  network = space.network(
      classes=3, cells=1, filters=8, aux=False, row_fan_in=row_fan_in
  )
  arch = jax.tree.map(jnp.asarray, space.unflatten([0, 4] * 8))

  @jax.jit
  def init(key):
    variables = network.init(key, testing.images().images, arch, train=False)
    return variables["params"]["cell_2"]

  params = init(jax.random.key(0))
  channels, first = 32, 2  # of cell 2; the rows of node 0, then 3 of node 1
  for name, fan_in in (
      *(("depthwise_3", 9), ("pointwise_3", channels)),
      *(("depthwise_5", 25), ("pointwise_5", channels)),
  ):
    for part, rows in ((params[name][:first], 2), (params[name][first:], 3)):
      std = np.sqrt(2 / (rows if row_fan_in else fan_in))
      np.testing.assert_allclose(np.std(part), std, rtol=0.06)
  std = np.sqrt(2 / (4 if row_fan_in else channels))
  np.testing.assert_allclose(np.std(params["mix"]), std, rtol=0.06)


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("space, integers, options", [
    (Micro(nodes=2), [0, 1] * 8, {"cells": 1, "aux": False}),
    (Macro(layers=3, operations="sep_conv_5x5"), [0, 0, 0, 0, 0, 0], {}),
])
def test_depthwise_kernels_start_by_their_window_or_with_their_channels(
    space, integers, options, final, monkeypatch
):
  arch = space.unflatten(integers)
  if not final:
    arch = jax.tree.map(jnp.asarray, arch)
  for channels in (False, True):
    seen = set()

    def spy(fan_in, seen=seen):
      seen.update(np.ravel(fan_in).tolist())
      return nn.initializers.zeros

    monkeypatch.setattr(layers, "he_normal", spy)
    network = space.network(
        classes=3, filters=7, final=final, channel_fan_in=channels, **options
    )
    walk(network, arch, 8)
    own = {fan_in for fan_in in seen if fan_in % 25 == 0}
    assert own and (25 in own) != channels


def test_an_architecture_of_the_references_users():
  # From a log of the reference's search.
  normal = [0, 0, 0, 2, 1, 0, 1, 0, 1, 4, 0, 3, 0, 1, 1, 0, 0, 1, 4, 2]
  reduce = [0, 4, 1, 1, 1, 4, 1, 1, 1, 1, 1, 0, 1, 0, 1, 2, 1, 1, 1, 2]
  space = Micro()
  arch = space.unflatten(normal + reduce)
  assert space.flatten(space.decode(space.encode(arch))) == normal + reduce
  lines = described(arch, space)
  assert len(lines) == 10
  assert lines[0] == "normal 2 = sep_conv_3x3(0) + avg_pool_3x3(0)"
  assert lines[4] == "normal 6 = sep_conv_5x5(0) + avg_pool_3x3(4)"
  assert lines[5] == "reduce 2 = identity(0) + sep_conv_5x5(1)"
