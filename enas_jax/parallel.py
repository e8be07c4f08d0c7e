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
    step: `search.child_step` but for these three arguments and `average`.
    mesh: of `mesh`.
    split: to train on; its batch is divided evenly.
  """

  def own(state, arrays, row):
    index = lax.axis_index(_AXIS)
    key = jax.random.fold_in(state.key, index)
    average = functools.partial(lax.pmean, axis_name=_AXIS)
    after = step(state._replace(key=key), arrays, row, average=average)
    model_state, record = after.model_state, after.child
    if not split.carried:
      model_state = average(model_state)
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
