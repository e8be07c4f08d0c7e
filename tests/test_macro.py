"""The macro space: its numbers, its options, and guards against its defects."""

import functools
import itertools

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_spaces
from test_spaces import count

from enas_jax import controller, options, testing
from enas_jax.errors import ConfigError
from enas_jax.spaces.macro import Macro, MacroArch
from enas_jax.spaces.macro.arch import stretched
from enas_jax.spaces.macro.final import FinalLayer, FinalMerge
from enas_jax.spaces.macro.shared import SharedLayer, SharedMerge
from enas_jax.strategies import STRATEGIES
from enas_jax.testing import filled, images, on_host, random_choices
from enas_jax.types import Head, NO_ANCHOR


@pytest.fixture
def macro():
  return test_spaces.supernet_of("macro")


def shapes(network, arch, size=32):
  def init(key):
    x = jnp.zeros((1, size, size, 3))
    return network.init({"params": key, "dropout": key}, x, arch, train=True)

  return jax.eval_shape(init, jax.random.key(0))["params"]


def preset(layers):
  found = Macro.presets[f"enas_macro_{layers}"]
  space = Macro(**found.space)
  return space, space.unflatten(found.encoding)


def test_shared_network_is_the_references():
  space, arch = preset(12)
  network = space.network(classes=10)
  params = shapes(network, jax.tree.map(jnp.asarray, arch))
  assert count(params) == 697_860
  # One program serves all: what is built does not depend on the choice.
  chex.assert_trees_all_equal_shapes(params, shapes(network, arch))


@pytest.mark.parametrize(
    "plain, parameters", [(True, 42_559_392), (False, 30_947_424)]
)
def test_final_network_is_the_references(plain, parameters):
  space, arch = preset(24)
  network = space.network(
      classes=10,
      final=True,
      filters=96,
      widen=2,
      concat=True,
      plain_convs=plain,
  )
  assert count(shapes(network, arch)) == parameters
  histogram = np.bincount(arch.ops).tolist()
  assert (histogram, arch.skips.sum()) == ([8, 2, 9, 5], 98)


def test_the_controller_starts_at_the_entropies_of_the_reference():
  space = Macro()
  params = controller.init(
      jax.random.key(0), space.schedule, hidden=64, init_range=0.1
  )
  assert count(params) == 41_856
  _, score = controller.sample(params, space.schedule, jax.random.key(1))
  # The weights are small, so no choice is preferred yet.
  np.testing.assert_allclose(score.entropy, 67.249, atol=2e-3)
  np.testing.assert_allclose(score.single_entropy, 26.457, atol=0.05)


@pytest.mark.parametrize(
    "half, z, rate", [(True, -0.4055, 0.3077), (False, -0.2027, 0.4)]
)
def test_the_skip_penalty_is_least_where_the_target_is_met(half, z, rate):
  table = Macro(layers=2, kl_of_half=half).schedule
  # These have no rows.
  table = table._replace(op_bias=None, tied=None, free_bias=None)
  row = jax.tree.map(lambda leaf: leaf[3], table)
  assert row.head == Head.SKIP
  bits = jnp.zeros(row.mask.shape, bool)
  logits = jnp.linspace(-1.5, 1.5, 30_001)
  kl = jax.vmap(
      lambda z: controller._terms(row, jnp.full(bits.shape, z), bits).skip_kl
  )(logits)
  best = float(logits[jnp.argmin(kl)])
  np.testing.assert_allclose(best, z, atol=5e-4)
  np.testing.assert_allclose(jax.nn.sigmoid(2 * best), rate, atol=5e-4)
  np.testing.assert_allclose(kl.min(), 0.0, atol=1e-6)


@pytest.mark.parametrize("target, half, rate", [
    (0.4, True, 0.3077),
    (0.7, False, 0.7),
])
def test_a_constant_reward_leaves_the_skips_at_their_target(target, half, rate):
  space = Macro(layers=5, skip_target=target, kl_of_half=half)
  strategy = STRATEGIES["reinforce"](
      space, lr=0.02, skip_weight=0.8, hidden=8, entropy_weight=0.0
  )

  def step(state, key):
    archs = jax.vmap(strategy.ask, (None, 0))(state, jax.random.split(key, 20))
    state, metrics = strategy.tell(state, archs, jnp.ones(20))
    return state, metrics["skip_rate"]

  @jax.jit
  def run(key):
    keys = jax.random.split(key, 300)
    return jax.lax.scan(step, strategy.init(key), keys)[1]

  rates = np.asarray(run(jax.random.key(0)))
  assert abs(rates[:5].mean() - 0.5) < 0.1
  np.testing.assert_allclose(rates[-100:].mean(), rate, atol=0.02)


