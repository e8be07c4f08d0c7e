"""The steps of the loop, as pure functions that know protocols only.

A child step moves the shared weights while the policy is frozen; a strategy
step moves the policy while the shared weights are frozen (ENAS §2.2).
Retraining is the same loop under a strategy that always proposes one arch.
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
  """Returns the state before the first step. It is not for jit.

  Args:
    key: The key, which is consumed.
    task: The task, which makes the parameters.
    strategy: The strategy, which makes its own state.
    tx: The child's optimiser.
    train: The training split; it gives the shapes of a batch, and none of its
      arrays is read.
    arch: The arch that a fixed strategy proposes, since the parameters of its
      network depend on it. None: any arch of the strategy has the same
      parameters.
  """
  key, params_key, strategy_key, ask_key = jax.random.split(key, 4)
  asked = strategy.init(strategy_key)
  if arch is None:
    arch = jax.eval_shape(strategy.ask, asked, ask_key)

  batch = train.shapes()
  params, model_state = task.init(params_key, batch, arch)

  # The records have their final structure from the start; otherwise the steps
  # would compile twice.
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
  """Moves the shared weights by one optimiser step on one fresh arch.

  Args:
    state: The state before the step, which may be donated.
    arrays: What the feed of `train` gives; an argument, so no constant.
    row: One row of the epoch's plan.
    task: The task, which gives the loss and says which weights move.
    strategy: The strategy, which proposes the arch.
    tx: The child's optimiser.
    train: The training split.
    progress: Step i32[] -> the fraction of the child steps that is done after
      this one.
    axis: The mesh axis of several devices, where each trains a child of its
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
  # The optimiser is given the batch so that a short segment can move the
  # weights less.
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
  """Rewards M archs on validation batches and tells the strategy.

  Args:
    state: The state before the step, which may be donated.
    arrays: What the feed of `valid` gives.
    task: The task, which gives the reward.
    strategy: The strategy, which proposes the archs and is told all rewards at
      once.
    valid: The validation split.
    archs: M, the number of archs.
    same_batch: Whether all archs are rewarded on one batch, so that no arch
      gains from an easy batch. Off, as in the reference, each arch has a batch
      of its own; some share one where there are fewer batches than archs.
    each: (function, inputs) -> the function's results on M inputs. By default
      it takes one after the other. With a `batch_size` it takes several at a
      time, and then all branches of a run-time choice run.
  """
  ask_key, rows_key, reward_key = _strategy_keys(state.key, state.step)
  asked = propose(strategy, state.strategy, ask_key, archs)
  chex.assert_tree_shape_prefix(asked, (archs,))
  plan = valid.rows(rows_key)
  turns = jnp.arange(archs) % rewarded(valid, archs, same_batch)
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


def rewarded(split: Split, archs: int, same_batch: bool) -> int:
  """Returns how many batches a strategy step reads, the first of its pass."""
  return 1 if same_batch else min(archs, split.steps)


def rows_key(key: Key, step: int) -> Key:
  """Returns the key that shuffles the validation split in a strategy step.

  Args:
    key: The key of the state.
    step: The number of the step.
  """
  return _strategy_keys(key, step)[1]


def _strategy_keys(key: Key, step: int | jax.Array) -> jax.Array:
  return jax.random.split(jax.random.fold_in(key, step), 3)


def propose(strategy: Strategy, asked: Any, key: Key, archs: int) -> Arch:
  """Returns M archs that the strategy proposes, with a leading axis M.

  Args:
    strategy: The strategy.
    asked: The state of the strategy.
    key: The key, which is consumed.
    archs: M, the number of archs.
  """
  keys = jax.random.split(key, archs)
  return jax.vmap(strategy.ask, in_axes=(None, 0))(asked, keys)


def listed(archs: Arch, count: int) -> list[Arch]:
  """Returns the first `count` archs of a batch as a list, in numpy arrays."""
  archs = jax.device_get(archs)
  return [jax.tree.map(operator.itemgetter(n), archs) for n in range(count)]


def merge(left: Record, right: Record) -> Record:
  """Returns the record of everything that the two records have counted."""
  return jax.tree.map(jnp.add, left, right)


def next_epoch(state: SearchState) -> SearchState:
  """Returns the state with empty records, as an epoch begins."""
  return state._replace(
      child=_nothing(state.child), controller=_nothing(state.controller)
  )


def _nothing(record: Record) -> Record:
  """Returns an empty record of the same structure."""
  return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), record)


def _as_record(metrics: dict[str, jax.Array]) -> Record:
  """Returns the metrics of one step as a record."""
  return {k: Mean(v, jnp.ones(())) for k, v in metrics.items()}


def _failed(state: SearchState, made: Any) -> jax.Array:
  """Returns the first step that made a non-finite number, or NEVER."""
  fine = [
      jnp.isfinite(leaf).all()
      for leaf in jax.tree.leaves(made)
      if jnp.issubdtype(leaf.dtype, jnp.floating)
  ]
  first = (state.failed == NEVER) & ~jnp.stack(fine).all()
  return jnp.where(first, state.step, state.failed)
