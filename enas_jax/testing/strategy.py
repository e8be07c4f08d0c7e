"""Asks the questions of a strategy."""

from collections.abc import Callable
import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import steps
from enas_jax.testing.asking import ask_all, demand, named, Question, same_form
from enas_jax.types import Arch, Head, SearchSpace, Strategy


class _Rounds(NamedTuple):
  """Thirty rounds of asking and telling."""

  traces: int
  first: Any  # the state before the first round
  out: list  # (state, archs, metrics, choices bool[M, T, K]) of each round
  ask: Callable[[jax.Array], Arch]  # key -> M archs of the first state


def strategy_questions(
    make: Callable[[SearchSpace], Strategy],
    space: SearchSpace,
    *,
    archs: int = 4,
    varies: bool = True,
) -> list[Question]:
  """Returns the questions of a strategy.

  Args:
    make: Space -> the strategy.
    space: A small space.
    archs: M, the number of archs in a round.
    varies: Whether another key proposes another arch.
  """
  strategy = functools.cache(lambda: make(space))

  @functools.cache
  def rounds() -> _Rounds:
    traces = 0

    @jax.jit
    def one(state, key):
      nonlocal traces
      traces += 1
      ask_key, reward_key = jax.random.split(key)
      asked = steps.propose(strategy(), state, ask_key, archs)
      rewards = jax.random.uniform(reward_key, (archs,))
      told, metrics = strategy().tell(state, asked, rewards)
      return told, asked, metrics, jax.vmap(space.encode)(asked)

    first = state = strategy().init(jax.random.key(0))
    out = []
    for i in range(30):
      state, *rest = one(state, jax.random.fold_in(jax.random.key(1), i))
      out.append((state, *rest))
      if traces > 2:  # the failure is clear, and more traces take long
        break
    return _Rounds(traces, first, out, lambda key: one(first, key)[1])

  def thirty_asks_and_tells_are_one_trace():
    demand(
        rounds().traces == 1,
        f"init, ask and tell must be one program; {rounds().traces} traces.",
    )

  def ask_stays_inside_the_space():
    mask, head = space.schedule.mask, space.schedule.head
    single = (head != Head.NONE) & (head != Head.SKIP)
    for _, asked, _, choices in rounds().out:
      demand(
          not np.any(choices & ~mask), "ask chose what does not exist."
      )
      counts = np.sum(choices, -1)
      demand(
          np.all(counts[:, single] == 1)
          and not np.any(counts[:, head == Head.NONE]),
          "ask must choose one at every step that is no skip.",
      )
      for arch in steps.listed(asked, archs):
        space.unflatten(space.flatten(arch))  # refuses what does not exist

  def tell_keeps_the_state():
    for state, *_ in rounds().out:
      same_form(rounds().first, state, "The state that tell returns")

  def metrics_are_finite_scalars_of_the_same_names():
    names = rounds().out[0][2].keys()
    for _, _, metrics, _ in rounds().out:
      demand(
          metrics.keys() == names, "tell must always give the same metrics."
      )
      for name, value in metrics.items():
        demand(
            value.shape == () and np.isfinite(value),
            f"The metric {name!r} must be a finite scalar, it is {value}.",
        )

  def the_key_alone_decides():
    a, again, b = (rounds().ask(jax.random.key(seed)) for seed in (5, 5, 6))
    chex.assert_trees_all_equal(a, again)
    differ = jax.tree.map(lambda x, y: bool(np.any(x != y)), a, b)
    demand(
        any(jax.tree.leaves(differ)) == varies,
        "Another key must be another architecture."
        if varies
        else "Another key must be the same architecture.",
    )

  def any_number_of_archs_may_be_told():
    # Only shapes are computed because each number has a program of its own.
    first = rounds().first
    form = jax.eval_shape(lambda: first)
    for count in (1, archs + 1):
      def told(state, key, count=count):
        asked = steps.propose(strategy(), state, key, count)
        return strategy().tell(state, asked, jnp.zeros(count))[0]

      after = jax.eval_shape(told, first, jax.random.key(0))
      same_form(form, after, f"The state after {count} rewards")

  def candidates_are_as_many_as_are_wanted():
    state = rounds().out[-1][0]
    draw = jax.jit(strategy().candidates, static_argnums=2)
    found = draw(state, jax.random.key(0), 7)
    for arch in steps.listed(found, 7):
      space.unflatten(space.flatten(arch))

  return named(
      thirty_asks_and_tells_are_one_trace,
      ask_stays_inside_the_space,
      tell_keeps_the_state,
      metrics_are_finite_scalars_of_the_same_names,
      the_key_alone_decides,
      any_number_of_archs_may_be_told,
      candidates_are_as_many_as_are_wanted,
  )


def check_strategy(
    make: Callable[[SearchSpace], Strategy], space: SearchSpace, **more: Any
) -> None:
  """Asks all questions of a strategy.

  Args:
    make: Space -> the strategy.
    space: A small space.
    **more: Further arguments of `strategy_questions`.

  Raises:
    AssertionError: A question failed; says which one and what to mend.
  """
  ask_all(strategy_questions(make, space, **more))
