"""The space of NAS-Bench-201: its numbers, its notation, what it runs."""

import functools
import itertools
import pathlib
import re

import chex
from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_spaces import count, supernet_of

from enas_jax import archfile, build
from enas_jax.configs import nasbench201, nasbench201_final
from enas_jax.errors import ConfigError
from enas_jax.spaces.nasbench201 import cell as cell_file
from enas_jax.spaces.nasbench201 import EDGES, NasBench201, OPERATIONS
from enas_jax.spaces.nasbench201.network import Reduction
from enas_jax.tasks import TASKS
from enas_jax.testing import filled, images, on_host, unmoved

SPACE = NasBench201()
RESNET = (
    "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1"
    "|skip_connect~2|"
)
DATA = pathlib.Path(__file__).parents[2] / "shared" / "data"
TABLE = DATA / "nasbench201_cifar10.npz"


@pytest.fixture(scope="module")
def table():
  if not TABLE.exists():
    pytest.skip("the benchmark's table is not there")
  with np.load(TABLE) as file:
    return dict(file)


def shapes(values, size=32):
  network = SPACE.network(classes=10, final=True)
  arch = SPACE.unflatten(list(values))

  def init(key):
    return network.init(key, jnp.zeros((1, size, size, 3)), arch, train=True)

  return jax.eval_shape(init, jax.random.key(0))["params"]


# A 1 x 1 convolution has c^2 + 2 c parameters, a 3 x 3 one 9 c^2 + 2 c, with
# c of 16, 32 and 64 in five cells each.
PER_EDGE = {
    "none": 0,
    "skip_connect": 0,
    "nor_conv_1x1": 5 * (5_376 + 2 * 112),
    "nor_conv_3x3": 5 * (9 * 5_376 + 2 * 112),
    "avg_pool_3x3": 0,
}


@pytest.mark.parametrize(
    "values", [[0, 1, 4, 0, 1, 4], [2, 0, 0, 0, 3, 1], [3, 3, 3, 3, 3, 3]]
)
def test_the_final_network_has_the_benchmarks_parameters(values):
  edges = sum(PER_EDGE[OPERATIONS[value]] for value in values)
  assert count(shapes(values)) == 73_306 + edges


def test_sizes_are_those_of_the_table(table):
  for n in range(0, len(table["ops"]), 500):
    size = count(shapes(table["ops"][n].tolist()))
    assert size == round(1e6 * float(table["params_million"][n]))


def test_the_table_has_our_order_of_edges_and_operations(table):
  assert table["op_names"].tolist() == list(OPERATIONS)
  assert [tuple(edge[::-1]) for edge in table["edges"].tolist()] == list(EDGES)
  for name, values in zip(
      table["arch"].tolist(), table["ops"].tolist(), strict=True
  ):
    assert SPACE.parse(name) == values
    assert SPACE.notation(values) == name
  best = table["ops"][table["cifar10_test"].argmax()].tolist()
  assert best == SPACE.presets["nasbench201_best"].encoding


def test_the_notation_is_read_wherever_an_arch_is():
  config = nasbench201_final.get_config("smoke")
  config.arch = f" {RESNET.replace('+', ' + ')}\n"
  record = build.plan(config).record
  preset = SPACE.presets["nasbench201_resnet"].encoding
  assert record["arch"] == " ".join(map(str, preset))
  lines = archfile.described(SPACE.unflatten(preset), SPACE)
  assert lines == [
      "node 1 = nor_conv_3x3(0)",
      "node 2 = none(0) + nor_conv_3x3(1)",
      "node 3 = skip_connect(0) + none(1) + skip_connect(2)",
      RESNET,
  ]


