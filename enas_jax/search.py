"""The body of the loop: pure functions that know protocols only.

ENAS §2.2: a child step moves the shared weights with the policy frozen, a
strategy step moves the policy with the shared weights frozen. Retraining is
the same loop under a strategy that never changes its mind.
"""

from collections.abc import Callable
import operator
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax

from enas_jax.types import (
    Arch,
    Key,
    Mean,
    NEVER,
    Record,
    SearchState,
    Split,
    Strategy,
    Task,
)


def init(
    key: Key,
    *,
    task: Task,
    strategy: Strategy,
    tx: optax.GradientTransformation,
    train: Split,
    arch: Arch | None = None,
) -> SearchState:
  """Returns the state before the first step. The key is consumed; not for jit.

  Args:
    key: consumed.
    task: gives the parameters.
    strategy: gives its own state.
    tx: the child's optimiser.
    train: its first batch shows the shapes; no array is read.
    arch: what a fixed strategy asks for, since its network depends on it.
  """
  key, params_key, strategy_key, ask_key = jax.random.split(key, 4)
  asked = strategy.init(strategy_key)
  if arch is None:
    arch = jax.eval_shape(strategy.ask, asked, ask_key)

  batch = train.shapes()
  params, model_state = task.init(params_key, batch, arch)

  # Records keep one structure from the start, or the steps compile twice.
  def child(batch):
    arch = strategy.ask(asked, ask_key)
    moving = task.moving(params, arch)
    return task.loss(
        moving.params, model_state, arch, batch, ask_key, 0.0
    )[1][1]

  def controller():
    archs = propose(strategy, asked, ask_key, 1)
    return _as_record(strategy.tell(asked, archs, jnp.zeros(1))[1])

  return SearchState(
      step=jnp.zeros((), jnp.int32),
      params=params,
      model_state=model_state,
      opt_state=jax.jit(tx.init)(params),
      strategy=asked,
      child=_nothing(jax.eval_shape(child, batch)),
      controller=_nothing(jax.eval_shape(controller)),
      failed=jnp.asarray(NEVER, jnp.int32),
      key=key,
  )


def child_step(
    state: SearchState,
    arrays: Any,
    row: Any,
    *,
    task: Task,
    strategy: Strategy,
    tx: optax.GradientTransformation,
    train: Split,
    progress: Callable[[jax.Array], Any],
    axis: str | None = None,
) -> SearchState:
  """Moves the shared weights by one optimiser step on one fresh architecture.

  Args:
    state: is given up.
    arrays: `train.arrays`; an argument, so that they are not constants.
    row: one row of the epoch's plan.
    task: gives the loss, and says which weights move.
    strategy: proposes the architecture.
    tx: the child's optimiser.
    train: the training split.
    progress: step i32[] -> fraction of the child steps done after this one.
    axis: the mesh axis of several devices, where each trains a child of its
      own; the weights move by the mean of their gradients.
  """
  key = jax.random.fold_in(state.key, state.step)
  ask_key, augment_key, loss_key = jax.random.split(key, 3)
  arch = strategy.ask(state.strategy, ask_key)
  batch = train.batch(arrays, row, augment_key)
  moving = task.moving(state.params, arch)

  def loss_of(moved):
    done = progress(state.step)
    loss, others = task.loss(
        moved, state.model_state, arch, batch, loss_key, done
    )
    chex.assert_shape(loss, ())
    chex.assert_type(loss, jnp.float32)
    return loss, others

  (loss, (model_state, record)), grads = jax.value_and_grad(
      loss_of, has_aux=True
  )(moving.params)
  if axis is not None:
    moving, grads = moving.shared(grads, axis)
  # An optimiser may look at the batch: a short segment moves the weights less.
  tx = optax.with_extra_args_support(tx)
  updates, opt_state = tx.update(
      grads, state.opt_state, moving.params, batch=batch
  )
  return state._replace(
      step=state.step + 1,
      params=moving.add(updates),
      model_state=model_state,
      opt_state=opt_state,
      child=merge(state.child, record),
      failed=_failed(state, (loss, updates)),
  )


def strategy_step(
    state: SearchState,
    arrays: Any,
    *,
    task: Task,
    strategy: Strategy,
    valid: Split,
    archs: int,
    same_batch: bool = False,
    each: Callable = jax.lax.map,
) -> SearchState:
  """Rewards M architectures on validation batches and tells the strategy.

  Args:
    state: is given up.
    arrays: `valid.arrays`.
    task: gives the reward.
    strategy: proposes, and is told all rewards at once.
    valid: the validation split.
    archs: M.
    same_batch: all are rewarded on one batch, so that an easy one is no merit
      of who gets it; off, as in the reference, each on one of its own, but
      where there are fewer batches than architectures some share one.
    each: (function, inputs) -> its results, of M inputs one by one. Not vmap:
      that would turn the run-time branch into all branches.
  """
  key = jax.random.fold_in(state.key, state.step)
  ask_key, rows_key, reward_key = jax.random.split(key, 3)
  asked = propose(strategy, state.strategy, ask_key, archs)
  chex.assert_tree_shape_prefix(asked, (archs,))
  plan = valid.rows(rows_key)
  turns = jnp.arange(archs) % (1 if same_batch else valid.steps)
  rows = jax.tree.map(lambda leaf: leaf[turns], plan)

  def reward(inputs):
    arch, row, key = inputs
    batch = valid.batch(arrays, row, None)
    return task.reward(state.params, state.model_state, arch, batch, key)

  keys = jax.random.split(reward_key, archs)
  rewards = each(reward, (asked, rows, keys))
  chex.assert_shape(rewards, (archs,))
  chex.assert_type(rewards, jnp.float32)
  told, metrics = strategy.tell(state.strategy, asked, rewards)
  return state._replace(
      step=state.step + 1,
      strategy=told,
      controller=merge(state.controller, _as_record(metrics)),
      failed=_failed(state, (rewards, told)),
  )


def propose(strategy: Strategy, asked: Any, key: Key, archs: int) -> Arch:
  """Asks the strategy in the state `asked` for M architectures.

  They have a leading axis M. The key is consumed.
  """
  keys = jax.random.split(key, archs)
  return jax.vmap(strategy.ask, in_axes=(None, 0))(asked, keys)


def listed(archs: Arch, count: int) -> list[Arch]:
  """Returns the `count` architectures of a batch one by one, numpy."""
  archs = jax.device_get(archs)
  return [jax.tree.map(operator.itemgetter(n), archs) for n in range(count)]


def merge(left: Record, right: Record) -> Record:
  """Returns the record of what both records have counted."""
  return jax.tree.map(jnp.add, left, right)


def next_epoch(state: SearchState) -> SearchState:
  """Returns the state with its records empty."""
  return state._replace(
      child=_nothing(state.child), controller=_nothing(state.controller)
  )


def _nothing(record: Record) -> Record:
  return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), record)


def _as_record(metrics: dict[str, jax.Array]) -> Record:
  return {k: Mean(v, jnp.ones(())) for k, v in metrics.items()}


def _failed(state: SearchState, made: Any) -> jax.Array:
  """Returns the first step that made a number which is not finite, or NEVER."""
  fine = [
      jnp.isfinite(leaf).all()
      for leaf in jax.tree.leaves(made)
      if jnp.issubdtype(leaf.dtype, jnp.floating)
  ]
  first = (state.failed == NEVER) & ~jnp.stack(fine).all()
  return jnp.where(first, state.step, state.failed)
