"""One of several branches, chosen by an index: static or at run time."""

from collections.abc import Callable
import functools

import jax
from jax import lax


def choose(index, branches: tuple[Callable, ...], x, weights):
  """branches[index](x, weights), and only that.

  Args:
    index: an int of Python or numpy, then only that branch is built; or a jax
      i32[], then all are compiled and one runs.
    branches: static; functions (x, weights) -> y, all of one result shape.
    x: any tree.
    weights: any tree; every branch picks what it needs.

  Returns:
    y. The gradient of weights that the branch does not read is exactly zero.
  """
  if isinstance(index, jax.Array):
    return _switch(branches, index, x, weights)
  return branches[index](x, weights)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _switch(branches, index, x, weights):
  return lax.switch(index, branches, x, weights)


def _fwd(branches, index, x, weights):
  return _switch(branches, index, x, weights), (index, x, weights)


def _bwd(branches, residuals, g):
  """Runs the chosen branch again and pulls back through it alone.

  Autodiff of a switch would save what every branch needs and fill the parts of
  those not taken with zeros: more time and memory than one branch twice.
  """
  index, x, weights = residuals

  def pull(branch):
    return lambda x, weights, g: jax.vjp(branch, x, weights)[1](g)

  pulls = [pull(branch) for branch in branches]
  return None, *lax.switch(index, pulls, x, weights, g)


_switch.defvjp(_fwd, _bwd)