@pytest.mark.parametrize("text, message", [
    (RESNET.replace("nor_conv_3x3~0", "conv~0"), "no operation 'conv'"),
    (RESNET.replace("none~0", "none~1"), "is not of the form |op~0|+|op~0|op~"),
    (RESNET[: RESNET.rindex("skip")], "is not of the form"),
    ("|", "is not of the form"),
    ("none~0", "is no file and no preset"),
    ("0 1 2 3 4", "6 integers make a cell, got 5"),
    ("0 1 2 3 4 5", "node 3 reads node 2 by operation 5, which is not one"),
    ("0 -1 2 3 4 4", "node 2 reads node 0 by operation -1"),
])
def test_what_is_no_cell_is_refused(text, message):
  with pytest.raises(ConfigError, match=re.escape(message)) as caught:
    archfile.parse("config.arch", text, SPACE)
  assert str(caught.value).startswith("config.arch: ")


def test_a_cell_is_what_its_description_says():
  supernet = supernet_of("nasbench201")
  network = SPACE.network(classes=3, cells=1, filters=4, affine=True)
  arch = SPACE.unflatten([3, 2, 4, 1, 3, 2])
  inputs = {}

  def note(call, args, kwargs, context):
    out = call(*args, **kwargs)
    if context.module.name == "cell_0_0":
      inputs["x"], inputs["y"] = args[0], out
    return out

  with nn.intercept_methods(note):
    network.apply(
        {"params": supernet.params}, supernet.batch.images, arch, train=True
    )
  weights = jax.tree.map(np.asarray, supernet.params["cell_0_0"])

  def conv(x, edge, size):
    kernel = weights[f"kernel_{size}"][edge].reshape(size, size, 4, 4)
    y = jax.lax.conv_general_dilated(
        jnp.maximum(x, 0),
        kernel,
        (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    y = (y - y.mean((0, 1, 2))) / jnp.sqrt(y.var((0, 1, 2)) + 1e-5)
    return y * weights[f"scale_{size}"][edge] + weights[f"offset_{size}"][edge]

  def average(x):
    window = functools.partial(
        jax.lax.reduce_window,
        init_value=0.0,
        computation=jax.lax.add,
        window_dimensions=(1, 3, 3, 1),
        window_strides=(1, 1, 1, 1),
        padding="SAME",
    )
    return window(x) / window(jnp.ones_like(x))

  zero = inputs["x"]
  one = conv(zero, 0, 3)
  two = conv(zero, 1, 1) + average(one)
  three = zero + conv(one, 4, 3) + conv(two, 5, 1)
  np.testing.assert_allclose(inputs["y"], three, rtol=1e-4, atol=1e-4)


def needed_edges(values, affine):
  """Edges on a path to the output from the input or a norm's offset."""
  uncut = [(*e, op) for e, op in zip(EDGES, values, strict=True) if op]
  kept = {
      edge
      for n in range(1, 4)
      for path in itertools.combinations(uncut, n)
      if path[-1][0] == 3
      and (path[0][1] == 0 or (affine and "conv" in OPERATIONS[path[0][2]]))
      and all(a[0] == b[1] for a, b in itertools.pairwise(path))
      for edge in path
  }
  edges = zip(EDGES, values, strict=True)
  return [op if (*edge, op) in kept else 0 for edge, op in edges]


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("few", [[0, 1, 3], [0, 4, 2]])
def test_only_what_the_output_needs_is_left(affine, few):
  every = list(itertools.product(few, repeat=6))
  needed = functools.partial(cell_file.needed, affine=affine)
  searched = jax.jit(jax.vmap(needed))(jnp.asarray(every))
  for values, found in zip(every, searched.tolist(), strict=True):
    assert found == needed_edges(values, affine)
    assert needed(np.array(values)).tolist() == found


def graded(affine, dtype=jnp.float32, arithmetic=False):
  """ops -> (gradients of a cell's weights and input, what it returns)."""
  cell = cell_file.SharedCell(affine, arithmetic)
  x, key = images(2)[0].astype(dtype), jax.random.key(0)
  ops = jnp.zeros(6, jnp.int32)
  params = jax.tree.map(
      lambda leaf: jax.random.normal(key, leaf.shape),
      jax.eval_shape(lambda: cell.init(key, x, ops, train=True)),
  )

  def grade(ops):
    def loss(params, x):
      y = cell.apply(params, x, ops, train=True)
      return (y.astype(jnp.float32) ** 3).sum(), y

    return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, x)

  return grade


@pytest.mark.parametrize("affine", [False, True])
def test_what_is_not_needed_adds_nothing(affine, monkeypatch):
  # Node 1 is nothing, node 2 its convolution.
  ops = jnp.array([0, 0, 3, 2, 1, 4])
  found = jax.jit(graded(affine))(ops)
  monkeypatch.setattr(cell_file, "needed", lambda ops, affine: ops)
  expected = jax.jit(graded(affine))(ops)
  chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-4)
  if affine:
    assert np.any(found[0][0]["params"]["offset_3"][2])


