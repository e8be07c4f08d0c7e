"""Asks the questions of an optimiser."""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from enas_jax.testing.asking import ask_all, demand, named, Question, same_form


class _Segment(NamedTuple):
  """A batch of the usual length."""

  share: float = 1.0


def optimiser_questions(make: Callable[..., Any]) -> list[Question]:
  """Returns the questions of an optimiser.

  Args:
    make: (epochs, steps), by keyword -> optimiser; all other options are given.
  """
  epochs, steps = 2, 3
  params = {"a": jnp.array([1.0, -2.0]), "b": {"scale": jnp.array([3.0])}}

  @functools.cache
  def walk():
    chain = make(epochs=epochs, steps=steps)
    tx = optax.with_extra_args_support(chain.tx)
    traces = 0

    @jax.jit
    def step(params, state):
      nonlocal traces
      traces += 1
      grads = params  # the gradient of half the squared length
      updates, state = tx.update(grads, state, params, batch=_Segment())
      return optax.apply_updates(params, updates), state

    states, now = [tx.init(params)], params
    for _ in range(epochs * steps):
      now, state = step(now, states[-1])
      states.append(state)
    return chain, states, now, traces

  def it_has_a_rate_for_every_epoch():
    rates = np.asarray(walk()[0].rates)
    demand(
        rates.shape == (epochs,) and np.all(np.isfinite(rates)),
        f"rates must be one finite number for each of {epochs} epochs.",
    )

  def its_state_keeps_its_form():
    first, *others = walk()[1]
    for state in others:
      same_form(first, state, "The state of an optimiser")

  def all_updates_are_one_trace():
    demand(walk()[3] == 1, f"Updates were traced {walk()[3]} times.")

  def it_goes_downhill():
    before, after = map(optax.global_norm, (params, walk()[2]))
    demand(
        after < before, "An optimiser must move against the gradient."
    )

  return named(
      it_has_a_rate_for_every_epoch,
      its_state_keeps_its_form,
      all_updates_are_one_trace,
      it_goes_downhill,
  )


def check_optimiser(make: Callable[..., Any]) -> None:
  """Asks all of `optimiser_questions`, with the same argument.

  Raises:
    AssertionError: A question failed; says which one and what to mend.
  """
  ask_all(optimiser_questions(make))
