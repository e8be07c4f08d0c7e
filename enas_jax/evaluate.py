"""A whole split, weighted by what was counted."""

from collections.abc import Callable
import functools

import jax

from enas_jax import optim
from enas_jax.types import Arch, Record, SearchState, Split, Task


def evaluator(
    task: Task, split: Split, arch: Arch | None = None
) -> Callable[..., Record]:
  """A function (state, arch) -> record of one pass over `split`, in order.

  It is compiled once, whatever architectures it is given, numpy or jax. With
  a numpy `arch` here, only that one can be measured, by what it chose.

  The model state is threaded from batch to batch, from what the task begins a
  pass with, and dropped at the end.
  """
  rows = jax.jit(functools.partial(split.rows, None))()
  shapes = split.shapes()

  @jax.jit
  def measure(params, model_state, given, arrays, rows):
    chosen = given if arch is None else arch
    used = task.pick(params, chosen)

    def step(model_state, row):
      batch = split.batch(arrays, row, None)
      return task.measure(used, model_state, chosen, batch)

    _, records = jax.lax.scan(step, model_state, rows)
    return jax.tree.map(lambda leaf: leaf.sum(0), records)

  def evaluate(state: SearchState, given: Arch | None = None) -> Record:
    params = optim.measured(state.params, state.opt_state)
    model_state = task.begin(state.model_state, shapes)
    return measure(params, model_state, given, split.arrays, rows)

  return evaluate
