"""Runs the steps of the loop on several devices, of one host or of several.

Each device trains a child of its own on its share of the batch, and the
gradients of the children are averaged: the paper's estimate with more than one
child a step (ENAS §2.2). The rewards of a strategy step are divided among the
devices. The state is the same on all devices, except for a carry with one row
for each row of the batch.
"""

from collections.abc import Callable, Sequence
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np

from enas_jax.types import SearchState, Split

_AXIS = "devices"
_SAME, _SHARED = PartitionSpec(), PartitionSpec(_AXIS)


def mesh(devices: Sequence[jax.Device]) -> Mesh:
  """Returns the mesh of one axis over `devices`."""
  return Mesh(devices, (_AXIS,))


def place(mesh: Mesh, split: Split, state: SearchState) -> SearchState:
  """Puts the state on the devices as the steps expect it."""
  return SearchState(*map(_put, state, shardings(mesh, split)[0]))


def places(mesh: Mesh) -> tuple[int, ...]:
  """Returns the places in the mesh of the devices of this process."""
  here = jax.process_index()
  devices = enumerate(mesh.devices.flat)
  return tuple(n for n, each in devices if each.process_index == here)


def place_arrays(mesh: Mesh, split: Split, arrays: Any) -> Any:
  """Puts what a feed gives on the devices as the child step expects.

  Args:
    mesh: The mesh from `mesh`.
    split: The training split.
    arrays: Those of a split in memory; or of a stream, whose window
      [batches, rows, ...] has those parts of a batch that `places` says, of as
      many equal ones as there are devices.
  """
  sharding = shardings(mesh, split)[1]
  if split.stream is None:
    return _put(arrays, sharding)
  here = places(mesh)

  def put(window):
    size, rows, *shape = window.shape
    each = rows // len(here)

    def part(index):
      first = here.index(index[1].start // each) * each
      return window[:, first : first + each]

    total = each * mesh.devices.size
    return jax.make_array_from_callback((size, total, *shape), sharding, part)

  return jax.tree.map(put, arrays)


def shardings(mesh: Mesh, split: Split) -> tuple[Any, Any, Any]:
  """Returns the shardings of the child step's state, arrays and row.

  Each of the three has one sharding for all its leaves, and each field of the
  state has its own.
  """
  return jax.tree.map(
      functools.partial(NamedSharding, mesh),
      _specs(split),
      is_leaf=lambda node: isinstance(node, PartitionSpec),
  )


def place_everywhere(mesh: Mesh, arrays: Any) -> Any:
  """Puts a copy of all `arrays` on each device."""
  return _put(arrays, NamedSharding(mesh, _SAME))


def _put(tree: Any, sharding: NamedSharding) -> Any:
  """Puts on the devices of this process what they have of a tree of arrays."""

  def put(leaf):
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      return jax.random.wrap_key_data(put(jax.random.key_data(leaf)))
    whole = np.asarray(leaf)
    return jax.make_array_from_callback(
        whole.shape, sharding, whole.__getitem__
    )

  return jax.tree.map(put, tree)


def child_step(step: Callable, mesh: Mesh, split: Split) -> Callable:
  """Returns the step of all devices: (state, arrays, row) -> state.

  Args:
    step: `steps.child_step` with all other arguments but `axis` given.
    mesh: The mesh from `mesh`.
    split: The training split; its batch is divided evenly.
  """

  def own(state, arrays, row):
    index = lax.axis_index(_AXIS)
    key = jax.random.fold_in(state.key, index)
    after = step(state._replace(key=key), arrays, row, axis=_AXIS)
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


def strategy_step(
    step: Callable, mesh: Mesh, split: Split, each: Callable = lax.map
) -> Callable:
  """Returns the step of all devices: (state, arrays) -> state.

  It divides the M archs among the devices and finds the same rewards as one
  device would.

  Args:
    step: `steps.strategy_step` with all other arguments given.
    mesh: The mesh from `mesh`.
    split: The training split.
    each: The argument of `steps.strategy_step`, on the share of a device.
  """
  count = mesh.devices.size

  def divided(function, inputs):
    total = len(jax.tree.leaves(inputs)[0])
    share = -(-total // count)
    # Where M is no multiple of the devices, the last ones repeat the first
    # inputs.
    turns = (lax.axis_index(_AXIS) * share + jnp.arange(share)) % total
    own = jax.tree.map(lambda leaf: leaf[turns], inputs)
    found = each(function, own)
    return lax.all_gather(found, _AXIS, tiled=True)[:total]

  state = _specs(split)[0]
  return jax.shard_map(
      lambda state, arrays: step(state, arrays, each=divided),
      mesh=mesh,
      in_specs=(state, _SAME),
      out_specs=state,
      check_vma=False,
  )


def _specs(split: Split) -> tuple[SearchState, PartitionSpec, PartitionSpec]:
  """Returns the specs of the child step's state, arrays and row."""
  state = SearchState(*[_SAME] * len(SearchState._fields))
  window = PartitionSpec(None, _AXIS)  # the batches of a stream, divided each
  if split.carried:
    arrays = window if split.stream else _SHARED
    return state._replace(model_state=_SHARED), arrays, _SAME
  return state, window if split.stream else _SAME, _SHARED