def test_bits_attend_to_what_decided_their_tensor_or_one_layer_off():
  right, shifted = Macro().schedule, Macro(shifted_anchors=True).schedule
  assert right.write[1::2].tolist() == [*range(1, 11), *[NO_ANCHOR] * 2]
  assert shifted.write[1::2].tolist() == [*range(11), NO_ANCHOR]
  for schedule in (right, shifted):
    assert np.all(schedule.write[0::2] == NO_ANCHOR)
    assert schedule.mask[1::2].sum(1).tolist() == list(range(12))


@pytest.mark.parametrize("seed", range(5))
def test_exactly_the_chosen_weights_have_a_gradient(macro, seed):
  choices = random_choices(macro.space.schedule, 1, seed)[0]
  arch = on_host(macro.space.decode(choices))
  _, grads = macro.grade(arch)
  names = macro.space.names
  convs = [name for name in names if "conv" in name]
  for layer, op in enumerate(arch.ops):
    tables = grads[f"layer_{layer}"]
    own = names[op]
    for name, grad in tables.items():
      grad = np.asarray(grad)
      if name in ("entry", "scale_entry", "offset_entry"):
        some = np.any(grad.reshape(len(names), -1), 1)
        assert some.tolist() == [n == own for n in names], name
      elif name in ("scale_conv", "offset_conv"):
        some = np.any(grad, 1)
        assert some.tolist() == [n == own for n in convs], name
      else:
        mine = name in (own, f"{own}_depthwise", f"{own}_pointwise")
        assert np.any(grad) == mine, name


def test_the_guard_catches_a_choice_that_always_takes_the_last(macro):
  # Defect M1 of the reference: its branches are closures over one variable.
  def last(call, args, kwargs, context):
    layer = isinstance(context.module, SharedLayer)
    if layer and context.method_name == "__call__":
      x, op = args
      args = x, jnp.full_like(op, len(context.module.names) - 1)
    return call(*args, **kwargs)

  small = test_spaces.SMALL["macro"]
  arch = macro.space.unflatten(list(small.every_choice_shows))
  testing.every_single_choice_shows(macro, arch)
  broken = testing.Supernet(
      macro.space, small.network, small.batch, small.task
  )
  refused = pytest.raises(AssertionError, match="tensor 1 = ")
  with nn.intercept_methods(last), refused:
    testing.every_single_choice_shows(broken, arch)


def test_a_search_may_concatenate_too():
  space = Macro(layers=3, operations="conv_3x3,max_pool_3x3,avg_pool_3x3")
  network = space.network(classes=3, filters=4, concat=True)
  batch = images(8, 12).images
  arch = space.unflatten([1, 0, 1, 2, 0, 1])
  params = filled(shapes(network, arch, 12))

  @jax.jit
  def grade(params, arch):
    def loss(params):
      logits, _ = network.apply(
          {"params": params}, batch, arch, train=False, dropout=False
      )
      return (logits**2).sum(), logits

    (_, logits), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return logits, grads

  traced = functools.partial(grade, params)
  out, grads = traced(jax.tree.map(jnp.asarray, arch))
  for merge, read in ((1, [True, True]), (2, [False, True, True])):
    moved = np.any(grads[f"merge_{merge}"]["mix"], (1, 2))
    assert moved.tolist() == read
  alone = jax.jit(lambda params: grade.__wrapped__(params, arch))
  chex.assert_trees_all_close(
      (out, grads), alone(params), atol=2e-4, rtol=2e-4
  )
  seen = set()
  for first, *last in itertools.product([0, 1], repeat=3):
    other = space.unflatten([1, 0, first, 2, *last])
    logits, _ = traced(jax.tree.map(jnp.asarray, other))
    seen.add(round(float(logits[0, 0]), 4))
  assert len(seen) == 8


