"""The steps of the loop on several devices.

Each device trains a child of its own on its share of the batch, and their
gradients are averaged: the paper's estimate with more than one child a step
(ENAS §2.2). The rewards of a controller step are shared out. The state is the
same on all devices but for a carry that has the batch's rows.
"""

from collections.abc import Callable
import functools

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from enas_jax.types import SearchState, Split

_AXIS = "devices"
_SAME, _SHARED = PartitionSpec(), PartitionSpec(_AXIS)


def mesh(devices) -> Mesh:
  """One axis over `devices`."""
  return Mesh(devices, (_AXIS,))


def place(mesh: Mesh, split: Split, state: SearchState) -> SearchState:
  """The state where the steps expect it."""
  return SearchState(*map(jax.device_put, state, shardings(mesh, split)[0]))


def place_arrays(mesh: Mesh, split: Split, arrays):
  """What a split holds, where the child step expects it."""
  return jax.device_put(arrays, shardings(mesh, split)[1])


def shardings(mesh: Mesh, split: Split):
  """Of the child step's three arguments; one for all leaves of each part."""
  return jax.tree.map(
      functools.partial(NamedSharding, mesh),
      _specs(split),
      is_leaf=lambda node: isinstance(node, PartitionSpec),
  )


def place_everywhere(mesh: Mesh, arrays):
  """All of `arrays` on each device."""
  return jax.device_put(arrays, NamedSharding(mesh, _SAME))


def child_step(step: Callable, mesh: Mesh, split: Split) -> Callable:
  """(state, arrays, row) -> state, of all devices.

  Args:
    step: `search.child_step` but for these three arguments and `unite`.
    mesh: of `mesh`.
    split: to train on; its batch is divided evenly.
  """

  def own(state, arrays, row):
    index = lax.axis_index(_AXIS)
    key = jax.random.fold_in(state.key, index)
    after = step(state._replace(key=key), arrays, row, unite=_united)
    model_state, record = after.model_state, after.child
    if not split.carried:
      model_state = lax.pmean(model_state, _AXIS)
    seen = jax.tree.map(jnp.subtract, record, state.child)
    seen = lax.psum(seen, _AXIS)
    return after._replace(
        key=state.key,
        model_state=model_state,
        child=jax.tree.map(jnp.add, state.child, seen),
        failed=lax.pmax(after.failed, _AXIS),  # NEVER is less than any step
    )

  specs = _specs(split)
  return jax.shard_map(
      own,
      mesh=mesh,
      in_specs=specs,
      out_specs=specs[0],
      check_vma=False,  # the optimiser's result is the same everywhere
  )


def _united(task, params, rows, grads):
  """(rows, the weights in them, mean gradient) of the children of all devices.

  Of D devices and R rows each, D R rows: these go from device to device in
  place of whole tables, which are larger as long as the devices are few. A row
  that several children use has its gradient where it stands first; where it
  stands again, there are zeros in place of weight and gradient, so that an
  optimiser without a memory, which alone moves rows, counts it once and adds
  nothing to it there.
  """
  if not rows:
    return rows, params, lax.pmean(grads, _AXIS)
  gather = functools.partial(lax.all_gather, axis_name=_AXIS)
  every = jax.tree.map(gather, rows)  # [D, R] each
  rows = jax.tree.map(jnp.ravel, every)
  moved = task.take(params, rows)
  mean = lax.pmean({k: g for k, g in grads.items() if k not in rows}, _AXIS)

  def add(total, child):
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
    mean[name], _ = lax.scan(add, total, children)
  return rows, moved, mean


def strategy_step(step: Callable, mesh: Mesh, split: Split) -> Callable:
  """(state, arrays) -> state, of all devices; the rewards are one device's.

  Args:
    step: `search.strategy_step` but for these two arguments and `each`.
    mesh: of `mesh`.
    split: to train on.
  """
  count = mesh.devices.size

  def each(function, inputs):
    total = len(jax.tree.leaves(inputs)[0])
    share = -(-total // count)
    # The last devices may have too few: they begin again at the front.
    turns = (lax.axis_index(_AXIS) * share + jnp.arange(share)) % total
    own = jax.tree.map(lambda leaf: leaf[turns], inputs)
    found = lax.map(function, own)
    return lax.all_gather(found, _AXIS, tiled=True)[:total]

  state = _specs(split)[0]
  return jax.shard_map(
      lambda state, arrays: step(state, arrays, each=each),
      mesh=mesh,
      in_specs=(state, _SAME),
      out_specs=state,
      check_vma=False,
  )


def _specs(split: Split):
  """Of the child step's state, arrays and row."""
  state = SearchState(*[_SAME] * len(SearchState._fields))
  if split.carried:
    return state._replace(model_state=_SHARED), _SHARED, _SAME
  return state, _SAME, _SHARED