@pytest.mark.parametrize("dtype, off", [("float32", 1e-5), ("bfloat16", 0.3)])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("arithmetic", [False, True])
def test_a_searched_cell_is_the_fixed_one(arithmetic, affine, dtype, off):
  searched = jax.jit(graded(affine, dtype, arithmetic))
  fixed = graded(affine)
  for ops in ([2, 3, 4, 1, 2, 0], [3, 0, 2, 4, 3, 1]):
    found = searched(jnp.array(ops))
    (weights, dx), y = found
    assert dx.dtype == y.dtype == dtype
    assert all(d.dtype == jnp.float32 for d in jax.tree.leaves(weights))
    expected = jax.jit(lambda: fixed(np.array(ops)))()  # noqa: B023
    for got, want in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
      # What was not chosen has a gradient of exactly 0.
      assert not np.any(np.asarray(got, np.float32)[want == 0])
      error = np.linalg.norm(np.asarray(got, np.float32) - want)
      assert error <= off * np.linalg.norm(want)


@pytest.mark.parametrize("seed", range(6))
def test_exactly_the_chosen_weights_have_a_gradient(seed):
  supernet = supernet_of("nasbench201")
  rng = np.random.default_rng(seed)
  # No `none`: every edge counts.
  arch = SPACE.unflatten(rng.integers(1, len(OPERATIONS), 6).tolist())
  _, grads = supernet.grade(arch)
  for stage in range(3):
    cell = grads.pop(f"cell_{stage}_0")
    for size, name in (("1", "nor_conv_1x1"), ("3", "nor_conv_3x3")):
      chosen = arch.ops == OPERATIONS.index(name)
      for part in ("kernel", "scale", "offset"):
        grad = np.asarray(cell.pop(f"{part}_{size}"))
        moved = np.any(grad.reshape(6, -1) != 0, 1)
        # The last batch norm takes away what the output's edges add to all.
        asked = 3 if stage == 2 and part == "offset" else 6
        np.testing.assert_array_equal(moved[:asked], chosen[:asked], part)
        assert not np.any(moved & ~chosen)
    assert not cell
  assert all(np.any(grad) for grad in jax.tree.leaves(grads))


