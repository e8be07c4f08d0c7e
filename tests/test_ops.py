"""Each operation against plain XLA and its autodiff, values and gradients."""

from collections.abc import Callable
import functools

from flax import errors as flax_errors
from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from enas_jax.ops import choose, conv, drop, init, norm, pool

_SIZES = [(8, 8), (7, 9)]  # even, odd


def _normal(seed, *shape):
  # Numpy, because jax would compile a draw for every shape.
  draw = np.random.default_rng(seed).standard_normal(shape)
  return jnp.asarray(draw, jnp.float32)


def assert_same(operation, plain, *args, atol=2e-4):
  """Equal values, and equal gradients with respect to every argument."""
  g = _normal(99, *jax.eval_shape(plain, *args).shape)

  @jax.jit
  def run(args, g):
    y, pull = jax.vjp(operation, *args)
    want, want_pull = jax.vjp(plain, *args)
    return (y, *pull(g)), (want, *want_pull(g))

  for got, expected in zip(*run(args, g), strict=True):
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got, expected, atol=atol)


def _conv(x, w, stride=1, groups=1):
  return lax.conv_general_dilated(
      x,
      w,
      (stride, stride),
      "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=groups,
      precision="highest",
  )


def test_pointwise():
  assert_same(
      conv.pointwise,
      lambda x, w: _conv(x, w[None, None]),
      _normal(0, 3, 5, 4, 6),
      _normal(1, 6, 7),
  )