def test_all_six_operations_train_in_the_final_network():
  space = Macro(layers=6)
  arch = space.unflatten([
      *[0], *[1, 1], *[2, 0, 1], *[3, 1, 0, 1], *[4, 0, 1, 1, 0],
      *[5, 1, 0, 0, 0, 1],
  ])
  network = space.network(
      classes=3, final=True, filters=4, widen=2, concat=True, keep=1.0
  )
  batch = images(8, 16)
  variables = network.init(jax.random.key(0), batch.images, arch, train=True)

  @jax.jit
  def step(params, averages):
    def loss(params):
      (logits, aux), new = network.apply(
          {"params": params, "averages": averages},
          batch.images,
          arch,
          train=True,
          mutable=["averages"],
      )
      assert aux is None
      log_p = jax.nn.log_softmax(logits)
      return -log_p[jnp.arange(8), batch.labels].mean(), new["averages"]

    (value, averages), grads = jax.value_and_grad(loss, has_aux=True)(params)
    params = jax.tree.map(lambda p, g: p - 0.05 * g, params, grads)
    return params, averages, value, grads

  params, averages = variables["params"], variables["averages"]
  losses = []
  for _ in range(40):
    params, averages, value, grads = step(params, averages)
    losses.append(float(value))
  assert losses[-1] < 0.3 * losses[0]
  for layer in range(6):
    moved = jax.tree.map(lambda g: bool(np.any(g)), grads[f"layer_{layer}"])
    assert all(jax.tree.leaves(moved)), layer
  # Evaluated by its averages: an image's logits do not depend on the others.
  def evaluate(x):
    variables = {"params": params, "averages": averages}
    return network.apply(variables, x, arch, train=False)[0]

  np.testing.assert_allclose(
      evaluate(batch.images)[:3], evaluate(batch.images[:3]), atol=1e-4
  )


def normed(y, eps=1e-5):
  return (y - y.mean((0, 1, 2))) / np.sqrt(y.var((0, 1, 2)) + eps)


def convolved(y, kernel, groups=1):
  return jax.lax.conv_general_dilated(
      y,
      kernel,
      (1, 1),
      "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=groups,
  )


def pooled(y, name):
  def window(a, start, combine):
    ones = (1, 1, 1, 1)
    return jax.lax.reduce_window(a, start, combine, (1, 3, 3, 1), ones, "SAME")

  if name == "max_pool_3x3":
    return window(y, -np.inf, jax.lax.max)
  return window(y, 0.0, jax.lax.add) / window(y * 0 + 1, 0.0, jax.lax.add)


def inputs(seed=1):
  # Of small variance, so that each norm's epsilon shows.
  rng = np.random.default_rng(seed)
  return jnp.asarray(0.03 * rng.normal(size=(2, 6, 6, 4)), jnp.float32)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("name", Macro().names)
def test_a_final_layer_is_what_the_specification_says(name, plain):
  names, x = Macro().names, inputs()
  layer, op = FinalLayer(names, plain), np.int32(names.index(name))
  variables = layer.init(jax.random.key(0), x, op, train=True)
  out, _ = layer.apply(variables, x, op, train=True, mutable=["averages"])
  params = variables["params"]
  y = normed(convolved(jax.nn.relu(x), params["Conv_0"]["kernel"]))
  if "pool" in name:
    y = pooled(y, name)
  elif name.startswith("sep") and not plain:
    own = params["SeparableConv_0"]
    y = convolved(jax.nn.relu(y), own["depthwise_0"][:, :, None], groups=4)
    y = normed(convolved(y, own["pointwise_0"][None, None]))
  else:
    y = normed(convolved(jax.nn.relu(y), params["Conv_1"]["kernel"]))
  np.testing.assert_allclose(out, y, atol=2e-4)


@pytest.mark.parametrize("name", ["sep_conv_3x3", "conv_3x3", "max_pool_3x3"])
def test_a_final_layer_chosen_at_run_time_is_the_fixed_one(name):
  names, x = ("conv_3x3", "sep_conv_3x3", "max_pool_3x3"), inputs()
  layer, op = FinalLayer(names, False), np.int32(names.index(name))
  key = jax.random.key(0)
  fixed = layer.init(key, x, op, train=True)["params"]
  params = layer.init(key, x, jnp.asarray(op), train=True)["params"]
  params["Conv_0"] = fixed["Conv_0"]
  if name.startswith("sep"):
    own = fixed["SeparableConv_0"]
    params[f"{name}_depthwise"] = own["depthwise_0"]
    params[f"{name}_pointwise"] = own["pointwise_0"]
  elif name.startswith("conv"):
    params[name] = fixed["Conv_1"]["kernel"]
  out, expected = (
      layer.apply({"params": p}, x, o, train=True, mutable=["averages"])[0]
      for p, o in ((params, jnp.asarray(op)), (fixed, op))
  )
  np.testing.assert_allclose(out, expected, atol=1e-5)


