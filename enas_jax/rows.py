"""Makes tasks of networks whose shared weights lie in tables of rows.

An arch reads few rows of such a table. The task of such a network is written
for the weights of one arch, and two wrappers turn it into a task of all shared
weights. The wrappers differ in the weights that the gradient of a child step
covers, and that the optimiser's L2 penalty and clipping cover with it:

  in_use  covers the rows that the step's child reads, and every parameter that
          is no table. The other rows have no gradient, which could be gigabytes
          of zeros. The optimiser must keep no state for each weight.
  whole   covers all rows; the gradient is zero in rows that the child does not
          read.
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
    """Returns the rows that `arch` reads of each table, none of them twice.

    A parameter without an entry is no table and is read as a whole. All archs
    have the same tables; {} says that there are none.
    """


def wrapped(
    task: Task, network: Any, arch: Arch, optimiser: Optimiser
) -> Task:
  """Returns the task of all weights of `network`, wrapped for the optimiser.

  Args:
    task: The task of `network`. Where the network has tables, it is a task of
      the weights of one arch.
    network: The network; where it has no tables, the task is returned as it is.
    arch: Any arch of the network, or the shapes of one.
    optimiser: The optimiser, which says whether the gradient is whole.

  Raises:
    ConfigError: The optimiser keeps a state for each weight, but is to move
      only the rows in use.
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
  """Returns the task whose child steps move only the rows in use.

  Args:
    task: The task of the weights of one arch.
    reads: Arch -> the rows that it reads of each table.
  """

  def moving(params, arch):
    rows = reads(arch)
    return _moving(take(params, rows), params, rows)

  return _measured(task, reads)._replace(moving=moving)


def whole(task: Task, reads: Reads) -> Task:
  """Returns the task whose child steps move whole tables.

  The arguments are those of `in_use`.
  """

  def loss(params, model_state, arch, *others):
    return task.loss(take(params, reads(arch)), model_state, arch, *others)

  return _measured(task, reads)._replace(loss=loss)


def take(params: Params, rows: Rows) -> Params:
  """Returns the parameters with each table cut down to `rows`."""
  return {
      k: reader.take(w, rows[k]) if k in rows else w
      for k, w in params.items()
  }


def add(params: Params, rows: Rows, updates: Params) -> Params:
  """Returns `params` plus `updates`, which are cut down as by `take`."""
  return {
      k: params[k].at[rows[k]].add(u) if k in rows else params[k] + u
      for k, u in updates.items()
  }


def _measured(task: Task, reads: Reads) -> Task:
  """Returns the task whose reward and measure take whole tables."""

  def reward(params, model_state, arch, *others):
    return task.reward(take(params, reads(arch)), model_state, arch, *others)

  def measure(params, model_state, arch, *others):
    return task.measure(take(params, reads(arch)), model_state, arch, *others)

  return task._replace(reward=reward, measure=measure)


def _moving(moved: Params, params: Params, rows: Rows) -> Moving:
  """Returns the weights `moved`, which are `rows` of the tables of `params`."""
  return Moving(
      moved,
      functools.partial(add, params, rows),
      functools.partial(_shared, params, rows),
  )


def _shared(
    params: Params, rows: Rows, grads: Params, axis: str
) -> tuple[Moving, Params]:
  """Returns the rows of the children of all devices, and their mean gradient.

  D devices with R rows each give D R rows. These go from device to device in
  place of whole tables, which are larger as long as the devices are few. A row
  that several children read has its gradient where it stands first. Where it
  stands again, its weight and its gradient are zero, so that an optimiser
  without a state for each weight counts it once and adds nothing to it there.
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
    # Every device adds the shares in the same order, one device after the
    # other, so that all get the same bits; a GPU that adds to one row several
    # times at once does so in any order.
    total = jnp.zeros_like(moved[name])
    children = first.reshape(every[name].shape), shares
    mean[name], _ = lax.scan(total_of, total, children)
  return _moving(moved, params, rows), mean