@pytest.mark.parametrize("size", _SIZES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("k", [3, 5])
def test_depthwise(k, stride, size):
  # The weight gradient takes four images a turn, or two, or one.
  batch = 8 if size == _SIZES[0] else {1: 6, 2: 3}[stride]
  assert_same(
      functools.partial(conv.depthwise, stride=stride),
      lambda x, w: _conv(x, w[:, :, None], stride, groups=6),
      _normal(0, batch, *size, 6),
      _normal(1, k, k, 6),
  )


@pytest.mark.parametrize("size", [*_SIZES, (2, 3)])  # below the window
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("c, features", [(4, 5), (1, 9)])  # columns, patches
def test_dense(c, features, k, stride, size, monkeypatch):
  if size == _SIZES[0]:  # an image a chunk instead of all
    monkeypatch.setattr(conv, "_ENTRIES_AT_ONCE", 0)
    monkeypatch.setattr(conv, "_ENTRIES_A_CHUNK", 0)
  assert_same(
      functools.partial(conv.dense, stride=stride),
      functools.partial(_conv, stride=stride),
      _normal(0, 4, *size, c),
      _normal(1, k, k, c, features),
  )


def test_dense_takes_as_many_images_at_a_time_as_fit():
  x, w = jnp.ones((12, 64, 64, 16)), jnp.ones((3, 3, 16, 16))
  assert conv._chunks(x, x, w).shape == (3, 4, 64, 64, 16)
  assert conv._chunks(x[:7], x[:7], w).shape[:2] == (1, 7)


@pytest.mark.parametrize("size", _SIZES)
def test_factorized_reduction(size):
  def plain(x, w1, w2):
    # As in the reference: pad below and right, drop the first row and column.
    shifted = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))[:, 1:, 1:]
    paths = (
        _conv(path[:, ::2, ::2], w[None, None])
        for path, w in ((x, w1), (shifted, w2))
    )
    return jnp.concatenate(list(paths), axis=-1)

  args = _normal(0, 2, *size, 4), _normal(1, 4, 3), _normal(2, 4, 3)
  assert conv.factorized_reduction(*args).shape == (2, 4, -(-size[1] // 2), 6)
  assert_same(conv.factorized_reduction, plain, *args)


def test_no_product_reads_a_strided_slice():
  loss = lambda *args: (conv.factorized_reduction(*args) ** 2).sum()
  args = _normal(0, 3, 8, 8, 4), _normal(1, 4, 3), _normal(2, 4, 3)
  equations = jax.make_jaxpr(jax.grad(loss, (1, 2)))(*args).jaxpr.eqns
  strided = [
      e.outvars[0]
      for e in equations
      if e.primitive.name == "slice" and e.params["strides"] == (1, 2, 2, 1)
  ]
  readers = [
      e.primitive.name
      for e in equations
      if any(read is made for read in e.invars for made in strided)
  ]
  assert len(strided) == 2
  assert readers == ["optimization_barrier"]


def _batch_norm(x, scale, offset):
  mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
  return (x - mean) / jnp.sqrt(var + 1e-5) * scale + offset


def test_batch_norm():
  x = 3 * _normal(0, 4, 5, 6, 7) + _normal(1, 7)
  scale, offset = _normal(2, 7), _normal(3, 7)
  assert_same(lambda *a: norm.batch_norm(*a)[0], _batch_norm, x, scale, offset)
  _, mean, var = norm.batch_norm(x, scale, offset)
  np.testing.assert_allclose(mean, x.mean((0, 1, 2)), atol=1e-5)
  np.testing.assert_allclose(var, x.var((0, 1, 2)), atol=1e-5)


def test_batch_norm_statistics_carry_no_gradient():
  def statistics(x):
    _, mean, var = norm.batch_norm(x, jnp.ones(3), jnp.zeros(3))
    return mean.sum() + var.sum()

  assert not jax.grad(statistics)(_normal(0, 2, 3, 3, 3)).any()


def test_batch_norm_of_constant_channels_is_finite():
  # The difference of two large means must not come out below -eps.
  x = jnp.broadcast_to(1000 * _normal(0, 64), (2, 3, 3, 64))
  y, _, var = norm.batch_norm(x, jnp.ones(64), jnp.zeros(64))
  assert jnp.isfinite(y).all() and (var >= 0).all()


def test_normalize_is_batch_norm_with_given_statistics():
  x, scale, offset = _normal(0, 4, 5, 6, 7), _normal(1, 7), _normal(2, 7)
  y, mean, var = norm.batch_norm(x, scale, offset)
  np.testing.assert_allclose(
      norm.normalize(x, mean, var, scale, offset), y, atol=1e-6
  )


def _window(x, stride, initial, combine):
  window, strides = (1, 3, 3, 1), (1, stride, stride, 1)
  return lax.reduce_window(x, initial, combine, window, strides, "SAME")


def _average(x, stride):
  count = _window(jnp.ones_like(x), stride, 0.0, lax.add)
  return _window(x, stride, 0.0, lax.add) / count


def _maximum(x, stride):
  return _window(x, stride, -jnp.inf, lax.max)


@pytest.mark.parametrize("size", _SIZES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    "pooled, plain", [(pool.avg_pool, _average), (pool.max_pool, _maximum)]
)
def test_pool(pooled, plain, stride, size):
  assert_same(
      functools.partial(pooled, stride=stride),
      functools.partial(plain, stride=stride),
      _normal(0, 3, *size, 5),
  )


@pytest.mark.parametrize("size", _SIZES)
@pytest.mark.parametrize("stride", [1, 2])
def test_max_pool_sends_the_gradient_of_a_tie_to_the_first(stride, size):
  # A max pool of a max pool, and a few levels only: ties everywhere.
  x = jnp.round(_normal(0, 3, *size, 5))
  assert_same(
      lambda x: pool.max_pool(pool.max_pool(x), stride),
      lambda x: _maximum(_maximum(x, 1), stride),
      x,
  )


def test_avg_pool_valid():
  def plain(x):
    window, strides = (1, 5, 5, 1), (1, 3, 3, 1)
    return lax.reduce_window(x, 0.0, lax.add, window, strides, "VALID") / 25

  assert_same(
      lambda x: pool.avg_pool_valid(x, 5, 3), plain, _normal(0, 2, 8, 9, 3)
  )


# (operation, plain XLA) on x[B, H, W, 4], w[3, 3, 4, 5], stride.
_WINDOWED = {
    "depthwise": (
        lambda x, w, s: conv.depthwise(x, w[..., 0], s),
        lambda x, w, s: _conv(x, w[:, :, None, :, 0], s, groups=4),
    ),
    "dense": (conv.dense, _conv),
    "avg_pool": (
        lambda x, w, s: pool.avg_pool(x, s),
        lambda x, w, s: _average(x, s),
    ),
    "max_pool": (
        lambda x, w, s: pool.max_pool(x, s),
        lambda x, w, s: _maximum(x, s),
    ),
}


@pytest.mark.parametrize("name", _WINDOWED)
def test_other_platforms_take_the_plain_rule(name, monkeypatch):
  def other(*args, cpu, default):
    return default(*args)

  monkeypatch.setattr(lax, "platform_dependent", other)
  operation, plain = _WINDOWED[name]
  assert_same(
      lambda x, w: operation(x, w, 2),
      lambda x, w: plain(x, w, 2),
      _normal(0, 3, 7, 9, 4),
      _normal(1, 3, 3, 4, 5),
  )


@pytest.mark.parametrize("platform, plain", [("cpu", False), ("tpu", True)])
@pytest.mark.parametrize("name", _WINDOWED)
def test_window_operations_are_plain_xla_except_on_the_cpu(
    name, platform, plain
):
  operation, _ = _WINDOWED[name]
  run = jax.jit(jax.grad(lambda x, w: (operation(x, w, 1) ** 2).sum(), (0, 1)))
  args = _normal(0, 3, 7, 9, 4), _normal(1, 3, 3, 4, 5)
  text = run.trace(*args).lower(lowering_platforms=(platform,)).as_text()
  windowed = "stablehlo.convolution" in text or "reduce_window" in text
  assert windowed == plain


def test_drop_path_decides_once_an_example():
  x = drop.drop_path(jax.random.key(0), jnp.ones((1000, 2, 3, 4)), 0.6)
  per_example = x.reshape(1000, -1)
  assert (per_example == per_example[:, :1]).all()
  np.testing.assert_allclose((x > 0).mean(), 0.6, atol=0.05)
  np.testing.assert_allclose(x[x > 0], 1 / 0.6, rtol=1e-6)


_BRANCHES = (
    lambda x, w: jnp.sin(x) * w["a"],
    lambda x, w: x * w["b"] ** 2,
    lambda x, w: x,
)


@pytest.mark.parametrize("index", range(3))
def test_choose(index):
  x, weights = _normal(0, 4), {"a": _normal(1, 4), "b": _normal(2, 4)}

  def run(index):
    y, pull = jax.vjp(
        lambda x, w: choose.choose(index, _BRANCHES, x, w), x, weights
    )
    return y, pull(jnp.ones(4))

  y, (dx, dw) = jax.jit(run)(index)  # a traced index
  for other in (run(index), run(np.int32(index))):
    np.testing.assert_allclose(y, other[0], rtol=1e-6)
    np.testing.assert_allclose(dx, other[1][0], rtol=1e-6)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-6),
        dw,
        other[1][1],
    )
  for n, name in enumerate("ab"):
    assert dw[name].any() == (index == n)  # exactly zero when not chosen


