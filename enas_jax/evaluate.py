"""The measure of a whole split, weighted by what was counted."""

from collections.abc import Callable
import functools

import jax

from enas_jax import optim
from enas_jax.types import Arch, Record, SearchState, Split, Task


def evaluator(
    task: Task, split: Split, arch: Arch | None = None
) -> Callable[..., Record]:
  """Returns a function (state, arch) -> record of one pass over `split`.

  The pass is in order. It is compiled once, whatever architectures it is given,
  numpy or jax. With a numpy `arch` here, only that one can be measured, by what
  it chose. The arrays of the split are put on the device here, once.

  The model state is threaded from batch to batch, from what the task begins a
  pass with, and dropped at the end.

  Args:
    task: gives the measure.
    split: to run over.
    arch: the only one to measure, or None.
  """
  rows = jax.jit(functools.partial(split.rows, None))()
  shapes = split.shapes()
  arrays = jax.device_put(split.arrays)

  @jax.jit
  def measure(params, model_state, given, arrays, rows):
    chosen = given if arch is None else arch

    def step(model_state, row):
      batch = split.batch(arrays, row, None)
      return task.measure(params, model_state, chosen, batch)

    _, records = jax.lax.scan(step, model_state, rows)
    return jax.tree.map(lambda leaf: leaf.sum(0), records)

  def evaluate(state: SearchState, given: Arch | None = None) -> Record:
    params = optim.measured(state.params, state.opt_state)
    model_state = task.begin(state.model_state, shapes)
    return measure(params, model_state, given, arrays, rows)

  return evaluate


def summarize(record: Record, prefix: str = "") -> dict[str, float]:
  """Returns the values of a record; what counted nothing is left out."""
  return {
      prefix + name: float(value.value())
      for name, value in record.items()
      if float(value.count)
  }
