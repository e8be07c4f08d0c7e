"""Choices at run time: the one module that every searched network chooses by.

An index is an int of Python or numpy, then only what it names is built; or a
jax i32[], then one program serves every value. Four networks choose in four
places of a program, and each place has its function:

  choose  one branch runs, in a switch: the macro layers
  line    one branch runs, and what it made is kept: the edges of NAS-Bench-201
  update  one branch changes a large carry in place: the micro cell's buffers
  value   all are made, one is kept: the activations of the recurrent cell

Each says what it gains over the plain switch of `choose`. All were measured on
two cores of a CPU, as parts of a child's step.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp

from enas_jax.ops import norm


def choose(
    index: jax.Array | int,
    branches: tuple[Callable, ...],
    x: Any,
    weights: Any,
) -> Any:
  """Returns branches[index](x, weights), and runs only that.

  On the way back the chosen branch runs again. To keep all that its gradient
  needs instead took 1.12 times as long in micro, and 2.4 times the memory.

  Args:
    index: as at the top of this file.
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


def _switch_fwd(branches, index, x, weights):
  return _switch(branches, index, x, weights), (index, x, weights)


def _switch_bwd(branches, residuals, g):
  """Runs the chosen branch again and pulls back through it alone.

  Autodiff of a switch would save what every branch needs and fill the parts of
  those not taken with zeros: more time and memory than one branch twice.
  """
  index, x, weights = residuals

  def pull(branch):
    return lambda x, weights, g: jax.vjp(branch, x, weights)[1](g)

  pulls = [pull(branch) for branch in branches]
  return None, *lax.switch(index, pulls, x, weights, g)


_switch.defvjp(_switch_fwd, _switch_bwd)


class Branch(NamedTuple):
  """A branch of `line` on x[B, H, W, C]."""

  # (x, weights) -> the result, [B, H, W, C]
  whole: Callable
  # (x, weights) -> (y, slope, shift): y * slope + shift is the result, with
  # slope and shift f32[C]
  forward: Callable
  # (x, weights, y, cotangent of the result) -> cotangents of x and weights
  backward: Callable


def line(
    index: jax.Array | int,
    branches: tuple[Branch, ...],
    x: jax.Array,
    weights: Any,
) -> jax.Array:
  """Returns branches[index].whole(x, weights), and runs only that.

  A branch returns a convolution's result and the line of its batch norm. The
  line is applied outside of the switch, where XLA makes it one loop with what
  follows, and the convolution's result is kept for the way back. Before, the
  cell of NAS-Bench-201 had a buffer of nodes and one of kept convolutions: its
  step took 1.33 to 1.45 times as long as a fixed cell's, and takes 1.10 to 1.12
  times as long by this, 0.88 of the time before. By `update`, in place, it took
  1.08 times as long as by this.

  Args:
    index: as at the top of this file.
    branches: static.
    x: [B, H, W, C].
    weights: any tree; every branch picks what it needs.

  Returns:
    [B, H, W, C].
  """
  if isinstance(index, jax.Array):
    return _line(branches, index, x, weights)
  return branches[index].whole(x, weights)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _line(branches, index, x, weights):
  return _line_fwd(branches, index, x, weights)[0]


def _line_fwd(branches, index, x, weights):
  forward = [branch.forward for branch in branches]
  y, slope, shift = lax.switch(index, forward, x, weights)
  return norm.along(y, slope, shift), (index, x, weights, y)


def _line_bwd(branches, residuals, g):
  """Pulls back through the chosen branch, given what it made."""
  index, x, weights, y = residuals
  backward = [branch.backward for branch in branches]
  return None, *lax.switch(index, backward, x, weights, y, g)


_line.defvjp(_line_fwd, _line_bwd)


def update(
    index: jax.Array, branches: Sequence[Any], run: Callable, carry: Any
) -> Any:
  """Returns run(branches[index], 0, carry), which changes `carry` in place.

  This is a loop for each branch, of one turn or none. XLA updates what a loop
  carries in place, where what goes through a switch is copied as a whole (seen
  on the CPU, and in the memory that the TPU's compiler asks for). With a
  switch in its place micro took 1.03 times as long a step, and 3.1 times as
  long to compile.

  On a GPU it is a switch: the card asks its host before each loop whether to
  run it, and once before a switch, which costs more than the copies (timed in
  NAS-Bench-201 when its cell was made so, not in micro). The two are told apart
  by JAX's default backend as the program is traced, since to trace a cell both
  ways takes twice as long; each is right everywhere.

  Args:
    index: i32[] of jax.
    branches: what `run` takes first, one for each index.
    run: (branch, turn, carry) -> carry; not differentiated. `turn` is always 0:
      what depends on it stays within the loop.
    carry: any tree.
  """
  if jax.default_backend() == "gpu":
    runs = [functools.partial(run, branch, 0) for branch in branches]
    return lax.switch(index, runs, carry)
  for n, branch in enumerate(branches):
    body = functools.partial(run, branch)
    carry = lax.fori_loop(0, (index == n).astype(jnp.int32), body, carry)
  return carry


def value(index: jax.Array | int, values: Sequence[jax.Array]) -> jax.Array:
  """Returns values[index]; where the index is data, all were made before.

  This is for what costs less to make than to choose. At a branch a GPU halts
  to ask its host, and a buffer of choices would be copied: selects in place of
  a buffer and branches, and weights taken apart outside of the loop, brought a
  recurrent child's step from 468 to 391 ms at 256 units, and from 3,486 to
  2,442 ms at 1,000.

  Args:
    index: as at the top of this file.
    values: arrays of one shape and type.
  """
  if isinstance(index, jax.Array):
    return lax.select_n(index, *values)
  return values[index]
