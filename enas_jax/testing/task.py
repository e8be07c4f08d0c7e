"""Asks the questions of a task."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import steps
from enas_jax.testing.asking import ask_all, demand, named, Question, same_form
from enas_jax.types import Arch, Task


def task_questions(task: Task, batch: Any, arch: Arch) -> list[Question]:
  """Returns the questions of a task, asked with its network.

  Args:
    task: The task of a small network.
    batch: A batch, as the task reads it.
    arch: An arch that the network can run.
  """
  key = jax.random.key(0)

  @functools.cache
  def run():
    params, state = task.init(key, jax.eval_shape(lambda: batch), arch)

    @jax.jit
    def ask(params, state):
      def loss(params):
        moved = task.moving(params, arch).params
        return task.loss(moved, state, arch, batch, key, 0.5)

      (loss, (after, record)), grads = jax.value_and_grad(loss, has_aux=True)(
          params
      )
      reward = task.reward(params, state, arch, batch, key)
      begun = task.begin(state, batch)
      measured = task.measure(params, begun, arch, batch)
      return loss, after, record, grads, reward, begun, measured

    return params, state, ask(params, state)

  def the_loss_is_a_finite_number():
    loss = run()[2][0]
    demand(
        loss.shape == () and loss.dtype == jnp.float32 and np.isfinite(loss),
        f"The loss must be one finite float32, it is {loss!r}.",
    )

  def gradients_are_those_of_the_weights():
    params, _, (_, _, _, grads, *_) = run()
    same_form(params, grads, "A gradient")
    demand(
        all(np.all(np.isfinite(g)) for g in jax.tree.leaves(grads)),
        "A gradient is not finite.",
    )

  def the_model_state_keeps_its_form():
    _, state, (_, after, _, _, _, begun, measured) = run()
    same_form(state, after, "The model state that loss returns")
    same_form(begun, measured[0], "The model state that measure returns")

  def records_merge_and_name_what_is_judged():
    record, measured = run()[2][2], run()[2][6][1]
    for each in (record, measured):
      both = steps.merge(each, each)
      for name, entry in both.items():
        np.testing.assert_allclose(
            entry.value(),
            each[name].value(),
            rtol=1e-5,
            err_msg=f"The mean of {name!r} and itself is itself.",
        )
    demand(
        {task.metric, task.score} <= measured.keys(),
        f"measure must record {task.metric!r} and {task.score!r}.",
    )

  def the_reward_is_the_worth_of_the_score():
    *_, reward, _, (_, record) = run()[2]
    demand(
        reward.shape == () and np.isfinite(reward),
        f"The reward must be one finite number, it is {reward!r}.",
    )
    np.testing.assert_allclose(
        task.worth(record[task.score].value()), reward, rtol=1e-5
    )

  return named(
      the_loss_is_a_finite_number,
      gradients_are_those_of_the_weights,
      the_model_state_keeps_its_form,
      records_merge_and_name_what_is_judged,
      the_reward_is_the_worth_of_the_score,
  )


def check_task(task: Task, batch: Any, arch: Arch) -> None:
  """Asks all of `task_questions`, with the same arguments.

  Raises:
    AssertionError: A question failed; says which one and what to mend.
  """
  ask_all(task_questions(task, batch, arch))