def test_choose_under_every_transformation():
  """In a map, on two devices, and recomputed: the gradient is the same."""
  indices = np.arange(4) % 3
  x, weights = _normal(0, 4), {"a": _normal(1, 4), "b": _normal(2, 4)}

  def gradient(index):
    run = jax.checkpoint(lambda x: choose.choose(index, _BRANCHES, x, weights))
    return jax.grad(lambda x: run(x).sum())(x)

  expected = [jax.jit(gradient)(index) for index in indices]
  mesh = jax.sharding.Mesh(jax.devices()[:2], ("d",))
  spec = jax.sharding.PartitionSpec("d")
  mapped = functools.partial(jax.lax.map, gradient)
  shared = jax.shard_map(
      mapped, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
  )
  for run in (mapped, shared):
    np.testing.assert_allclose(jax.jit(run)(indices), expected, rtol=1e-6)


def test_choose_builds_one_branch_only_for_a_static_index():
  def never(x, weights):
    raise AssertionError("built")

  assert choose.choose(1, (never, lambda x, w: x + w), 2, 3) == 5


def test_choose_saves_no_branch_residuals():
  # Autodiff of a switch would save ten sines, filled with zeros or not.
  def deep(x, w):
    for _ in range(5):
      x = jnp.sin(x) * w
    return x

  def residuals(index, x, w):
    return jax.vjp(
        lambda x, w: choose.choose(index, (deep, deep), x, w), x, w
    )[1]

  x = jnp.ones(4)
  saved = jax.tree.leaves(jax.eval_shape(residuals, jnp.int32(0), x, x))
  assert len(saved) == 3  # the index, x and w


