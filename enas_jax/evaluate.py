"""A whole split, weighted by what was counted."""

from collections.abc import Callable
import functools

import jax

from enas_jax import search
from enas_jax.types import Arch, Record, SearchState, Split, Task


def evaluator(
    task: Task, split: Split, arch: Arch | None = None
) -> Callable[..., Record]:
  """A function (state, arch) -> record of one pass over `split`, in order.

  It is compiled once, whatever architectures it is given. With a numpy `arch`
  here, only that one can be measured, by the branches it chose.

  The model state is threaded from batch to batch and dropped at the end.
  """
  rows = jax.device_get(jax.jit(functools.partial(split.rows, None))())

  @jax.jit
  def measure(params, model_state, given, arrays, row):
    batch = split.batch(arrays, row, None)
    chosen = given if arch is None else arch
    return task.measure(params, model_state, chosen, batch)

  def evaluate(state: SearchState, given: Arch | None = None) -> Record:
    model_state, total = state.model_state, None
    for i in range(split.steps):
      row = jax.tree.map(lambda leaf: leaf[i], rows)  # noqa: B023
      model_state, record = measure(
          state.params, model_state, given, split.arrays, row
      )
      total = record if total is None else search.merge(total, record)
    return total

  return evaluate
