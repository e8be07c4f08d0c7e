"""The searched cell: run-time = static = a naive sum over nodes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from enas_jax.ops import cell as ops_cell
from enas_jax.ops import conv, norm, pool

_NODES, _SHAPE, _C = 4, (3, 5, 6, 4), 4


def _separable(name):
  def branch(x, weights):
    w = weights[name]
    x = conv.pointwise(conv.depthwise(jax.nn.relu(x), w["dw"]), w["pw"])
    return norm.batch_norm(x, w["scale"], w["offset"])[0]

  return branch


_BRANCHES = (
    _separable("three"),
    _separable("five"),
    lambda x, w: pool.avg_pool(x),
    lambda x, w: pool.max_pool(x),
    lambda x, w: x,
)


@pytest.fixture(scope="module")
def tensors():
  """(weights, mix, inputs, cotangent)."""
  keys = iter(jax.random.split(jax.random.key(0), 20))

  def normal(*shape):
    return jax.random.normal(next(keys), shape)

  weights = {
      name: {
          "dw": normal(_NODES, 2, k, k, _C),
          "pw": normal(_NODES, 2, _C, _C),
          "scale": normal(_NODES, 2, _C),
          "offset": normal(_NODES, 2, _C),
      }
      for name, k in (("three", 3), ("five", 5))
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
  states = list(inputs)
  for n in range(_NODES):
    total = 0.0
    for d in range(2):
      w = jax.tree.map(lambda a: a[n, d], weights)  # noqa: B023
      total += _BRANCHES[ops[n, d]](states[sources[n, d]], w)
    states.append(total)
  loose = [j for j in range(_NODES + 2) if j not in sources]
  ends = jnp.concatenate([jax.nn.relu(states[j]) for j in loose], axis=-1)
  return ends @ jnp.concatenate([mix[j] for j in loose])


def _cell(weights, mix, inputs, sources, ops):
  return ops_cell.cell(_BRANCHES, weights, mix, inputs, sources, ops)


def _value_and_grads(run, tensors, sources, ops):
  *args, g = tensors
  y, pull = jax.vjp(lambda *args: run(*args, sources, ops), *args)
  return y, pull(g)


def _assert_close(got, expected):
  chex.assert_trees_all_close(got, expected, atol=2e-4, rtol=2e-4)


def test_searched_and_fixed_cell_are_the_naive_one(tensors):
  searched = jax.jit(
      lambda tensors, *arch: _value_and_grads(_cell, tensors, *arch)
  )
  for arch in _archs(6):
    expected = _value_and_grads(_naive, tensors, *arch)
    _assert_close(searched(tensors, *arch), expected)
    _assert_close(_value_and_grads(_cell, tensors, *arch), expected)


def test_weights_not_chosen_have_exactly_zero_gradient(tensors):
  searched = jax.jit(
      lambda tensors, *arch: _value_and_grads(_cell, tensors, *arch)
  )
  for sources, ops in _archs(4):
    _, (weights, mix, _) = searched(tensors, sources, ops)
    for op, name in enumerate(("three", "five")):
      for leaf in jax.tree.leaves(weights[name]):
        moved = np.abs(leaf).reshape(_NODES, 2, -1).max(-1) > 0
        np.testing.assert_array_equal(moved, ops == op)
    loose = ~np.isin(np.arange(_NODES + 2), sources)
    np.testing.assert_array_equal(np.abs(mix).max((1, 2)) > 0, loose)


def test_thirty_architectures_one_trace(tensors):
  chex.clear_trace_counter()
  searched = jax.jit(chex.assert_max_traces(_cell, n=1))
  weights, mix, inputs, _ = tensors
  for arch in _archs(30):
    searched(weights, mix, inputs, *arch)


def test_in_a_map_over_architectures(tensors):
  weights, mix, inputs, _ = tensors
  archs = list(_archs(4))
  sources, ops = (np.stack(a) for a in zip(*archs))
  many = jax.jit(
      lambda s, o: jax.lax.map(
          lambda arch: _cell(weights, mix, inputs, *arch), (s, o)
      )
  )(sources, ops)
  for y, arch in zip(many, archs, strict=True):
    _assert_close(y, _naive(weights, mix, inputs, *arch))


def test_without_jit(tensors):
  arch = [jnp.asarray(a) for a in list(_archs(3))[-1]]
  with jax.disable_jit():
    got = _value_and_grads(_cell, tensors, *arch)
  numpy_arch = [np.asarray(a) for a in arch]
  _assert_close(got, _value_and_grads(_naive, tensors, *numpy_arch))


def test_fixed_cell_builds_the_chosen_branches_only(tensors):
  def never(x, w):
    raise AssertionError("built")

  weights, mix, inputs, _ = tensors
  branches = (never, never, *_BRANCHES[2:])
  sources, ops = list(_archs(1))[0]
  ops_cell.cell(branches, weights, mix, inputs, sources, ops)


def test_inputs_may_be_a_pair(tensors):
  weights, mix, inputs, _ = tensors
  sources, ops = list(_archs(3))[-1]
  for arch in ((sources, ops), (jnp.asarray(sources), jnp.asarray(ops))):
    y, pull = jax.vjp(
        lambda *pair: _cell(weights, mix, pair, *arch),  # noqa: B023
        *inputs,
    )
    _assert_close(y, _naive(weights, mix, inputs, sources, ops))
    assert len(pull(y)) == 2


def test_bfloat16(tensors):
  weights, mix, inputs, _ = tensors
  half = inputs.astype(jnp.bfloat16)
  arch = list(_archs(3))[-1]
  y, grads = jax.jit(
      lambda x, s, o: jax.value_and_grad(
          lambda x, w, m: _cell(w, m, x, s, o).astype(jnp.float32).sum(),
          (0, 1, 2),
      )(x, weights, mix)
  )(half, *arch)
  assert _cell(weights, mix, half, *map(jnp.asarray, arch)).dtype == half.dtype
  assert jnp.isfinite(y)
  chex.assert_tree_all_finite(grads)
  assert grads[0].dtype == half.dtype
