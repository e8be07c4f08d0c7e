"""Tasks of a network whose shared weights lie in tables of rows.

An architecture reads few rows of such a table. The task of such a network is
written for the weights of one architecture; these wrappers make of it a task of
all shared weights. They differ in what the gradient of a child step covers, and
with it the optimiser's L2 penalty and clipping:

  in_use  the rows that the step's child reads, and every parameter that is no
          table. No gradient is made of the other rows, where it could be
          gigabytes of zeros. Only an optimiser without a memory can be used.
  whole   all rows; it is zero where the child reads nothing.
"""

from collections.abc import Callable
import functools
from typing import Any, Protocol, runtime_checkable

import jax
from jax import lax
import jax.numpy as jnp

from enas_jax.errors import ConfigError
from enas_jax.ops import reader
from enas_jax.optim import Optimiser
from enas_jax.types import Arch, Moving, Params, Rows, Task

Reads = Callable[[Arch], Rows]


@runtime_checkable
class Tables(Protocol):
  """A network whose parameters may be tables of rows."""

  def reads(self, arch: Arch) -> Rows:
    """Returns the rows that `arch` reads of each table; no row twice.

    Of the other parameters it reads everything. All archs have the same
    tables; {} says that there are none.
    """


def wrapped(
    task: Task, network: Any, arch: Arch, optimiser: Optimiser
) -> Task:
  """Returns the task of all weights of `network`, as the optimiser wants it.

  Args:
    task: of `network`; where that has tables, of the weights of one arch.
    network: with tables or without; without, the task is returned as it is.
    arch: any of the network's, or the shapes of one.
    optimiser: says whether the gradient is whole.

  Raises:
    ConfigError: the optimiser remembers something of every weight, and is to
      move the rows in use only.
  """
  if not isinstance(network, Tables):
    return task
  tables = jax.eval_shape(network.reads, arch)
  if not tables:
    return task
  if optimiser.whole:
    return whole(task, network.reads)
  row = jax.ShapeDtypeStruct((1,), jnp.float32)
  remembered = jax.eval_shape(optimiser.tx.init, dict.fromkeys(tables, row))
  if jax.tree.leaves(remembered):
    raise ConfigError(
        "whole",
        "must be True here: what this optimiser remembers, as an average of the"
        " weights (average_after, patience), is of all shared weights.",
    )
  return in_use(task, network.reads)


def in_use(task: Task, reads: Reads) -> Task:
  """Returns the task whose child steps move the rows in use only.

  Args:
    task: of the weights of one arch.
    reads: arch -> the rows that it reads of each table.
  """

  def moving(params, arch):
    rows = reads(arch)
    return _moving(take(params, rows), params, rows)

  return _measured(task, reads)._replace(moving=moving)


def whole(task: Task, reads: Reads) -> Task:
  """Returns the task whose child steps move whole tables.

  Arguments as those of `in_use`.
  """

  def loss(params, model_state, arch, *others):
    return task.loss(take(params, reads(arch)), model_state, arch, *others)

  return _measured(task, reads)._replace(loss=loss)


def take(params: Params, rows: Rows) -> Params:
  """Returns the parameters with no more of each table than these rows."""
  return {
      k: reader.take(w, rows[k]) if k in rows else w
      for k, w in params.items()
  }


def add(params: Params, rows: Rows, updates: Params) -> Params:
  """Returns the parameters after what `take` found has been added to."""
  return {
      k: params[k].at[rows[k]].add(u) if k in rows else params[k] + u
      for k, u in updates.items()
  }


def _measured(task: Task, reads: Reads) -> Task:
  """Returns the task whose reward and measure are given whole tables."""

  def reward(params, model_state, arch, *others):
    return task.reward(take(params, reads(arch)), model_state, arch, *others)

  def measure(params, model_state, arch, *others):
    return task.measure(take(params, reads(arch)), model_state, arch, *others)

  return task._replace(reward=reward, measure=measure)


def _moving(moved: Params, params: Params, rows: Rows) -> Moving:
  return Moving(
      moved,
      functools.partial(add, params, rows),
      functools.partial(_shared, params, rows),
  )


def _shared(
    params: Params, rows: Rows, grads: Params, axis: str
) -> tuple[Moving, Params]:
  """Returns the rows of the children of all devices, and their mean gradient.

  Of D devices and R rows each, these are D R rows, which go from device to
  device in place of whole tables: those are larger as long as the devices are
  few. A row that several children use has its gradient where it stands first.
  Where it stands again there are zeros in place of weight and gradient, so that
  an optimiser without a memory counts it once and adds nothing to it there.
  """
  gather = functools.partial(lax.all_gather, axis_name=axis)
  every = jax.tree.map(gather, rows)  # [D, R] each
  rows = jax.tree.map(jnp.ravel, every)
  moved = take(params, rows)
  mean = lax.pmean({k: g for k, g in grads.items() if k not in rows}, axis)

  def total_of(total, child):
    first, share = child
    return total.at[first].add(share, unique_indices=True), None

  for name, taken in rows.items():
    first = jnp.argmax(taken[:, None] == taken, axis=1)
    again = first != jnp.arange(len(first))
    moved[name] = jax.vmap(jnp.where, (0, None, 0))(again, 0.0, moved[name])
    shares = gather(grads[name]) / len(every[name])
    # One device after the other, in the same order on each: all have to come to
    # the same bits, and a GPU adds to equal rows in any order.
    total = jnp.zeros_like(moved[name])
    children = first.reshape(every[name].shape), shares
    mean[name], _ = lax.scan(total_of, total, children)
  return _moving(moved, params, rows), mean
