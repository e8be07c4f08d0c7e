"""Measures an arch on a whole split."""

from collections.abc import Callable
import functools

import jax

from enas_jax import optim
from enas_jax.types import Arch, Record, SearchState, Split, Task


def evaluator(
    task: Task, split: Split, arch: Arch | None = None
) -> Callable[..., Record]:
  """Returns a function (state, arch) -> record of one pass over `split`.

  The pass visits the batches in order. It is compiled once and serves every
  arch of numpy or jax arrays. The arrays of the split are put on the device
  once, when the evaluator is made.

  The task begins the pass with a model state, which is passed on from batch to
  batch and dropped at the end.

  Args:
    task: The task, which gives the measure.
    split: The split to measure on.
    arch: The only arch to measure, in numpy arrays, so that only its chosen
      branches are built. None: each call gives the arch.
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
  """Returns the values of a record, without entries that counted nothing."""
  return {
      prefix + name: float(value.value())
      for name, value in record.items()
      if float(value.count)
  }
