"""Optimisers as optax chains, the child's and the controller's; schedules."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from enas_jax.options import Count, Decay, NonNegative, Positive, Whole

_NORM_LEAVES = ("scale", "offset")  # of batch norm, by the start of the name


class Optimiser(NamedTuple):
  """What moves the child's weights."""

  tx: optax.GradientTransformation
  rates: np.ndarray  # f32[epochs], the learning rate of every epoch
  # Whether gradient, L2 and clipping cover all shared weights of a network with
  # tables of them, in place of those that the step's child uses (see rows.py).
  whole: bool = False


def cosine_restarts(
    *, epochs: int, high: float, low: float, first: int, factor: int
) -> np.ndarray:
  """Returns the learning rate of every epoch, f32[epochs].

  It follows a cosine with warm restarts, constant within an epoch as in the
  reference (utils.py). The first cycle takes `first` epochs, each next `factor`
  times as many.
  """
  rates, start, length = [], 0, first
  for epoch in range(epochs):
    if epoch - start >= length:
      start, length = epoch, length * factor
    cosine = np.cos(np.pi * (epoch - start) / length)
    rates.append(low + 0.5 * (high - low) * (1 + cosine))
  return np.asarray(rates, np.float32)


def by_epoch(rates: np.ndarray, steps: int) -> Callable:
  """Makes a schedule over update counts: one of `rates` an epoch of `steps`."""
  table = np.asarray(rates)
  return lambda count: jnp.asarray(table)[
      jnp.minimum(count // steps, len(table) - 1)
  ]


def child(
    rate: Callable,
    *,
    momentum: float,
    l2: float,
    l2_all: bool = False,
    clip: float = 0.0,
    freeze: str = "",
) -> optax.GradientTransformation:
  """Makes Nesterov momentum with the reference's l2 (image_ops).

  The penalty is l2 * sum(w^2) without a half, over all weights of a shared
  network, used by this child or not; its gradient 2 l2 w is added before the
  momentum.

  Args:
    rate: learning rate by update count.
    momentum: of Nesterov's form.
    l2: the factor.
    l2_all: batch norm's scale and offset too, as the reference.
    clip: global norm; 0: none. The reference computes a clipped gradient and
      applies the unclipped one.
    freeze: name of a subtree that does not train. The reference leaves the
      auxiliary head out by mistake.
  """

  def penalised(params):
    return jax.tree_util.tree_map_with_path(
        lambda path, _: l2_all or not path[-1].key.startswith(_NORM_LEAVES),
        params,
    )

  parts = [optax.add_decayed_weights(2 * l2, mask=penalised)]
  if clip:
    parts.append(optax.clip_by_global_norm(clip))
  parts.append(optax.sgd(rate, momentum, nesterov=True))
  tx = optax.chain(*parts)
  if not freeze:
    return tx
  return optax.multi_transform(
      {"train": tx, "freeze": optax.set_to_zero()},
      lambda params: {k: "freeze" if k == freeze else "train" for k in params},
  )


def nesterov(
    *,
    epochs: Count,
    steps: Count,
    lr: Positive,
    lr_min: NonNegative,
    lr_first: Count,
    lr_factor: Count,
    momentum: Decay,
    l2: NonNegative,
    l2_all: bool = False,
    clip: NonNegative = 0.0,
    freeze_aux: bool = False,
) -> Optimiser:
  """Makes the image systems' optimiser.

  It is Nesterov momentum under a cosine with restarts, see `child`.

  Args:
    epochs: of the run.
    steps: child steps of an epoch.
    lr: the highest learning rate.
    lr_min: the lowest learning rate.
    lr_first: epochs of the first cycle.
    lr_factor: of each cycle's length to that of the one before.
    momentum: of Nesterov's form.
    l2: the penalty's factor, of sum(w^2) over all shared weights.
    l2_all: whether the penalty is on batch norm, too.
    clip: global norm of the gradient; 0: none.
    freeze_aux: the auxiliary head does not train, as the reference's.
  """
  rates = cosine_restarts(
      epochs=epochs, high=lr, low=lr_min, first=lr_first, factor=lr_factor
  )
  tx = child(
      by_epoch(rates, steps),
      momentum=momentum,
      l2=l2,
      l2_all=l2_all,
      clip=clip,
      freeze="aux" if freeze_aux else "",
  )
  return Optimiser(tx, rates, whole=True)


def sgd(
    *,
    epochs: Count,
    steps: Count,
    lr: Positive,
    clip: NonNegative,
    l2: NonNegative = 0.0,
    whole: bool = False,
    average_after: Whole = 0,
    patience: Whole = 0,
) -> Optimiser:
  """Makes the language models' optimiser.

  It is plain SGD, clipped, and an average of the weights. The learning rate is
  constant; a segment shorter or longer than usual moves the weights by its
  share of it.

  Args:
    epochs: of the run.
    steps: child steps of an epoch; unused.
    lr: learning rate.
    clip: global norm of the gradient; 0: none.
    l2: of sum(w^2), without a half; clipped with the rest.
    whole: gradient, L2 and clipping cover all shared weights in place of those
      that the step's child uses (or children, on several devices). An average
      of shared weights needs it.
    average_after: steps after which the average begins (enas_lm on TPU).
    patience: of the non-monotonic trigger (NT-ASGD), see `observe`. With
      neither there is no average.
  """
  del steps
  parts = [optax.add_decayed_weights(2 * l2)] if l2 else []
  if clip:
    parts.append(optax.clip_by_global_norm(clip))
  tx = optax.chain(*parts, optax.scale(-lr), _by_share())
  if average_after or patience:
    tx = _averaged(tx, average_after, patience)
  return Optimiser(tx, np.full(epochs, lr, np.float32), whole)


def _by_share() -> optax.GradientTransformationExtraArgs:
  """Scales by the batch's `share`, its length over the usual one."""

  def update(updates, state, params=None, *, batch, **others):
    del params, others
    return jax.tree.map(lambda u: u * batch.share, updates), state

  return optax.GradientTransformationExtraArgs(
      lambda params: optax.EmptyState(), update
  )


class AverageState(NamedTuple):
  """A running mean of the weights beside an optimiser's own state."""

  inner: Any
  step: jax.Array  # i32[], updates so far
  begun: jax.Array  # bool[], whether the mean runs
  count: jax.Array  # i32[], weights in the mean
  mean: Any  # like the parameters
  # Of a non-monotonic trigger, else (): the least value seen, f32[], before
  # the last ones, f32[patience], the newest last.
  trigger: tuple[jax.Array, jax.Array] | tuple[()]


def _averaged(
    tx: optax.GradientTransformation, after: int, patience: int
) -> optax.GradientTransformationExtraArgs:
  """Keeps the mean of the weights after each update since it began."""
  tx = optax.with_extra_args_support(tx)

  def init(params):
    return AverageState(
        tx.init(params),
        jnp.zeros((), jnp.int32),
        jnp.zeros((), bool),
        jnp.zeros((), jnp.int32),
        jax.tree.map(jnp.zeros_like, params),
        (jnp.asarray(jnp.inf), jnp.full(patience, jnp.inf)) if patience else (),
    )

  def update(updates, state, params, **others):
    updates, inner = tx.update(updates, state.inner, params, **others)
    begun = state.begun | ((after > 0) & (state.step >= after))
    count = state.count + begun
    share = jnp.where(begun, 1.0 / jnp.maximum(count, 1), 0.0)
    mean = jax.tree.map(
        lambda m, p, u: m + share * (p + u - m), state.mean, params, updates
    )
    return updates, state._replace(
        inner=inner, step=state.step + 1, begun=begun, count=count, mean=mean
    )

  return optax.GradientTransformationExtraArgs(init, update)


def observe(state: Any, value: float) -> Any:
  """Returns an optimiser's state after an epoch's validation.

  NT-ASGD: the mean begins when the value exceeds the least of all but the last
  `patience` values before it. Any other state stays as it is.

  Args:
    state: of the optimiser.
    value: less is better. The task says which way that is: `-task.worth(m)` of
      its metric m, be that an accuracy or a perplexity.
  """
  if not isinstance(state, AverageState) or not state.trigger:
    return state
  best, recent = state.trigger
  recent = jnp.append(recent, value)
  return state._replace(
      begun=state.begun | (value > best),
      trigger=(jnp.minimum(best, recent[0]), recent[1:]),
  )


def measured(params: Any, state: Any) -> Any:
  """Returns the weights to measure: their mean where it has begun."""
  if not isinstance(state, AverageState):
    return params
  chosen = lambda p, m: jnp.where(state.count > 0, m, p)
  return jax.tree.map(chosen, params, state.mean)


OPTIMISERS = {"nesterov": nesterov, "sgd": sgd}


class _AdamState(NamedTuple):
  count: jax.Array
  mean: optax.Updates
  square: optax.Updates


def reference_adam(
    rate: float, *, b1: float, b2: float, eps: float
) -> optax.GradientTransformation:
  """Makes Adam with epsilon added before the bias correction, as TensorFlow 1.

  delta = rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps). optax corrects
  first; with the controllers' eps = 1e-3 the difference matters: the epsilon
  that counts here is 31.6 times larger in the first step.
  """

  def init(params):
    zeros = jax.tree.map(jnp.zeros_like, params)
    return _AdamState(jnp.zeros((), jnp.int32), zeros, zeros)

  def update(grads, state, params=None):
    del params
    count = state.count + 1
    mean = jax.tree.map(
        lambda m, g: b1 * m + (1 - b1) * g, state.mean, grads
    )
    square = jax.tree.map(
        lambda v, g: b2 * v + (1 - b2) * g * g, state.square, grads
    )
    size = rate * jnp.sqrt(1 - b2**count) / (1 - b1**count)
    updates = jax.tree.map(
        lambda m, v: -size * m / (jnp.sqrt(v) + eps), mean, square
    )
    return updates, _AdamState(count, mean, square)

  return optax.GradientTransformation(init, update)
