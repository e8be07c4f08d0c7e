"""What a child is rewarded for."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from enas_jax import optim, options, steps
from enas_jax.data.images import ImageBatch
from enas_jax.errors import ConfigError
from enas_jax.strategies.fixed import fixed
from enas_jax.tasks.classification import classification
from enas_jax.types import Split


class Pixels(nn.Module):
  """Logits that are the pixels themselves."""

  @nn.compact
  def __call__(self, images, arch, *, train, dropout=None, progress=0.0):
    del arch, train, dropout, progress
    return images[:, 0, 0], None


@pytest.mark.parametrize("score", ["accuracy", "likelihood"])
def test_a_reward_is_the_score_of_what_counts(score):
  probability = np.array([0.9, 0.4, 0.2])  # of the right one of two classes
  logits = np.log(np.stack([probability, 1 - probability], -1))
  batch = ImageBatch(
      jnp.asarray(logits[:, None, None], jnp.float32),
      jnp.zeros(3, jnp.int32),
      jnp.array([1.0, 1.0, 0.0]),
      jnp.float32(1),
  )
  task = classification(Pixels(), score=score)
  reward = task.reward({}, {}, None, batch, jax.random.key(0))
  expected = {"accuracy": 0.5, "likelihood": np.sqrt(0.9 * 0.4)}
  assert reward == pytest.approx(expected[score])
  _, record = task.measure({}, {}, None, batch)
  for name, value in expected.items():
    assert record[name].value() == pytest.approx(value)
  assert (task.metric, task.score) == ("accuracy", score)
  assert task.worth(0.25) == 0.25


def test_an_unknown_score_is_refused():
  with pytest.raises(ConfigError, match=r"^score: .*'acuracy'.*'accuracy'"):
    options.read(classification, {"score": "acuracy"}, ours=("network",))


class Weights(nn.Module):
  """Logits that are a bias."""

  @nn.compact
  def __call__(self, images, arch, *, train, dropout=None, progress=0.0):
    del arch, train, dropout, progress
    bias = self.param("bias", nn.initializers.zeros, (2,))
    return images[:, 0, 0] * 0.0 + bias, None


@pytest.mark.parametrize("clip", [0.0, 0.1])
def test_a_step_of_sgd_moves_the_weights_by_the_clipped_gradient(clip):
  batch = ImageBatch(
      jnp.zeros((3, 1, 1, 2)),
      jnp.array([0, 0, 1]),
      jnp.ones(3),
      jnp.float32(1),
  )
  # An image split of one batch.
  train = Split((), 1, lambda key: jnp.zeros(1), lambda *_: batch, 3, "images")
  known = {
      "task": classification(Weights()),
      "strategy": fixed(np.ones(1)),
      "tx": optim.sgd(epochs=1, steps=1, lr=2.0, clip=clip).tx,
      "train": train,
  }
  state = steps.init(jax.random.key(0), **known, arch=np.ones(1))
  after = steps.child_step(state, (), (), **known, progress=lambda step: 0.0)
  gradient = np.array([0.5 - 2 / 3, 0.5 - 1 / 3])  # softmax minus the labels
  if clip:
    gradient *= clip / np.linalg.norm(gradient)
  np.testing.assert_allclose(after.params["bias"], -2.0 * gradient, rtol=1e-5)
