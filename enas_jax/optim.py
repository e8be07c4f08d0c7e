"""Named optax chains: the child's, the controller's, and their schedules."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

_NORM_LEAVES = ("scale", "offset")  # of batch norm, by the start of the name


def cosine_restarts(
    *, epochs: int, high: float, low: float, first: int, factor: int
) -> np.ndarray:
  """Learning rate of every epoch, f32[epochs]: cosine with warm restarts.

  Constant within an epoch, as in the reference (utils.py): the first cycle
  takes `first` epochs, each next `factor` times as many.
  """
  rates, start, length = [], 0, first
  for epoch in range(epochs):
    if epoch - start >= length:
      start, length = epoch, length * factor
    cosine = np.cos(np.pi * (epoch - start) / length)
    rates.append(low + 0.5 * (high - low) * (1 + cosine))
  return np.asarray(rates, np.float32)


def by_epoch(rates: np.ndarray, steps: int) -> Callable:
  """A schedule over update counts from one value an epoch of `steps`."""
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
  """Nesterov momentum with the reference's l2 (image_ops, child training).

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


class _AdamState(NamedTuple):
  count: jax.Array
  mean: optax.Updates
  square: optax.Updates


def reference_adam(
    rate: float, *, b1: float, b2: float, eps: float
) -> optax.GradientTransformation:
  """Adam with epsilon added before the bias correction, TensorFlow 1's form.

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
