"""Random search, which every other strategy has to beat."""

import chex
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.types import Head, SearchSpace, Strategy


def random(space: SearchSpace) -> Strategy:
  """Makes a strategy that proposes random archs and learns nothing.

  Every choice is uniform, except that a skip bit is set with the prior of its
  step, which says how many skips the space expects of a network.

  Args:
    space: The space, whose schedule says what can be decided.
  """
  schedule = space.schedule

  def ask(state, key):
    del state
    one_key, bit_key = jax.random.split(key)
    slots = schedule.mask.shape[1]
    logits = jnp.where(schedule.mask, 0.0, -jnp.inf)
    # A row without choices draws something too, which `decides` drops.
    drawn = jax.random.categorical(one_key, logits)
    one = jnp.arange(slots) == drawn[:, None]
    bits = jax.random.bernoulli(bit_key, schedule.prior)
    skip = (schedule.head == Head.SKIP)[:, None]
    decides = (schedule.head != Head.NONE)[:, None]
    choices = np.asarray(schedule.mask) & decides
    return space.decode(choices & jnp.where(skip, bits, one))

  def tell(state, archs, rewards):
    chex.assert_rank(rewards, 1)
    chex.assert_tree_shape_prefix(archs, rewards.shape)
    return state, {"reward": rewards.mean(), "reward_best": rewards.max()}

  return Strategy(init=lambda key: (), ask=ask, tell=tell)
