"""The searched recurrent cell, against plain numpy."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from enas_jax.ops import recurrent
from enas_jax.spaces.recurrent import OPERATIONS


def sigmoid(z):
  return 1 / (1 + np.exp(-z))


PLAIN = {
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "sigmoid": sigmoid,
    "identity": lambda z: z,
}


def by_hand(x, state, mask, first, nodes, sources, ops, mix):
  """The cell in float64, one position and node after the other."""
  outputs = []
  for at in x:
    values = []
    for n, op in enumerate(ops):
      before = values[sources[n - 1]] if n else state
      read, weight = mask * before, nodes[n - 1] if n else first
      if n == 0:
        read = np.concatenate([at, read], -1)
      h, t = np.split(read @ weight, 2, -1)
      value = PLAIN[OPERATIONS[op]](h)
      values.append(before + sigmoid(t) * (value - before))
    state = sum(share * value for share, value in zip(mix, values, strict=True))
    outputs.append(state)
  return np.stack(outputs)


def segment(seed=0, positions=4, rows=3, hidden=5, nodes=5):
  rng = np.random.default_rng(seed)
  draw = lambda *shape: rng.normal(size=shape)
  return [
      draw(positions, rows, hidden),
      draw(rows, hidden),
      2.0 * rng.integers(0, 2, (rows, hidden)),
      draw(2 * hidden, 2 * hidden),
      draw(nodes - 1, hidden, 2 * hidden),
  ]


CELLS = [
    ([0, 0, 2, 1], [0, 1, 2, 3, 0], [0, 0.25, 0.25, 0.25, 0.25]),
    ([0, 1, 2, 3], [1, 3, 0, 2, 1], [0, 0, 0, 0, 1]),
    ([0, 0, 0, 0], [3, 2, 1, 0, 2], [0.5, 0, 0, 0, 0.5]),
    ([0], [1, 2], [0.25, 0.75]),
]


@pytest.fixture(scope="module")
def cell():
  """(arguments, arch, mix) -> (outputs, gradients of a sum)."""

  @jax.jit
  def run(x, state, mask, first, nodes, sources, ops, mix, weight):
    def total(x, state, first, nodes):
      out = recurrent.run(x, state, mask, first, nodes, sources, ops, mix)
      return (out * weight).sum(), out

    grad = jax.value_and_grad(total, argnums=(0, 1, 2, 3), has_aux=True)
    (_, out), grads = grad(x, state, first, nodes)
    return out, grads

  return run


@pytest.mark.parametrize("sources, ops, mix", CELLS)
def test_the_cell_is_that_of_plain_numpy(cell, sources, ops, mix):
  arguments = segment(nodes=len(ops))
  arch = np.array(sources, np.int32), np.array(ops, np.int32), np.array(mix)
  expected = by_hand(*arguments, *arch)
  weight = np.random.default_rng(1).normal(size=expected.shape)
  out, grads = cell(*arguments, *arch, weight)
  np.testing.assert_allclose(out, expected, atol=1e-5)

  # The gradient by differences, along a few directions of each argument.
  rng = np.random.default_rng(2)
  places = (0, 1, 3, 4)  # x, state, first, nodes
  for place, grad in zip(places, grads, strict=True):
    for _ in range(3):
      way = rng.normal(size=arguments[place].shape)
      ends = []
      for step in (1e-5, -1e-5):
        moved = list(arguments)
        moved[place] = moved[place] + step * way
        ends.append((by_hand(*moved, *arch) * weight).sum())
      slope = (ends[0] - ends[1]) / 2e-5
      np.testing.assert_allclose((grad * way).sum(), slope, rtol=2e-3)


def test_a_fixed_cell_is_the_searched_one(cell):
  arguments = [jnp.asarray(a, jnp.float32) for a in segment()]
  sources, ops, mix = (np.array(part) for part in CELLS[0])
  weight = jnp.ones((4, 3, 5))
  searched = cell(*arguments, sources, ops, mix, weight)
  arguments, mask = arguments[:2] + arguments[3:], arguments[2]

  def total(x, state, first, nodes):
    out = recurrent.run(
        x, state, mask, first, nodes, sources, ops, jnp.asarray(mix)
    )
    return out.sum(), out

  grad = jax.jit(jax.value_and_grad(total, argnums=(0, 1, 2, 3), has_aux=True))
  (_, out), grads = grad(*arguments)
  chex.assert_trees_all_close((out, grads), searched, atol=1e-4)


def test_a_position_has_no_branch_and_copies_no_weight():
  arch = np.array([0, 0], np.int32), np.array([0, 1, 2], np.int32), np.ones(3)

  def total(first, nodes, x, state, mask, *arch):
    return recurrent.run(x, state, mask, first, nodes, *arch).sum()

  x, state, mask, first, nodes = segment(nodes=3, rows=1)
  program = jax.make_jaxpr(jax.grad(total, (0, 1)))(
      first, nodes, x, state, mask, *arch
  )
  assert "cond[" not in str(program)
  loops = [e for e in program.eqns if e.primitive.name == "scan"]
  assert len(loops) == 2  # one each way
  for loop in loops:
    for made in loop.params["jaxpr"].eqns:
      assert all(out.aval.size < x.shape[-1] ** 2 for out in made.outvars)