@pytest.mark.parametrize("name", Macro().names)
def test_a_shared_layer_is_what_the_specification_says(name):
  names, x = Macro().names, inputs()
  op = names.index(name)
  layer = SharedLayer(names)
  params = layer.init(jax.random.key(0), x, np.int32(op), train=True)["params"]
  out = layer.apply({"params": params}, x, np.int32(op), train=True)
  y = convolved(x, params["entry"][op][None, None])
  y = jax.nn.relu(normed(y))
  if "pool" in name:
    y = pooled(y, name)
  elif name.startswith("sep"):
    y = convolved(y, params[f"{name}_depthwise"][:, :, None], groups=4)
    y = convolved(y, params[f"{name}_pointwise"][None, None])
    y = jax.nn.relu(normed(y, 1e-3))
  else:
    y = jax.nn.relu(normed(convolved(y, params[name]), 1e-3))
  np.testing.assert_allclose(out, y, atol=2e-4)


@pytest.mark.parametrize("track", [False, True])
@pytest.mark.parametrize("concat", [False, True])
@pytest.mark.parametrize("bits", [[0, 0], [1, 0], [1, 1]])
def test_a_merge_is_what_the_specification_says(bits, concat, track):
  x, *tensors = (inputs(seed) for seed in range(3))
  bits = np.array(bits, np.int32)
  merge = (FinalMerge if track else SharedMerge)(concat)
  args = x, tensors, bits
  variables = merge.init(jax.random.key(0), *args, train=True)
  out = merge.apply(variables, *args, train=True, mutable=["averages"])[0]
  read = [t for t, bit in zip(tensors, bits, strict=True) if bit]
  if not concat:
    y = sum(read, x)
  elif track:
    y = jax.nn.relu(jnp.concatenate([*read, x], -1))
    y = convolved(y, variables["params"]["Conv_0"]["kernel"])
  else:
    mix = variables["params"]["mix"]
    rows = [mix[i] for i in np.flatnonzero(bits)] + [mix[2]]
    y = jax.nn.relu(jnp.concatenate([*read, x], -1))
    y = convolved(y, jnp.concatenate(rows)[None, None])
  np.testing.assert_allclose(out, normed(y), atol=2e-4)


def test_a_stretched_network_repeats_each_layer_and_reads_the_last_copy():
  arch = Macro(layers=3).unflatten([1, 4, 1, 0, 0, 1])
  ops, skips = stretched(arch, 2)
  assert ops.tolist() == [1, 1, 4, 4, 0, 0]
  # Tensor i is 2 i now: layer 1 read tensor 0, layer 2 read tensor 1.
  read = [np.flatnonzero(row).tolist() for row in skips]
  assert read == [[], [], [0], [0], [2], [2]]
  space, arch_6 = Macro(layers=6), MacroArch(ops, skips)
  chex.assert_trees_all_equal(space.unflatten(space.flatten(arch_6)), arch_6)
  long = Macro(layers=3).network(classes=3, final=True, filters=4, stretch=2)
  same = space.network(classes=3, final=True, filters=4)
  chex.assert_trees_all_equal(shapes(long, arch, 8), shapes(same, arch_6, 8))


@pytest.mark.parametrize("values, message", [
    ([0, 1], "3 integers make an architecture of 2 layers .*, got 2"),
    ([0, 6, 1], "layer 1 has operation 6, which is not one of 0..5"),
    ([-1, 0, 1], "layer 0 has operation -1, which is not one of 0..5"),
    ([0, 0, 2], "layer 1 has skip bit 0 = 2, which is not 0 or 1"),
])
def test_what_is_no_architecture_is_refused(values, message):
  with pytest.raises(ValueError, match=message):
    Macro(layers=2).unflatten(values)


@pytest.mark.parametrize("arguments, message", [
    ({"operations": "conv_3x3,conv_4x4"}, "operations: .*'conv_4x4'. Choices"),
    ({"operations": ""}, "operations: .*''"),
    ({"operations": "conv_3x5"}, "operations: .*'conv_3x5'"),
    ({"operations": "conv_3x3,conv_3x3"}, "operations: each once at most"),
    ({"skip_target": 1.0}, "skip_target: must be a number > 0 and < 1, got 1."),
])
def test_what_is_no_space_is_refused(arguments, message):
  with pytest.raises(ConfigError, match=message):
    Macro(**options.read(Macro, arguments))


def test_any_kernels_make_a_space():
  space = Macro(layers=3, operations="conv_7x7,avg_pool_3x3,sep_conv_7x7")
  network = space.network(classes=3, filters=4)
  arch = jax.tree.map(jnp.asarray, space.unflatten([0, 1, 1, 2, 0, 1]))
  params = shapes(network, arch, 8)["layer_0"]
  assert params["conv_7x7"].shape == (7, 7, 4, 4)
  assert params["scale_conv"].shape == (2, 4)
  assert params["entry"].shape == (3, 4, 4)
