"""Images to classes: cross-entropy, reward accuracy (ENAS §2.2)."""

import jax
import jax.numpy as jnp
import optax

from enas_jax.errors import lookup
from enas_jax.types import Likelihood, Mean, Task

SCORES = dict.fromkeys(("accuracy", "likelihood"))


def classification(
    network,
    *,
    aux_weight: float = 0.4,
    dropout_in_reward: bool = False,
    score: str = "accuracy",
) -> Task:
  """The task of a network `(images, arch, train, dropout, progress)`.

  Batches have `images` f32[B, H, W, C], `labels` i32[B] and `weight` f32[B],
  0 for an example that only fills the batch.

  Args:
    network: a flax module that returns (logits, auxiliary logits or None).
    aux_weight: of the auxiliary head's cross-entropy in the loss.
    dropout_in_reward: the reference's micro search keeps dropout on when a
      child is scored, which makes the reward noisier; off by default.
    score: what is rewarded, and what candidates are ranked by: "accuracy", as
      in the paper, or "likelihood", exp(-cross-entropy), which also tells
      apart children that are right of the same images.

  Raises:
    ConfigError: no such score.
  """
  lookup("config.task.score", score, SCORES, "score")

  def init(key, batch, arch):
    params_key, dropout_key = jax.random.split(key)
    # Lazy: the parameters are drawn, the network itself is not run.
    variables = network.lazy_init(
        {"params": params_key, "dropout": dropout_key},
        batch.images,
        arch,
        train=True,
    )
    params = variables.pop("params")
    return params, variables

  def loss(params, model_state, arch, batch, key, progress):
    (logits, aux), updated = network.apply(
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
      total += aux_weight * _mean_cross_entropy(aux, batch)
    record = _record(logits, batch)
    return total, ({**model_state, **updated}, record)

  def reward(params, model_state, arch, batch, key):
    logits, _ = network.apply(
        {"params": params, **model_state},
        batch.images,
        arch,
        train=False,
        dropout=dropout_in_reward,
        rngs={"dropout": key},
    )
    return _record(logits, batch)[score].value()

  def begin(model_state, batch):
    del batch
    return model_state

  def measure(params, model_state, arch, batch):
    logits, _ = network.apply(
        {"params": params, **model_state}, batch.images, arch, train=False
    )
    return model_state, _record(logits, batch)

  return Task(
      init,
      loss,
      reward,
      begin,
      measure,
      metric="accuracy",
      score=score,
      worth=lambda value: value,
  )


def _cross_entropy(logits, batch):
  return optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)


def _mean_cross_entropy(logits, batch):
  each = _cross_entropy(logits, batch)
  return (each * batch.weight).sum() / batch.weight.sum()


def _record(logits, batch):
  count = batch.weight.sum()
  right = (jnp.argmax(logits, -1) == batch.labels) * batch.weight
  losses = (_cross_entropy(logits, batch) * batch.weight).sum()
  return {
      "loss": Mean(losses, count),
      "likelihood": Likelihood(losses, count),
      "accuracy": Mean(right.sum(), count),
  }
