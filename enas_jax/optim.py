"""The optimisers of the child and the controller, as optax chains."""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from enas_jax.options import (
    Count,
    Decay,
    NonNegative,
    Positive,
    Small,
    Whole,
)

# The names of the leaves of batch norm begin with these.
_NORM_LEAVES = ("scale", "offset")


class Optimiser(NamedTuple):
  """Moves the child's weights."""

  tx: optax.GradientTransformation
  rates: np.ndarray  # f32[epochs], the learning rate of every epoch
  # Whether gradient, L2 and clipping cover all shared weights of a network with
  # tables, or only the weights that the step's child uses (see rows.py).
  whole: bool = False
  note: str = ""  # a line for people, before the run begins


def cosine_restarts(
    *, epochs: int, high: float, low: float, first: int, factor: int
) -> np.ndarray:
  """Returns the learning rate of every epoch, f32[epochs].

  It follows a cosine with warm restarts, constant within an epoch as in the
  reference (utils.py). The first cycle takes `first` epochs, and each next one
  takes `factor` times as many as the one before.
  """
  rates, start, length = [], 0, first
  for epoch in range(epochs):
    if epoch - start >= length:
      start, length = epoch, length * factor
    cosine = np.cos(np.pi * (epoch - start) / length)
    rates.append(low + 0.5 * (high - low) * (1 + cosine))
  return np.asarray(rates, np.float32)


def unfinished(
    rates: np.ndarray, *, low: float, first: int, factor: int
) -> str:
  """Says where `cosine_restarts` ends amid a cycle; "" where it does not.

  A constant rate has no cycles.
  """
  epochs, before, end, length = len(rates), 0, first, first
  while end < epochs:
    before, length = end, length * factor
    end += length
  if end == epochs or (np.ptp(rates) == 0 and np.isclose(rates[0], low)):
    return ""
  ends = f"{before} or {end}" if before else f"{end}"
  return (
      f"The learning rate ends amid a cycle, at {rates[-1]:.3g}: with"
      f" child.lr_first = {first} a cycle ends after {ends} epochs, not after"
      f" {epochs}."
  )


def by_epoch(rates: np.ndarray, steps: int) -> Callable:
  """Makes a schedule of updates with one of `rates` for each `steps` updates.

  The last rate goes on for ever.
  """
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

  The penalty is l2 * sum(w^2), without a half. It covers all weights of a
  shared network, whether this child uses them or not. Its gradient 2 l2 w is
  added before the momentum.

  Args:
    rate: Update count -> learning rate.
    momentum: The momentum of Nesterov's form.
    l2: The factor of the penalty.
    l2_all: Whether the penalty covers the scale and the offset of batch norm
      too, as in the reference.
    clip: The greatest global norm of the gradient; 0 does not clip. The
      reference computes a clipped gradient but applies the unclipped one.
    freeze: The name of a subtree that does not train. The reference leaves the
      auxiliary head untrained by mistake.
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
    lr_first: Annotated[Count, Small(2)],
    lr_factor: Count,
    momentum: Decay,
    l2: NonNegative,
    l2_all: bool = False,
    clip: NonNegative = 0.0,
    freeze_aux: bool = False,
) -> Optimiser:
  """Makes the image systems' optimiser.

  It is Nesterov momentum under a cosine with restarts; see `child`.

  Args:
    epochs: The number of epochs of the run.
    steps: The number of child steps of an epoch.
    lr: The highest learning rate.
    lr_min: The lowest learning rate.
    lr_first: The number of epochs of the first cycle.
    lr_factor: The length of each cycle over the length of the one before.
    momentum: The momentum of Nesterov's form.
    l2: The factor of the penalty, sum(w^2) over all shared weights.
    l2_all: Whether the penalty covers batch norm too.
    clip: The greatest global norm of the gradient; 0 does not clip.
    freeze_aux: Whether the auxiliary head does not train, as in the reference.
  """
  cycles = {"low": lr_min, "first": lr_first, "factor": lr_factor}
  rates = cosine_restarts(epochs=epochs, high=lr, **cycles)
  tx = child(
      by_epoch(rates, steps),
      momentum=momentum,
      l2=l2,
      l2_all=l2_all,
      clip=clip,
      freeze="aux" if freeze_aux else "",
  )
  note = unfinished(rates, **cycles)
  return Optimiser(tx, rates, whole=True, note=note)


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

  It is plain SGD with clipping and an average of the weights. The learning rate
  is constant, but it is multiplied by the length of a segment over the usual
  length.

  Args:
    epochs: The number of epochs of the run.
    steps: The number of child steps of an epoch; unused.
    lr: The learning rate.
    clip: The greatest global norm of the gradient; 0 does not clip.
    l2: The factor of the penalty sum(w^2), without a half; its gradient is
      clipped with the rest.
    whole: Whether gradient, L2 and clipping cover all shared weights, not only
      those that the child of a step uses (or the children, on several devices).
      An average of shared weights needs it.
    average_after: The number of steps after which the average begins (enas_lm
      on TPU).
    patience: The number of last values that the non-monotonic trigger of
      NT-ASGD leaves out, see `observe`. Where this and `average_after` are 0
      there is no average.
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
  """Scales updates by the batch's `share`, its length over the usual one."""

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
  count: jax.Array  # i32[], how many weights the mean has taken in
  mean: Any  # like the parameters
  # A non-monotonic trigger remembers the last values, f32[patience] with the
  # newest last, and the least value before these, f32[]. Without one it is ().
  trigger: tuple[jax.Array, jax.Array] | tuple[()]


def _averaged(
    tx: optax.GradientTransformation, after: int, patience: int
) -> optax.GradientTransformationExtraArgs:
  """Wraps `tx` to keep the mean of the weights since the mean began."""
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
  """Returns an optimiser's state after the validation of an epoch.

  In NT-ASGD the mean begins when the value exceeds the least of all earlier
  values but the last `patience`. The state of any other optimiser stays as it
  is.

  Args:
    state: The state of the optimiser.
    value: A value of which less is better: `-task.worth(m)` of the task's
      metric m, which may be an accuracy or a perplexity.
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
  """Returns the weights to measure: their mean once it has begun."""
  if not isinstance(state, AverageState):
    return params
  chosen = lambda p, m: jnp.where(state.count > 0, m, p)
  return jax.tree.map(chosen, params, state.mean)


OPTIMISERS = {"nesterov": nesterov, "sgd": sgd}


class _AdamState(NamedTuple):
  """The running means of the gradient and of its square."""

  count: jax.Array
  mean: optax.Updates
  square: optax.Updates


def reference_adam(
    rate: float, *, b1: float, b2: float, eps: float
) -> optax.GradientTransformation:
  """Makes Adam that adds epsilon before the bias correction.

  TensorFlow 1 does so: delta = rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) +
  eps). optax corrects the bias first. With the controllers' eps = 1e-3 the
  difference matters: in the first step, epsilon acts here as one that is 31.6
  times larger in optax.
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
