"""The next word of a text: cross-entropy, reward 80 / ppl (ENAS §3.1)."""

import jax
import jax.numpy as jnp

from enas_jax.ops import reader, softmax
from enas_jax.types import Mean, Perplexity, Task


def language_model(
    network,
    *,
    activity: float = 0.0,
    slowness: float = 0.0,
    l2_used: float = 0.0,
    reward_scale: float = 80.0,
) -> Task:
  """The task of a network `(words, arch, state, train)`.

  Batches have `words` and `targets` i32[B, S], `weight` f32[B, S], 0 behind
  the end of the segment, and `first` bool[], whether nothing was read before.
  The model state is the network's state after the last word read; its gradient
  stops between two segments.

  Args:
    network: an `ops.reader.Reader`.
    activity: of the mean square of its states (AR, alpha).
    slowness: of the mean square of their steps (TAR, beta).
    l2_used: of the squares of the cell's weights that the architecture uses.
      The reference's search penalises by mistake half the squared sum of
      squares, and not of the first matrix (defect L1).
    reward_scale: c of the reward c / perplexity.
  """

  child = network.child

  def begin(model_state, batch):
    del model_state
    return {"state": network.start(batch.words.shape[0])}

  def init(key, batch, arch):
    params_key, dropout_key = jax.random.split(key)
    # Lazy: the parameters are drawn, the network itself is not run.
    variables = network.lazy_init(
        {"params": params_key, "dropout": dropout_key},
        batch.words,
        arch,
        jax.eval_shape(begin, {}, batch)["state"],
        train=True,
    )
    return variables["params"], begin({}, batch)

  def take(params, rows):
    return {
        k: reader.take(w, rows[k]) if k in rows else w
        for k, w in params.items()
    }

  def add(params, rows, updates):
    return {
        k: params[k].at[rows[k]].add(u) if k in rows else params[k] + u
        for k, u in updates.items()
    }

  def read(used, state, arch, batch, *, train, rngs=None):
    state = jax.tree.map(
        lambda s: jnp.where(batch.first, 0.0, jax.lax.stop_gradient(s)), state
    )
    reading = child.apply(
        {"params": used}, batch.words, arch, state, train=train, rngs=rngs
    )
    # What to go on from is behind the last word that counts.
    last = batch.weight[0].sum().astype(jnp.int32) - 1
    after = jax.tree.map(
        lambda c: c[:, last].astype(jnp.float32), reading.carries
    )
    return reading, {"state": after}

  def loss(used, model_state, arch, batch, key, progress):
    del progress
    reading, after = read(
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
    if activity:
      total += activity * _mean(states**2, weight)
    if slowness:
      steps = states[:, 1:] - states[:, :-1]
      total += slowness * _mean(steps**2, weight[:, 1:])
    if l2_used:
      total += l2_used * reading.squares
    return total, (after, record)

  def reward(used, model_state, arch, batch, key):
    del key  # nothing is dropped
    nothing = begin(model_state, batch)["state"]
    reading, _ = read(used, nothing, arch, batch, train=False)
    perplexity = _record(reading, batch)["perplexity"]
    return worth(perplexity.value())

  def worth(perplexity):
    return reward_scale / perplexity

  def measure(used, model_state, arch, batch):
    reading, after = read(
        used, model_state["state"], arch, batch, train=False
    )
    return after, _record(reading, batch)

  return Task(
      init,
      loss,
      reward,
      begin,
      measure,
      metric="perplexity",
      score="perplexity",
      worth=worth,
      reads=network.reads,
      take=take,
      add=add,
  )


def _mean(values, weight):
  """Over positions that count; 0 of none."""
  total = (values * weight).sum()
  return total / jnp.maximum(weight.sum() * values.shape[-1], 1.0)


def _record(reading, batch):
  total = softmax.cross_entropy(
      reading.features, reading.table, batch.targets, batch.weight
  )
  count = batch.weight.sum()
  return {"loss": Mean(total, count), "perplexity": Perplexity(total, count)}
