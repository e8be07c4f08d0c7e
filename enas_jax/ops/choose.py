"""Makes choices at run time for every searched network.

An index may be an int of Python or numpy; then only the branch that it names is
built. Or it is a jax i32[]; then one program serves every value. Four networks
choose in four places of a program, and each place has a function, and so have
networks of a user's own:

  choose  runs one branch in a switch, for the macro layers
  keep    runs one branch and keeps its products, for `spaces.choices`
  line    runs one branch and keeps its result, for the edges of NAS-Bench-201
  update  runs one branch that changes a large carry in place, for the buffers
          of the micro cell
  value   makes all results and takes one, for the activations of the recurrent
          cell

A branch costs a GPU a question to its host. Where a space has `arithmetic`,
`update` is given one function of all operations (`Together`) in place of the
branches, and the layers of macro and the cell of NAS-Bench-201 assemble one
kernel in which the operations that were not chosen are 0.

Each docstring says what the function gains over the plain switch of `choose`.
All numbers were measured on two cores of a CPU, as parts of a child step.
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
  """Returns branches[index](x, weights), and runs only that branch.

  The backward pass runs the chosen branch again. To keep all that its gradient
  needs instead took 1.12 times as long in micro, and 2.4 times the memory.

  Args:
    index: An int or a jax i32[], as the top of this file says.
    branches: Functions (x, weights) -> y, all with one result shape; static.
    x: Any tree.
    weights: Any tree; every branch picks the weights that it needs.

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

  Autodiff of a switch would save the residuals of every branch and fill those
  of the other branches with zeros, which takes more time and memory than to run
  one branch twice.
  """
  index, x, weights = residuals

  def pull(branch):
    return lambda x, weights, g: jax.vjp(branch, x, weights)[1](g)

  pulls = [pull(branch) for branch in branches]
  return None, *lax.switch(index, pulls, x, weights, g)


_switch.defvjp(_switch_fwd, _switch_bwd)


PRODUCT = "product"  # the name of a result that `keep` keeps


def keep(
    index: jax.Array | int,
    branches: tuple[Callable, ...],
    x: Any,
    weights: Any,
) -> Any:
  """Returns what `choose` does, and keeps products for the backward pass.

  The results of matrix products and convolutions are kept, and of what is named
  PRODUCT by `jax.ad_checkpoint.checkpoint_name`. All else is run again, which
  is cheap beside them. What a branch keeps goes through the switch in slots,
  which branches share where shape and type agree; the others fill them with
  zeros.

  The arguments are those of `choose`.
  """
  if isinstance(index, jax.Array):
    return _keep(branches, index, x, weights)
  return branches[index](x, weights)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _keep(branches, index, x, weights):
  return lax.switch(index, branches, x, weights)


def _is_product(primitive, *_, **params):
  if primitive.name == "name":
    return params["name"] == PRODUCT
  return primitive.name in ("dot_general", "conv_general_dilated")


class _Pull(NamedTuple):
  """What a branch keeps for its backward pass, without the arrays."""

  tree: Any  # of the pull-back
  given: tuple[int | None, ...]  # the input that each leaf is; None: it is kept
  slots: tuple[int, ...]  # the slots of the leaves that are kept


def _pulled(branch, x, weights):
  """Returns (y, the tree of the pull-back, inputs of its leaves, the kept)."""
  alone = jax.checkpoint(branch, policy=_is_product, prevent_cse=False)
  y, pull = jax.vjp(alone, x, weights)
  leaves, tree = jax.tree.flatten(pull)
  inputs = jax.tree.leaves((x, weights))
  given = tuple(
      next((n for n, each in enumerate(inputs) if each is leaf), None)
      for leaf in leaves
  )
  kept = [leaf for leaf, n in zip(leaves, given, strict=True) if n is None]
  return y, tree, given, kept


def _shared_slots(branches, x, weights):
  """Returns the `_Pull` of each branch, and the shapes of all slots."""
  pulls, shapes = [], []
  for branch in branches:
    found = []

    def note(x, weights, branch=branch, found=found):
      _, tree, given, kept = _pulled(branch, x, weights)
      found.append((tree, given))
      return kept

    kept = jax.eval_shape(note, x, weights)
    free, slots = list(range(len(shapes))), []
    for leaf in kept:
      wanted = leaf.shape, leaf.dtype
      slot = next((n for n in free if shapes[n] == wanted), None)
      if slot is None:
        slot = len(shapes)
        shapes.append(wanted)
      else:
        free.remove(slot)
      slots.append(slot)
    pulls.append(_Pull(*found[0], tuple(slots)))
  return tuple(pulls), shapes


def _keep_fwd(branches, index, x, weights):
  pulls, shapes = _shared_slots(branches, x, weights)

  def forward(branch, pull):
    def run(x, weights):
      y, _, _, kept = _pulled(branch, x, weights)
      filled = [jnp.zeros(*each) for each in shapes]
      for slot, leaf in zip(pull.slots, kept, strict=True):
        filled[slot] = leaf
      return y, filled

    return run

  runs = [
      forward(branch, pull)
      for branch, pull in zip(branches, pulls, strict=True)
  ]
  y, slots = lax.switch(index, runs, x, weights)
  return y, (index, x, weights, slots, _Static(pulls))


@jax.tree_util.register_static
class _Static(tuple):
  """A residual that is no array."""


def _keep_bwd(branches, residuals, g):
  """Pulls back through the chosen branch, given its products."""
  del branches
  index, x, weights, slots, pulls = residuals

  def backward(pull):
    def run(x, weights, slots, g):
      inputs, kept = jax.tree.leaves((x, weights)), iter(pull.slots)
      leaves = [
          slots[next(kept)] if n is None else inputs[n] for n in pull.given
      ]
      return jax.tree.unflatten(pull.tree, leaves)(g)

    return run

  return None, *lax.switch(
      index, [backward(pull) for pull in pulls], x, weights, slots, g
  )


_keep.defvjp(_keep_fwd, _keep_bwd)


class Branch(NamedTuple):
  """A branch of `line`, on x[B, H, W, C]."""

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
  """Returns branches[index].whole(x, weights), and runs only that branch.

  A branch returns the result of a convolution and the line of its batch norm.
  The line is applied outside of the switch, where XLA fuses it with the
  operations that follow, and the result of the convolution is kept for the
  backward pass. A step of the NAS-Bench-201 cell takes 1.10 to 1.12 times as
  long by this as a step of a fixed cell. With a buffer of nodes and one of kept
  convolutions, as before, it took 1.33 to 1.45 times as long; this takes 0.88
  of that time. By `update`, in place, it took 1.08 times as long as by this.

  Args:
    index: An int or a jax i32[], as the top of this file says.
    branches: The branches; static.
    x: [B, H, W, C].
    weights: Any tree; every branch picks the weights that it needs.

  Returns:
    The result, [B, H, W, C].
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
  """Pulls back through the chosen branch, given its result."""
  index, x, weights, y = residuals
  backward = [branch.backward for branch in branches]
  return None, *lax.switch(index, backward, x, weights, y, g)