@pytest.mark.parametrize(
    "operation, shapes",
    [
        (conv.pointwise, [(4, 4)]),
        (conv.depthwise, [(3, 3, 4)]),
        (conv.dense, [(3, 3, 4, 4)]),
        (lambda x, w: conv.dense(x[..., :1], w), [(3, 3, 1, 4)]),  # patches
        (lambda x, *w: norm.batch_norm(x, *w)[0], [(4,), (4,)]),
        (pool.avg_pool, []),
        (pool.max_pool, []),
        (lambda x: drop.drop_path(jax.random.key(0), x, 0.5), []),
    ],
)
def test_bfloat16(operation, shapes):
  """Results in bfloat16 near those in float32, of float32 weights float32."""
  x, g = (_normal(n, 2, 6, 6, 4).astype(jnp.bfloat16) for n in range(2))
  weights = [jnp.ones(shape) for shape in shapes]

  @jax.jit
  def run(x, g):
    y, pull = jax.vjp(operation, x, *weights)
    return y, *pull(g)

  exact = run(x.astype(jnp.float32), g.astype(jnp.float32))
  y, dx, *dw = run(x, g)
  assert y.dtype == dx.dtype == jnp.bfloat16
  assert all(d.dtype == jnp.float32 for d in dw)
  for got, expected in zip((y, dx, *dw), exact, strict=True):
    got = got.astype(jnp.float32)
    np.testing.assert_allclose(got, expected, atol=0.1, rtol=0.05)


def test_batch_norm_statistics_are_float32():
  x = (3 + _normal(0, 64, 8, 8, 2)).astype(jnp.bfloat16)
  _, mean, var = norm.batch_norm(x, jnp.ones(2), jnp.zeros(2))
  assert mean.dtype == var.dtype == jnp.float32
  exact = x.astype(jnp.float32)
  np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-5)
  np.testing.assert_allclose(var, exact.var((0, 1, 2)), rtol=1e-3)


def test_operations_run_without_jit():
  with jax.disable_jit():
    x = _normal(0, 2, 4, 4, 3)
    w = _normal(1, 3, 3, 3)
    jax.grad(lambda x, w: conv.depthwise(x, w).sum(), (0, 1))(x, w)
    jax.grad(lambda x: pool.max_pool(x).sum() + pool.avg_pool(x).sum())(x)


class Scaled(nn.Module):
  """A network whose forward pass begins with its weight alone."""

  start: Callable  # (key, the input) -> the weight
  seen: Callable = None  # is called with the weight
  speaks: bool = False

  @nn.compact
  def __call__(self, x, *, train):
    del train
    if self.speaks:
      jax.debug.print("{}", x)
    weight = self.param("weight", self.start, x)
    return x * jax.pure_callback(self.seen, weight, weight)


def test_variables_are_drawn_and_the_network_is_not_run():
  key, x, seen = jax.random.key(0), jax.ShapeDtypeStruct((3,), jnp.float32), []
  draw = lambda key, x: jax.random.normal(key, x.shape)
  found = init.variables(Scaled(draw, seen.append), key, x)
  assert not seen
  assert found["params"]["weight"].shape == (3,)
  # Constants are arrays, too, on which a network can call `at`.
  for start in (lambda key, x: jnp.arange(3.0), lambda key, x: jnp.array(3.0)):
    found = init.variables(Scaled(start, seen.append), key, x)["params"]
    assert isinstance(found["weight"], jax.Array)
    np.testing.assert_array_equal(found["weight"], start(key, x))
  # What depends on an input needs its values, and what prints it does not.
  by_data = Scaled(lambda key, x: x + 1, seen.append)
  found = init.variables(by_data, key, jnp.arange(3.0))["params"]
  np.testing.assert_array_equal(found["weight"], [1.0, 2.0, 3.0])
  with pytest.raises(flax_errors.LazyInitError):
    init.variables(Scaled(lambda key, x: x + 1, lambda w: w), key, x)
  speaks = Scaled(draw, lambda weight: weight, speaks=True)
  assert init.variables(speaks, key, x)["params"]["weight"].shape == (3,)
