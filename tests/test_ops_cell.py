"""The searched cell: run-time = static = a naive sum over nodes."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from enas_jax.ops import cell as ops_cell
from enas_jax.ops import conv, norm, pool

_NODES, _SHAPE, _C = 3, (3, 5, 6, 4), 4


def _separable(name, x, weights):
  w = weights[name]
  x = conv.pointwise(conv.depthwise(jax.nn.relu(x), w["dw"]), w["pw"])
  return norm.batch_norm(x, w["scale"], w["offset"])[0]


_BRANCHES = (
    functools.partial(_separable, "one"),
    functools.partial(_separable, "three"),
    lambda x, w: pool.avg_pool(x),
    lambda x, w: pool.max_pool(x),
    lambda x, w: x,
)


@pytest.fixture(scope="module")
def tensors():
  """(weights, mix, inputs, cotangent)."""
  rng = np.random.default_rng(0)

  def normal(*shape):
    return jnp.asarray(rng.standard_normal(shape), jnp.float32)

  weights = {
      name: {
          "dw": normal(_NODES, 2, k, k, _C),
          "pw": normal(_NODES, 2, _C, _C),
          "scale": normal(_NODES, 2, _C),
          "offset": normal(_NODES, 2, _C),
      }
      for name, k in (("one", 1), ("three", 3))
  }
  mix = normal(_NODES + 2, _C, _C)
  return weights, mix, normal(2, *_SHAPE), normal(*_SHAPE)


def _archs(count, seed=0):
  """Random ones, after one where every state but the last is read and one
  where the inputs alone are: the fewest and the most loose ends."""
  rng = np.random.default_rng(seed)
  chain = np.arange(_NODES)[:, None] + np.array([0, 1])
  fan = np.zeros_like(chain) + np.array([0, 1])
  for sources in (chain, fan):
    yield sources.astype(np.int32), np.full((_NODES, 2), 3, np.int32)
  for _ in range(count - 2):
    rows = [rng.integers(0, n + 2, 2) for n in range(_NODES)]
    ops = rng.integers(0, len(_BRANCHES), (_NODES, 2))
    yield np.stack(rows).astype(np.int32), ops.astype(np.int32)


def _naive(weights, mix, inputs, sources, ops):
  """All branches on all states, masked: ordinary autodiff, one program."""
  states = jnp.concatenate([inputs, jnp.zeros((_NODES, *_SHAPE))])
  for n in range(_NODES):
    for d in range(2):
      w = jax.tree.map(lambda a: a[n, d], weights)  # noqa: B023
      chosen = jax.nn.one_hot(sources[n, d], _NODES + 2)
      x = jnp.einsum("j,j...->...", chosen, states)
      ys = jnp.stack([branch(x, w) for branch in _BRANCHES])
      chosen = jax.nn.one_hot(ops[n, d], len(_BRANCHES))
      y = jnp.einsum("o,o...->...", chosen, ys)
      states = states.at[n + 2].add(y)
  used = jax.nn.one_hot(sources, _NODES + 2).sum((0, 1)) > 0
  ends = jnp.where(used[:, None, None, None, None], 0, jax.nn.relu(states))
  return jnp.einsum("jbhwc,jcf->bhwf", ends, mix)


def _cell(weights, mix, inputs, sources, ops):
  return ops_cell.cell(_BRANCHES, weights, mix, inputs, sources, ops)


def _value_and_grads(run, tensors, sources, ops):
  *args, g = tensors
  y, pull = jax.vjp(lambda *args: run(*args, sources, ops), *args)
  return y, pull(g)


@pytest.fixture(scope="module")
def searched():
  """(tensors, sources, ops) -> (y, gradients), one program for all tests."""
  return jax.jit(lambda *args: _value_and_grads(_cell, *args))


def _assert_close(got, expected):
  chex.assert_trees_all_close(got, expected, atol=2e-4, rtol=2e-4)


def test_searched_cell_is_the_naive_one(tensors, searched):
  naive = jax.jit(lambda *args: _value_and_grads(_naive, *args))
  for arch in _archs(12):
    _assert_close(searched(tensors, *arch), naive(tensors, *arch))


def test_fixed_cell_is_the_searched_one(tensors, searched):
  for sources, ops in _archs(4):
    fixed = jax.jit(
        lambda t: _value_and_grads(_cell, t, sources, ops)  # noqa: B023
    )
    _assert_close(fixed(tensors), searched(tensors, sources, ops))


def test_what_a_gpu_chooses_by_is_the_same(tensors, searched, monkeypatch):
  def branches():
    args = (*tensors[:3], *next(_archs(1)))
    return str(jax.make_jaxpr(lambda *args: _cell(*args))(*args)).count("cond[")

  expected = [searched(tensors, *arch) for arch in _archs(6)]
  before = branches()
  monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
  switched = jax.jit(lambda *args: _value_and_grads(_cell, *args))
  for arch, one in zip(_archs(6), expected, strict=True):
    _assert_close(switched(tensors, *arch), one)
  assert branches() > before


def test_weights_not_chosen_have_exactly_zero_gradient(tensors, searched):
  for sources, ops in _archs(6):
    _, (weights, mix, _) = searched(tensors, sources, ops)
    for op, name in enumerate(("one", "three")):
      for leaf in jax.tree.leaves(weights[name]):
        moved = np.abs(leaf).reshape(_NODES, 2, -1).max(-1) > 0
        np.testing.assert_array_equal(moved, ops == op)
    loose = ~np.isin(np.arange(_NODES + 2), sources)
    np.testing.assert_array_equal(np.abs(mix).max((1, 2)) > 0, loose)


def test_thirty_architectures_one_trace(tensors):
  chex.clear_trace_counter()
  forward = jax.jit(chex.assert_max_traces(_cell, n=1))
  for arch in _archs(30):
    forward(*tensors[:3], *arch)


def test_in_a_map_over_architectures(tensors, searched):
  archs = list(_archs(4))
  sources, ops = (np.stack(a) for a in zip(*archs, strict=True))
  many = jax.jit(
      lambda *archs: jax.lax.map(lambda arch: _cell(*tensors[:3], *arch), archs)
  )(sources, ops)
  for y, arch in zip(many, archs, strict=True):
    _assert_close(y, searched(tensors, *arch)[0])


def test_on_two_devices_each_runs_an_architecture_of_its_own(
    tensors, searched
):
  archs = list(_archs(4))[2:]
  sources, ops = (np.stack(a) for a in zip(*archs, strict=True))
  mesh = jax.sharding.Mesh(jax.devices()[:2], ("d",))
  spec = jax.sharding.PartitionSpec("d")

  def own(sources, ops):
    out = _value_and_grads(_cell, tensors, sources[0], ops[0])
    return jax.tree.map(lambda leaf: leaf[None], out)

  both = jax.shard_map(
      own, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False
  )
  found = jax.jit(both)(sources, ops)
  for n, arch in enumerate(archs):
    mine = jax.tree.map(lambda leaf: np.asarray(leaf[n]), found)  # noqa: B023
    _assert_close(mine, searched(tensors, *arch))


def test_recomputed_on_the_way_back(tensors, searched):
  arch = list(_archs(3))[2]
  saved = jax.checkpoint(lambda *args: _cell(*args))
  got = jax.jit(lambda *args: _value_and_grads(saved, *args))(tensors, *arch)
  _assert_close(got, searched(tensors, *arch))


def test_fixed_cell_builds_the_chosen_branches_only(tensors):
  def never(x, w):
    raise AssertionError("built")

  weights, mix, inputs, _ = tensors
  branches = (never, never, *_BRANCHES[2:])
  sources, ops = next(_archs(1))  # max pools only
  jax.eval_shape(
      lambda x: ops_cell.cell(branches, weights, mix, x, sources, ops), inputs
  )


# Without jit every primitive compiles by itself.
_TOY = (lambda x, w: x * w["one"]["scale"],)


def _toy(tensors, inputs, sources):
  """With numpy `sources` the fixed cell, with jax ones the searched one."""
  weights, mix, _, g = tensors
  y, pull = jax.vjp(
      lambda x: ops_cell.cell(_TOY, weights, mix, x, sources, 0 * sources),
      inputs,
  )
  return y, pull(g)[0]


def test_inputs_may_be_a_pair(tensors):
  inputs = tensors[2]
  sources, _ = next(_archs(1))
  fixed = jax.jit(lambda x: _toy(tensors, x, sources))
  searched = jax.jit(lambda x: _toy(tensors, x, jnp.asarray(sources)))
  for run in (fixed, searched):
    y, dinputs = run(inputs)
    pair_y, pair_dinputs = run(tuple(inputs))
    _assert_close(pair_y, y)
    _assert_close(jnp.stack(pair_dinputs), dinputs)


def test_without_jit(tensors):
  inputs = tensors[2]
  sources, _ = next(_archs(1))
  with jax.disable_jit():
    got = _toy(tensors, inputs, jnp.asarray(sources))
  _assert_close(got, jax.jit(lambda x: _toy(tensors, x, sources))(inputs))


def test_bfloat16(tensors, searched):
  """From float32 weights; their gradients stay float32."""
  weights, mix, inputs, g = tensors
  half = jnp.bfloat16
  arch = list(_archs(3))[-1]
  y, (dweights, dmix, dinputs) = searched(
      (weights, mix, inputs.astype(half), g.astype(half)), *arch
  )
  assert y.dtype == dinputs.dtype == half
  for got, like in ((dweights, weights), (dmix, mix)):
    chex.assert_trees_all_equal_dtypes(got, like)
  chex.assert_tree_all_finite((y, dweights, dmix, dinputs))