_line.defvjp(_line_fwd, _line_bwd)


class Together(NamedTuple):
  """All branches of a choice in one function, for use without a branch."""

  call: Callable  # (i32[], x, weights) -> y


def update(
    index: jax.Array,
    branches: Sequence[Any] | Together,
    run: Callable,
    carry: Any,
) -> Any:
  """Returns run(branches[index], 0, carry), which changes `carry` in place.

  It is made of one loop for each branch, which takes one turn or none. XLA
  updates the carry of a loop in place, but copies all that goes through a
  switch (seen on the CPU, and in the memory that the TPU's compiler asks for).
  With a switch in place of the loops, a step of micro took 1.03 times as long,
  and compiling took 3.1 times as long.

  On a GPU it is a switch. The GPU asks its host before each loop whether to run
  it, but only once before a switch, and the questions cost more than the copies
  (timed in NAS-Bench-201 when its cell was made so, not in micro). The default
  backend of JAX decides between the two while the program is traced, since
  tracing a cell both ways takes twice as long. Either way is right everywhere.

  Args:
    index: i32[] of jax.
    branches: The first argument of `run` for each index; or all of them
      together, which `run` is then given with the index.
    run: (branch, turn, carry) -> carry; it is not differentiated. `turn` is
      always 0; the compiler keeps all that depends on it within the loop.
    carry: Any tree.
  """
  if isinstance(branches, Together):
    return run(functools.partial(branches.call, index), 0, carry)
  if jax.default_backend() == "gpu":
    runs = [functools.partial(run, branch, 0) for branch in branches]
    return lax.switch(index, runs, carry)
  for n, branch in enumerate(branches):
    body = functools.partial(run, branch)
    carry = lax.fori_loop(0, (index == n).astype(jnp.int32), body, carry)
  return carry


def value(index: jax.Array | int, values: Sequence[jax.Array]) -> jax.Array:
  """Returns values[index], where all values have been computed.

  This serves values that cost less to compute than to choose. At a branch a GPU
  halts to ask its host, and a buffer of choices would be copied. Selects in
  place of a buffer and branches, together with weights that are taken apart
  outside of the loop, brought the step of a recurrent child from 468 to 391 ms
  at 256 units, and from 3,486 to 2,442 ms at 1,000.

  Args:
    index: An int or a jax i32[], as the top of this file says.
    values: Arrays of one shape and type.
  """
  if isinstance(index, jax.Array):
    return lax.select_n(index, *values)
  return values[index]
