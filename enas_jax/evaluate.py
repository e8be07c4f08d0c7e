"""A whole split, weighted by what was counted."""

from collections.abc import Callable
import functools

import jax

from enas_jax import optim, search
from enas_jax.types import Arch, Record, SearchState, Split, Task


def evaluator(
    task: Task, split: Split, arch: Arch | None = None
) -> Callable[..., Record]:
  """A function (state, arch) -> record of one pass over `split`, in order.

  It is compiled once, whatever architectures it is given. With a numpy `arch`
  here, only that one can be measured, by the branches it chose.

  The model state is threaded from batch to batch, from what the task begins a
  pass with, and dropped at the end.
  """
  rows = jax.device_get(jax.jit(functools.partial(split.rows, None))())

  @jax.jit
  def measure(params, model_state, given, arrays, row):
    batch = split.batch(arrays, row, None)
    chosen = given if arch is None else arch
    used = task.pick(params, chosen)
    return task.measure(used, model_state, chosen, batch)

  first = jax.tree.map(lambda leaf: leaf[0], rows)
  shapes = jax.eval_shape(lambda: split.batch(split.arrays, first, None))

  def evaluate(state: SearchState, given: Arch | None = None) -> Record:
    model_state, total = task.begin(state.model_state, shapes), None
    params = optim.measured(state.params, state.opt_state)
    for i in range(split.steps):
      row = jax.tree.map(lambda leaf: leaf[i], rows)  # noqa: B023
      model_state, record = measure(
          params, model_state, given, split.arrays, row
      )
      total = record if total is None else search.merge(total, record)
    return total

  return evaluate
