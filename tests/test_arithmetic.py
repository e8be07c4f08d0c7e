"""A choice by arithmetic is the choice by a branch, in value and gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from enas_jax.spaces.macro import Macro
from enas_jax.spaces.macro.shared import SharedLayer, SharedMerge
from enas_jax.spaces.micro.shared import SharedCell
from enas_jax.testing import filled

X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 8, 8, 4)), "float32")


def graded(module, *args):
  """arch -> (result, gradients of the weights), of a module and its inputs."""
  shapes = jax.eval_shape(
      lambda key: module.init(key, *args, train=True), jax.random.key(0)
  )
  params = filled(shapes)

  @jax.jit
  def grade(*args):
    def loss(params):
      y = module.apply(params, *args, train=True)
      return (y**3).sum(), y

    (_, y), grads = jax.value_and_grad(loss, has_aux=True)(params)
    return y, grads

  return grade


def assert_alike(one, other):
  (y, grads), (want, wanted) = one, other
  np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-4)
  for got, leaf in zip(*map(jax.tree.leaves, (grads, wanted)), strict=True):
    assert np.linalg.norm(got - leaf) <= 1e-4 * np.linalg.norm(leaf)
    # What was not chosen has a gradient of exactly 0.
    rows = np.asarray(leaf).reshape(len(leaf), -1)
    unread = ~rows.any(1)
    assert not np.asarray(got).reshape(rows.shape)[unread].any()


def test_a_layer_of_macro():
  args = X, jnp.int32(0)
  branch, arithmetic = (
      graded(SharedLayer(Macro().names, arithmetic=arithmetic), *args)
      for arithmetic in (False, True)
  )
  for op in range(len(Macro().names)):
    assert_alike(arithmetic(X, jnp.int32(op)), branch(X, jnp.int32(op)))


def test_a_concatenation_of_macro():
  tensors = (X**2, -X, X + 1)
  merges = (SharedMerge(True, False, how) for how in (False, True))
  args = X, tensors, jnp.zeros(3, jnp.int32)
  branch, arithmetic = (graded(merge, *args) for merge in merges)
  for bits in ([0, 1, 1], [1, 0, 0], [0, 0, 0]):
    args = X, tensors, jnp.array(bits)
    assert_alike(arithmetic(*args), branch(*args))


def test_a_cell_of_micro():
  cell = functools.partial(SharedCell, 4, False, False)
  args = X, X**2, jnp.zeros((3, 4), jnp.int32)
  branch, arithmetic = (graded(cell(how), *args) for how in (False, True))
  for table in (
      [[0, 0, 1, 1], [2, 2, 0, 3], [1, 4, 3, 0]],
      [[1, 3, 0, 4], [0, 1, 2, 1], [0, 0, 0, 2]],
  ):
    args = X, X**2, jnp.array(table)
    assert_alike(arithmetic(*args), branch(*args))


@pytest.mark.parametrize("dtype", ["bfloat16"])
def test_types_are_kept(dtype):
  x = X.astype(dtype)
  table = jnp.zeros((3, 4), jnp.int32)
  for module, args in (
      (SharedLayer(Macro().names, arithmetic=True), (x, jnp.int32(1))),
      (SharedCell(4, False, False, True), (x, x, table)),
  ):
    shapes = jax.eval_shape(
        lambda key, module=module, args=args: module.init_with_output(
            key, *args, train=True
        ),
        jax.random.key(0),
    )
    assert shapes[0].dtype == dtype
