"""Classifies images: the loss is cross-entropy, the reward accuracy.

Source: ENAS §2.2.
"""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from enas_jax.ops import init
from enas_jax.options import NonNegative
from enas_jax.types import Batch, Likelihood, Mean, Record, Task


def classification(
    network: Any,
    *,
    aux_weight: NonNegative = 0.4,
    dropout_in_reward: bool = False,
    score: Literal["accuracy", "likelihood"] = "accuracy",
) -> Task:
  """Makes the task of a network `(images, arch, train, dropout, progress)`.

  Batches have `images` f32[B, H, W, C], `labels` i32[B] and `weight` f32[B],
  which is 0 for an example that only fills the batch.

  Args:
    network: A flax module that returns (logits, auxiliary logits or None).
    aux_weight: The weight in the loss of the auxiliary head's cross-entropy.
    dropout_in_reward: Whether dropout is on when a child is rewarded, as in the
      reference's micro search, which makes the reward noisier.
    score: The score that is rewarded and by which candidates are ranked:
      "accuracy", as in the paper, or "likelihood", exp(-cross-entropy), which
      also tells apart children that classify the same images correctly.
  """
  parts = _Classification(network, aux_weight, dropout_in_reward, score)
  return Task(
      parts.init,
      parts.loss,
      parts.reward,
      parts.begin,
      parts.measure,
      metric="accuracy",
      score=score,
      worth=lambda value: value,
  )


@dataclasses.dataclass(frozen=True, eq=False)
class _Classification:
  """The functions of the task; the fields are its arguments."""

  network: Any
  aux_weight: float
  dropout_in_reward: bool
  score: str

  def init(self, key, batch, arch):
    variables = init.variables(self.network, key, batch.images, arch)
    params = variables.pop("params")
    return params, variables

  def loss(self, params, model_state, arch, batch, key, progress):
    (logits, aux), updated = self.network.apply(
        {"params": params, **model_state},
        batch.images,
        arch,
        train=True,
        progress=progress,
        rngs={"dropout": key},
        mutable=list(model_state),
    )
    cross_entropy = _mean_cross_entropy(logits, batch)
    total = cross_entropy
    if aux is not None:
      total += self.aux_weight * _mean_cross_entropy(aux, batch)
    record = _record(logits, batch)
    return total, ({**model_state, **updated}, record)

  def reward(self, params, model_state, arch, batch, key):
    logits, _ = self.network.apply(
        {"params": params, **model_state},
        batch.images,
        arch,
        train=False,
        dropout=self.dropout_in_reward,
        rngs={"dropout": key},
    )
    return _record(logits, batch)[self.score].value()

  def begin(self, model_state, batch):
    del batch
    return model_state

  def measure(self, params, model_state, arch, batch):
    logits, _ = self.network.apply(
        {"params": params, **model_state}, batch.images, arch, train=False
    )
    return model_state, _record(logits, batch)


def _cross_entropy(logits: jax.Array, batch: Batch) -> jax.Array:
  """Returns the cross-entropy of each example, f32[B]."""
  return optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)


def _mean_cross_entropy(logits: jax.Array, batch: Batch) -> jax.Array:
  """Returns the mean cross-entropy of the examples that count, f32[]."""
  each = _cross_entropy(logits, batch)
  return (each * batch.weight).sum() / batch.weight.sum()


def _record(logits: jax.Array, batch: Batch) -> Record:
  """Returns the record of a batch."""
  count = batch.weight.sum()
  right = (jnp.argmax(logits, -1) == batch.labels) * batch.weight
  losses = (_cross_entropy(logits, batch) * batch.weight).sum()
  return {
      "loss": Mean(losses, count),
      "likelihood": Likelihood(losses, count),
      "accuracy": Mean(right.sum(), count),
  }
