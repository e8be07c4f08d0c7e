"""Takes off the reward of an arch what its cost is above a target."""

from collections.abc import Callable

import jax.numpy as jnp

from enas_jax.types import Task


def penalty(cost: Callable, target: float, weight: float) -> Callable:
  """Returns the function of an arch that says what is taken off; traceable.

  Args:
    cost: Arch -> its cost; traceable.
    target: Up to which nothing is taken off.
    weight: Taken off when the cost is twice the target.
  """

  def taken(arch):
    over = cost(arch) / target - 1
    return weight * jnp.maximum(over, 0.0)

  return taken


def penalised(task: Task, taken: Callable) -> Task:
  """Returns the task whose reward is less what is taken off an arch."""

  def reward(params, model_state, arch, batch, key):
    own = task.reward(params, model_state, arch, batch, key)
    return own - taken(arch)

  return task._replace(reward=reward)
