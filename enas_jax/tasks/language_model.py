"""Predicts the next word: the loss is cross-entropy, the reward 80 / ppl.

Source: ENAS §3.1.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from enas_jax.ops import init, reader, softmax
from enas_jax.options import NonNegative
from enas_jax.types import Batch, Mean, Perplexity, Record, Task


def language_model(
    network: reader.Reader,
    *,
    activity: NonNegative = 0.0,
    slowness: NonNegative = 0.0,
    l2_used: NonNegative = 0.0,
    reward_scale: NonNegative = 80.0,
) -> Task:
  """Makes the task of a network `(words, arch, state, train)`.

  Loss, reward and measure take the weights of one arch, which `network.child`
  reads. Where shared weights lie in tables, `rows.wrapped` makes of it the task
  of all shared weights.

  Batches have `words` and `targets` i32[B, S], `weight` f32[B, S], which is 0
  behind the end of the segment, and `first` bool[], which says whether nothing
  was read before. The model state is the network's state after the last word
  read; its gradient stops between two segments.

  Args:
    network: The network, which reads a text.
    activity: The weight of the mean square of the states (AR, alpha).
    slowness: The weight of the mean square of the difference of successive
      states (TAR, beta).
    l2_used: The weight of the sum of squares of the cell's weights that the
      architecture uses. By mistake the reference's search penalises half of the
      squared sum of squares, and leaves out the first matrix (defect L1).
    reward_scale: c in the reward c / perplexity.
  """
  parts = _LanguageModel(network, activity, slowness, l2_used, reward_scale)
  return Task(
      parts.init,
      parts.loss,
      parts.reward,
      parts.begin,
      parts.measure,
      metric="perplexity",
      score="perplexity",
      worth=parts.worth,
  )


@dataclasses.dataclass(frozen=True, eq=False)
class _LanguageModel:
  """The functions of the task; the fields are its arguments."""

  network: reader.Reader
  activity: float
  slowness: float
  l2_used: float
  reward_scale: float

  @functools.cached_property
  def child(self):
    return self.network.child

  def begin(self, model_state, batch):
    del model_state
    return {"state": self.network.start(batch.words.shape[0])}

  def init(self, key, batch, arch):
    before = jax.eval_shape(self.begin, {}, batch)["state"]
    variables = init.variables(self.network, key, batch.words, arch, before)
    return variables["params"], self.begin({}, batch)

  def read(self, used, state, arch, batch, *, train, rngs=None):
    """Returns (the reading of a segment, the model state after it)."""
    state = jax.tree.map(
        lambda s: jnp.where(batch.first, 0.0, jax.lax.stop_gradient(s)), state
    )
    reading = self.child.apply(
        {"params": used}, batch.words, arch, state, train=train, rngs=rngs
    )
    # The next segment goes on from the state after the last word that counts.
    last = batch.weight[0].sum().astype(jnp.int32) - 1
    after = jax.tree.map(
        lambda c: c[:, last].astype(jnp.float32), reading.carries
    )
    return reading, {"state": after}

  def loss(self, used, model_state, arch, batch, key, progress):
    del progress
    reading, after = self.read(
        used,
        model_state["state"],
        arch,
        batch,
        train=True,
        rngs={"dropout": key},
    )
    record = _record(reading, batch)
    total = record["loss"].value()
    states = reading.states.astype(jnp.float32)
    weight = batch.weight[..., None]
    if self.activity:
      total += self.activity * _mean(states**2, weight)
    if self.slowness:
      steps = states[:, 1:] - states[:, :-1]
      total += self.slowness * _mean(steps**2, weight[:, 1:])
    if self.l2_used:
      total += self.l2_used * reading.squares
    return total, (after, record)

  def reward(self, used, model_state, arch, batch, key):
    del key  # nothing is dropped
    nothing = self.begin(model_state, batch)["state"]
    reading, _ = self.read(used, nothing, arch, batch, train=False)
    perplexity = _record(reading, batch)["perplexity"]
    return self.worth(perplexity.value())

  def worth(self, perplexity):
    return self.reward_scale / perplexity

  def measure(self, used, model_state, arch, batch):
    reading, after = self.read(
        used, model_state["state"], arch, batch, train=False
    )
    return after, _record(reading, batch)


def _mean(values: jax.Array, weight: jax.Array) -> jax.Array:
  """Returns the mean over the positions that count; 0 where none does."""
  total = (values * weight).sum()
  return total / jnp.maximum(weight.sum() * values.shape[-1], 1.0)


def _record(reading: reader.Reading, batch: Batch) -> Record:
  """Returns the record of a segment."""
  total = softmax.cross_entropy(
      reading.features, reading.table, batch.targets, batch.weight
  )
  count = batch.weight.sum()
  return {"loss": Mean(total, count), "perplexity": Perplexity(total, count)}
