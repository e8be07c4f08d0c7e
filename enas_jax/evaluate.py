"""Measures an arch on a whole split."""

from collections.abc import Callable
import functools
import itertools
import sys
from typing import Any

import jax
import numpy as np

from enas_jax import feeds, optim
from enas_jax.types import Arch, Record, SearchState, Split, Task

_WINDOW = 8  # batches of a stream that are on the device at a time


def evaluator(
    task: Task, split: Split, arch: Arch | None = None
) -> Callable[..., Record]:
  """Returns a function (state, arch) -> record of one pass over `split`.

  The pass visits the batches in order. It is compiled once and serves every
  arch of numpy or jax arrays. The arrays of a split that is held in memory are
  put on the device once, those of a stream a few batches at a time.

  The task begins the pass with a model state, which is passed on from batch to
  batch and dropped at the end.

  Args:
    task: The task, which gives the measure.
    split: The split to measure on.
    arch: The only arch to measure, in numpy arrays, so that only its chosen
      branches are built. None: each call gives the arch.
  """
  order = feeds.Order(feeds.in_order, sys.maxsize, split.steps)
  size = min(_WINDOW, split.steps)
  feed = feeds.feed(split, jax.device_put, order, size)
  rows = _windows(split, feed.size)
  shapes, passes = split.shapes(), itertools.count()

  @jax.jit
  def measure(params, model_state, given, arrays, rows):
    chosen = given if arch is None else arch

    def step(model_state, row):
      batch = split.batch(arrays, row, None)
      return task.measure(params, model_state, chosen, batch)

    return jax.lax.scan(step, model_state, rows)

  @jax.jit
  def total(records):
    return jax.tree.map(lambda leaf: leaf.sum(0), records)

  def evaluate(state: SearchState, given: Arch | None = None) -> Record:
    params = optim.measured(state.params, state.opt_state)
    model_state = task.begin(state.model_state, shapes)
    found, number = [], next(passes)
    for at in range(0, split.steps, feed.size):
      arrays = feed(number, at)
      model_state, records = measure(
          params, model_state, given, arrays, rows[at]
      )
      found.append(records)
    if len(found) > 1:
      found = [_joined(jax.device_get(found), split.steps)]
    return total(found[0])

  return evaluate


def _windows(split: Split, size: int) -> dict[int, Any]:
  """Returns the rows of each window of a pass in order, by its first place.

  The last window repeats the last row, so that all are of one shape.
  """
  rows = jax.jit(functools.partial(split.rows, None))()
  if size == split.steps:
    return {0: rows}
  rows = jax.device_get(rows)

  def window(at):
    places = np.minimum(np.arange(at, at + size), split.steps - 1)
    return jax.tree.map(lambda leaf: leaf[places], rows)

  return jax.device_put(
      {at: window(at) for at in range(0, split.steps, size)}
  )


def _joined(records: list[Record], steps: int) -> Record:
  """Returns the records of all windows as one of `steps` rows."""
  return jax.tree.map(
      lambda *leaves: np.concatenate(leaves)[:steps], *records
  )


def summarize(record: Record, prefix: str = "") -> dict[str, float]:
  """Returns the values of a record, without entries that counted nothing."""
  return {
      prefix + name: float(value.value())
      for name, value in record.items()
      if float(value.count)
  }
