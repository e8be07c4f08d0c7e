"""What a child is rewarded for."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from enas_jax.data.images import ImageBatch
from enas_jax.errors import ConfigError
from enas_jax.tasks.classification import classification


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
  with pytest.raises(ConfigError, match=r"config.task.score: unknown score"):
    classification(Pixels(), score="acuracy")
