"""Regularised evolution (Real, Aggarwal, Huang, Le 2019, arXiv 1802.01548).

The best arch of a random part of the population has one mutant, which differs
from it in one decision and takes the place of the oldest arch. The strategy
learns nothing beside the population, so a policy that learns should beat it.
When the search is done, the candidates are the population itself, the fittest
first; where more are wanted, they are mutants of the fittest.
"""

import dataclasses
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.errors import ConfigError
from enas_jax.options import Count
from enas_jax.strategies.random import random
from enas_jax.types import Arch, Head, Schedule, SearchSpace, Strategy


class EvolutionState(NamedTuple):
  """The population, a ring in which a new arch takes the oldest one's place."""

  choices: jax.Array  # bool[P, T, K]
  rewards: jax.Array  # f32[P]
  born: jax.Array  # i32[], how many archs were told so far


def evolution(
    space: SearchSpace, *, population: Count = 20, tournament: Count = 5
) -> Strategy:
  """Makes a strategy that proposes mutants of the fittest archs.

  It proposes random archs until the population is full. A mutation draws one of
  the steps that decide something, each with the same probability. It then takes
  another of the step's choices, or flips one of its skip bits.

  Args:
    space: The space, whose schedule says what can be decided.
    population: P, how many of the last architectures may have mutants.
    tournament: How many of these, drawn anew each time, compete to have one.

  Raises:
    ConfigError: The tournament is larger than the population.
  """
  if tournament > population:
    raise ConfigError(
        "tournament",
        f"{tournament} is more than the population of {population}.",
    )
  parts = _Evolution(space, population, tournament)
  return Strategy(parts.init, parts.ask, parts.tell, parts.candidates)


@dataclasses.dataclass(frozen=True, eq=False)
class _Evolution:
  """The functions of the strategy; its fields are the arguments."""

  space: SearchSpace
  population: int
  tournament: int

  def init(self, key):
    del key
    return EvolutionState(
        jnp.zeros((self.population, *self.space.schedule.mask.shape), bool),
        jnp.zeros(self.population),
        jnp.zeros((), jnp.int32),
    )

  def ask(self, state, key):
    return self.space.decode(self.proposed(state, key))

  def proposed(self, state, key):
    """Returns the choices bool[T, K] of a mutant, or random ones."""
    random_key, key = jax.random.split(key)
    drawn = self.space.encode(random(self.space).ask((), random_key))
    full = state.born >= self.population
    return jnp.where(full, self.mutant(state, key), drawn)

  def mutant(self, state, key):
    """Returns the choices bool[T, K] of a mutant of a tournament's best."""
    schedule = self.space.schedule
    skip, steps = _mutable(schedule)
    part_key, step_key, choice_key = jax.random.split(key, 3)
    part = jax.random.permutation(part_key, self.population)
    part = part[: self.tournament]
    parent = state.choices[part[jnp.argmax(state.rewards[part])]]
    t = jnp.asarray(steps)[jax.random.choice(step_key, len(steps))]
    now, mask, bits = (jnp.asarray(a)[t] for a in (parent, schedule.mask, skip))
    able = mask & (bits | ~now)  # a flip may hit a bit that is set
    drawn = jax.random.categorical(
        choice_key, jnp.where(able, 0.0, -jnp.inf)
    )
    drawn = jnp.arange(len(mask)) == drawn
    return parent.at[t].set(jnp.where(bits, now ^ drawn, drawn))

  def tell(self, state, archs, rewards):
    chex.assert_rank(rewards, 1)
    chex.assert_tree_shape_prefix(archs, rewards.shape)
    choices = jax.vmap(self.space.encode)(archs)

    def join(state, one):
      place = state.born % self.population
      return EvolutionState(
          state.choices.at[place].set(one[0]),
          state.rewards.at[place].set(one[1]),
          state.born + 1,
      ), None

    # They join one by one because there may be more than the population holds.
    state, _ = jax.lax.scan(join, state, (choices, rewards))
    alive = jnp.arange(self.population) < state.born
    mean = jnp.where(alive, state.rewards, 0.0).sum() / alive.sum()
    return state, {
        "reward": rewards.mean(),
        "reward_best": rewards.max(),
        "reward_population": mean,
    }

  def candidates(self, state, key, count):
    keys = jax.random.split(key, count)
    new = jax.vmap(self.proposed, (None, 0))(state, keys)
    alive = jnp.arange(self.population) < state.born
    fitness = jnp.where(alive, state.rewards, -jnp.inf)
    order = jax.lax.top_k(fitness, min(count, self.population))[1]
    taken = alive[order][:, None, None]
    first = jnp.where(taken, state.choices[order], new[: len(order)])
    return jax.vmap(self.space.decode)(new.at[: len(order)].set(first))


def mutants(space: SearchSpace, arch: Arch) -> list[Arch]:
  """Returns all archs that one mutation makes of `arch`, in numpy arrays."""
  schedule = space.schedule
  skip, steps = _mutable(schedule)
  choices = np.asarray(space.encode(arch))
  found = []
  for t in steps:
    for k in np.flatnonzero(schedule.mask[t] & (skip[t] | ~choices[t])):
      taken = np.arange(len(choices[t])) == k
      new = choices.copy()
      new[t] = choices[t] ^ taken if skip[t] else taken
      found.append(jax.device_get(space.decode(new)))
  return found


def neighbours(space: SearchSpace) -> int:
  """Returns the number of `mutants` that every arch of the space has."""
  skip, steps = _mutable(space.schedule)
  return int((space.schedule.mask.sum(1) - ~skip)[steps].sum())


def second_neighbours(space: SearchSpace) -> int:
  """Returns the number of archs that differ from an arch in two choices."""
  skip, steps = _mutable(space.schedule)
  each = (space.schedule.mask.sum(1) - ~skip)[steps].astype(object)
  pairs = (each.sum() ** 2 - (each**2).sum()) // 2
  bits = each[skip[steps]]  # two bits of one step may both differ
  return int(pairs + (bits * (bits - 1) // 2).sum())


def _mutable(schedule: Schedule) -> tuple[np.ndarray, np.ndarray]:
  """Returns (whether each step chooses bits, the steps that can mutate).

  The first is bool[T], the second holds the numbers of steps.
  """
  # A step that has one choice and no bits cannot mutate.
  counts = schedule.mask.sum(1)
  skip = schedule.head == Head.SKIP
  one_of = (schedule.head != Head.NONE) & ~skip
  return skip, np.flatnonzero((one_of & (counts > 1)) | (skip & (counts > 0)))