def test_without_affine_norms_are_as_if_their_weights_had_not_moved():
  plain = supernet_of("nasbench201", affine=False)
  arch = SPACE.unflatten([3, 2, 4, 1, 3, 2])
  network = SPACE.network(classes=3, cells=1, filters=4, affine=True)
  fresh = jax.eval_shape(
      lambda key: network.init(key, plain.batch.images, arch, train=True),
      jax.random.key(0),
  )["params"]

  def merged(path, leaf):
    found = plain.params
    for part in path:
      found = found.get(part.key, {})
    if len(found):
      return found
    name = path[-1].key
    assert name.startswith(("scale", "offset"))
    return jnp.full(leaf.shape, float(name.startswith("scale")))

  params = jax.tree_util.tree_map_with_path(merged, fresh)
  logits, _ = network.apply(
      {"params": params}, plain.batch.images, arch, train=True
  )
  network = network.clone(affine=False)
  expected, _ = network.apply(
      {"params": plain.params}, plain.batch.images, arch, train=True
  )
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [8, 9])
def test_the_residual_block_is_the_benchmarks_in_a_mirror(size):
  x = jnp.asarray(
      np.random.default_rng(0).normal(size=(2, size, size, 3)), jnp.float32
  )
  block = Reduction(4, False, True)
  params = filled(
      jax.eval_shape(lambda k: block.init(k, x, train=True), jax.random.key(0))
  )["params"]
  y = block.apply({"params": params}, x, train=True)
  assert y.shape == (2, -(-size // 2), -(-size // 2), 4)
  if size % 2:
    return  # where the benchmark has no shortcut

  def conv(x, layer, stride):
    y = jax.lax.conv_general_dilated(
        jnp.maximum(x, 0),
        layer["kernel"][::-1, ::-1],
        (stride, stride),
        ((1, 1), (1, 1)),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    norm = layer["BatchNorm_0"]
    y = (y - y.mean((0, 1, 2))) / jnp.sqrt(y.var((0, 1, 2)) + 1e-5)
    return y * norm["scale"] + norm["offset"]

  mirrored = x[:, ::-1, ::-1]
  residual = conv(conv(mirrored, params["Conv_0"], 2), params["Conv_1"], 1)
  half = mirrored.reshape(2, size // 2, 2, size // 2, 2, 3).mean((2, 4))
  expected = residual + half @ params["kernel"]
  np.testing.assert_allclose(
      y[:, ::-1, ::-1], expected, rtol=1e-4, atol=1e-4
  )


def test_the_final_network_trains_and_evaluates_by_its_averages():
  network = SPACE.network(classes=3, final=True, cells=1, filters=4)
  arch = SPACE.unflatten([3, 2, 4, 1, 0, 3])
  task, batch = TASKS["classification"](network), images(8)
  params, state = filled(
      jax.eval_shape(lambda k: task.init(k, batch, arch), jax.random.key(0))
  )
  for stage in range(3):
    edges = params[f"cell_{stage}_0"].keys()
    assert edges == {"edge_0", "edge_1", "edge_5"}

  @jax.jit
  def step(params, state):
    (loss, (state, _)), grads = jax.value_and_grad(task.loss, has_aux=True)(
        params, state, arch, batch, jax.random.key(0), 0.0
    )
    return jax.tree.map(lambda p, g: p - 0.05 * g, params, grads), state, loss

  now, losses = (params, state), []
  for _ in range(30):
    *now, loss = step(*now)
    losses.append(float(loss))
  assert losses[-1] < 0.5 * losses[0]
  moved = jax.tree.map(
      lambda a, b: bool(np.any(a != b)), (params, state), tuple(now)
  )
  # The batch norm behind the last cell takes away what is added to all.
  lost = "[0]['cell_2_0']['edge_5']['BatchNorm_0']['offset']"
  assert set(unmoved(moved)) <= {lost}
  # By averages, an example's logits do not depend on its neighbours.
  measure = jax.jit(lambda b: task.measure(*now, arch, b)[1]["loss"].total)
  ignored = batch._replace(weight=batch.weight.at[0].set(0.0))
  other = ignored._replace(images=batch.images.at[0].set(7.0))
  assert measure(batch) != measure(ignored)
  np.testing.assert_allclose(measure(ignored), measure(other), rtol=1e-6)


def test_the_configs_are_the_benchmarks():
  search, final = nasbench201.get_config(), nasbench201_final.get_config()
  for config in (search, final):
    network = config.network
    assert (network.cells, network.filters) == (5, 16)
    child = config.child
    assert (child.l2, child.l2_all, child.momentum) == (2.5e-4, True, 0.9)
    assert child.lr_first == config.epochs
  assert (final.epochs, final.child.batch, final.child.lr) == (200, 256, 0.1)
  assert search.data.valid == 25_000
  # As many rewards as in the search on the table.
  strategy = search.strategy
  late = search.epochs - strategy.warmup
  assert late * strategy.steps * strategy.archs == 500
  assert NasBench201(scale=search.space.scale) == SPACE


def test_a_choice_of_operation_is_a_row(table):
  schedule = SPACE.schedule
  assert schedule.mask.shape == (6, 5) and schedule.mask.all()
  arch = SPACE.unflatten(table["ops"][7].tolist())
  chex.assert_trees_all_equal(on_host(SPACE.decode(SPACE.encode(arch))), arch)
