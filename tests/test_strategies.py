"""Every strategy keeps the protocol; REINFORCE is the one of the paper."""

import functools
import itertools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from enas_jax import controller, steps, testing
from enas_jax.errors import ConfigError
from enas_jax.spaces import schedule as rows
from enas_jax.spaces.micro import Micro
from enas_jax.strategies import STRATEGIES
from enas_jax.strategies.fixed import fixed
from enas_jax.types import Feed, Head

SPACE = Micro(nodes=2)
# Not what the prior of the space prefers.
PLANTED = [0, 4, 1, 2, 1, 3, 2, 4, 1, 2, 0, 3, 2, 4, 0, 2]

# What a strategy needs beside the space, by name.
ARGUMENTS = {
    # Fewer than a round brings, so that most rounds have mutants.
    "evolution": {"population": 3, "tournament": 2},
}


def questions():
  """Those of every strategy, one strategy after the other."""
  for name, strategy in STRATEGIES.items():
    for ask in testing.strategy_questions(
        functools.partial(strategy, **ARGUMENTS.get(name, {})),
        SPACE,
        varies=name != "fixed",
    ):
      yield pytest.param(ask, id=f"{name}-{ask}")


@pytest.mark.parametrize("ask", questions())
def test_every_strategy(ask):
  ask()


def test_fixed_hands_out_the_very_arrays():
  # numpy ones: a network builds only what they choose.
  arch = SPACE.unflatten(PLANTED)
  assert fixed(arch).ask((), jax.random.key(0)) is arch


def test_candidates_are_what_is_asked_for_where_a_strategy_says_nothing():
  strategy, key = STRATEGIES["random"](SPACE), jax.random.key(0)
  chex.assert_trees_all_equal(
      strategy.candidates((), key, 5), steps.propose(strategy, (), key, 5)
  )


def test_the_mean_of_a_step_needs_two_rewards():
  least = {
      step: STRATEGIES["reinforce"](SPACE, step_baseline=step).least
      for step in (False, True)
  }
  assert least == {False: 1, True: 2}


@pytest.mark.parametrize("name", STRATEGIES)
def test_rewards_that_are_not_one_an_architecture_are_refused(name):
  strategy = STRATEGIES[name](SPACE)
  state = strategy.init(jax.random.key(0))
  archs = steps.propose(STRATEGIES["random"](SPACE), (), jax.random.key(1), 4)
  with pytest.raises(AssertionError):
    strategy.tell(state, archs, jnp.zeros(3))


class Choices:
  """A space whose architectures are their choices, skips among them."""

  schedule = rows.table(
      [
          rows.row(3, write=0),
          rows.row(3, head=Head.OP, choices=3, scale=2.0, feed=Feed.OP),
          rows.row(3, write=1),
          rows.row(3, head=Head.SKIP, choices=2, scale=1.0, prior=0.3),
          rows.row(3, head=Head.ANCHOR, choices=2, scale=1.5),
      ],
      op_bias=[0.5, 0.0, -0.5],
  )

  def encode(self, arch):
    return arch

  decode = encode


def test_random_is_uniform_over_the_mask_and_skips_by_the_prior():
  strategy = STRATEGIES["random"](Choices())
  keys = jax.random.split(jax.random.key(0), 12_000)
  drawn = np.asarray(jax.jit(jax.vmap(strategy.ask, (None, 0)))((), keys))
  mask = Choices.schedule.mask
  assert not np.any(drawn & ~mask) and not np.any(drawn[:, [0, 2]])
  choices = itertools.product(range(3), (0, 1), (0, 1), range(2))
  counts, expected = [], []
  for op, bit0, bit1, anchor in choices:
    same = drawn[:, 1, op] & drawn[:, 4, anchor]
    same &= (drawn[:, 3, 0] == bit0) & (drawn[:, 3, 1] == bit1)
    counts.append(same.sum())
    skips = math.prod(0.3 if bit else 0.7 for bit in (bit0, bit1))
    expected.append(len(drawn) * skips / (3 * 2))
  assert np.sum(counts) == len(drawn)
  chi2 = np.sum((np.array(counts) - expected) ** 2 / np.array(expected))
  assert chi2 < 23 + 4 * math.sqrt(2 * 23)  # 23 degrees of freedom


REINFORCE = {
    "lr": 0.02,
    "b1": 0.5,
    "b2": 0.9,
    "eps": 1e-3,
    "hidden": 5,
    "init_range": 1.0,
    "temperature": 1.3,
    # Large, so that a gradient through the entropy would show.
    "entropy_weight": 0.7,
    "skip_weight": 0.8,
    "baseline_decay": 0.9,
}


GIVEN = np.zeros((3, 5, 3), bool)
GIVEN[np.arange(3), 1, [2, 0, 1]] = True  # operations
GIVEN[:, 3, :2] = [[0, 0], [1, 0], [1, 1]]  # skips
GIVEN[np.arange(3), 4, [0, 1, 1]] = True  # anchors


@pytest.fixture(scope="module")
def grades():
  """(params, choices) -> scores, gradients of log_prob, of skip_kl."""

  def one(params, choices):
    def terms(params):
      score = controller.score(
          params,
          Choices.schedule,
          choices,
          temperature=REINFORCE["temperature"],
      )
      return (score.log_prob, score.skip_kl), score

    grads, score = jax.jacrev(terms, has_aux=True)(params)
    return score, *grads

  return jax.jit(jax.vmap(one, (None, 0)))


@pytest.fixture(scope="module")
def tell():
  return jax.jit(STRATEGIES["reinforce"](Choices(), **REINFORCE).tell)


def test_a_step_baseline_compares_the_architectures_of_a_step(grades):
  # Without a memory every step is the gradient's, but for its scale.
  arguments = REINFORCE | {"b1": 0.0, "b2": 0.0, "skip_weight": 0.0}
  strategy = STRATEGIES["reinforce"](
      Choices(), step_baseline=True, **arguments
  )
  state = strategy.init(jax.random.key(0))
  rewards = jnp.array([1.0, -0.5, 2.0])
  score, log_prob_grads, _ = grades(state.params, GIVEN)
  tell = jax.jit(strategy.tell)
  told, metrics = tell(state, GIVEN, rewards)
  total = np.asarray(rewards + REINFORCE["entropy_weight"] * score.entropy)
  np.testing.assert_allclose(metrics["baseline"], total.mean(), rtol=1e-5)
  advantages = total - total.mean()
  for name, before in state.params.items():
    g = -np.tensordot(advantages, log_prob_grads[name], 1) / len(total)
    moved = arguments["lr"] * g / (np.abs(g) + 1e-3)
    np.testing.assert_allclose(
        told.params[name], before - moved, atol=1e-3 * arguments["lr"]
    )
  # What all of a step have in common, now or before, moves nothing.
  again, _ = tell(told, GIVEN, rewards + 5.0)
  same, _ = tell(told, GIVEN, rewards)
  chex.assert_trees_all_close(again.params, same.params, atol=1e-5)


@pytest.mark.parametrize("zero_baseline", [False, True])
def test_reinforce_is_what_one_computes_by_hand(zero_baseline, grades, tell):
  # The baseline's start is in the state alone, so one `tell` serves both.
  state = STRATEGIES["reinforce"](
      Choices(), zero_baseline=zero_baseline, **REINFORCE
  ).init(jax.random.key(0))
  d, w = REINFORCE["baseline_decay"], REINFORCE["entropy_weight"]
  baseline = 0.0 if zero_baseline else None
  params = {k: np.asarray(v, np.float64) for k, v in state.params.items()}
  mean = {k: np.zeros_like(v) for k, v in params.items()}
  square = {k: np.zeros_like(v) for k, v in params.items()}

  for t in (1, 2):
    rewards = np.array([1.0, -0.5, 2.0]) * t
    score, log_prob_grads, kl_grads = grades(state.params, GIVEN)
    state, metrics = tell(state, GIVEN, jnp.asarray(rewards, jnp.float32))

    # One reward after the other, in order; each against the baseline that
    # has already moved to it.
    advantages = []
    for reward, entropy in zip(rewards, score.entropy, strict=True):
      total = reward + w * float(entropy)
      if baseline is None:
        baseline = total
      baseline -= (1 - d) * (baseline - total)
      advantages.append(total - baseline)
    np.testing.assert_allclose(state.baseline, baseline, rtol=1e-5)
    np.testing.assert_allclose(metrics["baseline"], baseline, rtol=1e-5)
    np.testing.assert_allclose(metrics["reward"], rewards.mean(), rtol=1e-6)
    assert metrics["reward_best"] == rewards.max()
    np.testing.assert_allclose(
        metrics["entropy"], np.mean(score.entropy), rtol=1e-5
    )
    np.testing.assert_allclose(
        metrics["skip_kl"], np.mean(score.skip_kl), rtol=1e-4
    )

    rate = REINFORCE["lr"] * math.sqrt(1 - 0.9**t) / (1 - 0.5**t)
    for k in params:
      g = -np.tensordot(advantages, log_prob_grads[k], 1) / len(rewards)
      g += 0.8 * np.mean(kl_grads[k], 0)
      mean[k] = 0.5 * mean[k] + 0.5 * g
      square[k] = 0.9 * square[k] + 0.1 * g * g
      params[k] -= rate * mean[k] / (np.sqrt(square[k]) + 1e-3)
    chex.assert_trees_all_close(
        state.params, params, atol=2e-4 * REINFORCE["lr"]
    )


@pytest.mark.parametrize("space", [Choices(), Micro(nodes=1)])
def test_only_a_space_with_skips_has_their_metrics(space):
  strategy = STRATEGIES["reinforce"](space)
  state = strategy.init(jax.random.key(0))
  keys = jax.random.split(jax.random.key(1), 2)
  archs = jax.eval_shape(jax.vmap(strategy.ask, (None, 0)), state, keys)
  _, metrics = jax.eval_shape(strategy.tell, state, archs, jnp.ones(2))
  names = {"reward", "reward_best", "baseline", "entropy"}
  if Head.SKIP in space.schedule.head:
    names |= {"skip_rate", "skip_kl"}
  assert metrics.keys() == names


def test_the_single_entropy_is_what_the_reward_gets_where_asked_for(grades):
  strategy = STRATEGIES["reinforce"](
      Choices(), single_entropy=True, **REINFORCE
  )
  state = strategy.init(jax.random.key(0))
  score, _, _ = grades(state.params, GIVEN)
  _, metrics = jax.jit(strategy.tell)(state, GIVEN, jnp.zeros(len(GIVEN)))
  np.testing.assert_allclose(
      metrics["entropy"], score.single_entropy.mean(), rtol=1e-6
  )
  assert metrics["entropy"] < 0.9 * score.entropy.mean()
  assert metrics["skip_rate"] == 0.5


# 1,350 architectures each: one in a thousand of the space.
STEPS, SEEDS, LATE = 45, 3, 10
EASY = [1, 4] * 8  # one operation and input, so that the heads' share is seen


def planted_rewards(name, **arguments):
  """f32[SEEDS, STEPS, M]: agreement with a planted architecture."""
  # The paper's tanh constants keep a policy blunt: no operation gets beyond
  # .46. These allow it .8.
  space = Micro(nodes=2, index_scale=3.0, op_scale=1.5)
  strategy = STRATEGIES[name](space, **arguments)
  planted = jnp.stack(space.unflatten(EASY))

  def step(state, key):
    keys = jax.random.split(key, 30)
    archs = jax.vmap(strategy.ask, (None, 0))(state, keys)
    rewards = (jnp.stack(archs, 1) == planted).mean((1, 2, 3))
    return strategy.tell(state, archs, rewards)[0], rewards

  @jax.jit
  @jax.vmap
  def run(key):
    init_key, key = jax.random.split(key)
    state = strategy.init(init_key)
    return jax.lax.scan(step, state, jax.random.split(key, STEPS))[1]

  return np.asarray(run(jax.random.split(jax.random.key(0), SEEDS)))


def test_reinforce_finds_what_random_does_not():
  policy = planted_rewards("reinforce", lr=0.06, hidden=16, init_range=0.3)
  uniform = planted_rewards("random")
  assert np.all(policy.max((1, 2)) == 1.0)
  assert np.all(uniform.max((1, 2)) < 1.0)
  late, chance = (r[:, -LATE:].mean((1, 2)) for r in (policy, uniform))
  assert np.all(late > chance + 0.3)


def test_evolution_finds_what_random_does_not():
  found, uniform = map(planted_rewards, ("evolution", "random"))
  assert np.all(found.max((1, 2)) > uniform.max((1, 2)))
  late, chance = (r[:, -LATE:].mean((1, 2)) for r in (found, uniform))
  assert np.all(late > chance + 0.3)


def evolved(*rewards, **arguments):
  """A strategy on `Choices`, told of the three `GIVEN`, and 4,000 proposals."""
  strategy = STRATEGIES["evolution"](Choices(), **arguments)
  state = strategy.init(jax.random.key(0))
  state, metrics = jax.jit(strategy.tell)(
      state, jnp.asarray(GIVEN), jnp.asarray(rewards)
  )
  keys = jax.random.split(jax.random.key(1), 4000)
  ask = jax.jit(jax.vmap(strategy.ask, (None, 0)))
  return strategy, state, metrics, np.asarray(ask(state, keys))


def test_a_mutant_differs_in_one_choice_or_one_bit():
  _, _, metrics, drawn = evolved(0.1, 0.6, 0.2, population=3, tournament=3)
  np.testing.assert_allclose(metrics["reward_population"], 0.3, rtol=1e-6)
  parent = GIVEN[1]  # operation 0, the first skip, anchor 1
  differs = (drawn != parent).any(2)
  assert not np.any(drawn & ~Choices.schedule.mask)
  np.testing.assert_array_equal(differs.sum(1), 1)
  # Each deciding step alike, then each other choice of it alike.
  shares = {
      (1, (0, 1, 0)): 1 / 6,
      (1, (0, 0, 1)): 1 / 6,
      (3, (0, 0, 0)): 1 / 6,
      (3, (1, 1, 0)): 1 / 6,
      (4, (1, 0, 0)): 1 / 3,
  }
  for (t, choice), share in shares.items():
    found = np.mean(differs[:, t] & (drawn[:, t] == choice).all(1))
    assert abs(found - share) < 4 * math.sqrt(share / len(drawn)), (t, choice)


def test_a_tournament_is_of_a_part_of_the_population():
  _, _, _, drawn = evolved(0.1, 0.2, 0.6, population=3, tournament=2)
  # A step that the mutation left alone names the parent.
  best = (drawn[:, [1, 4]] == GIVEN[2][[1, 4]]).all((1, 2))
  worst = (drawn[:, [1, 3]] == GIVEN[0][[1, 3]]).all((1, 2))
  # Two of three without the same twice: the worst never wins, the best wins
  # two times of three. A third of its children keep these two steps, and a
  # sixth of the other's come to them.
  assert not worst.any()
  assert abs(best.mean() - (2 / 3 / 3 + 1 / 3 / 6)) < 0.03


def test_evolution_is_random_until_there_is_a_population():
  _, _, _, drawn = evolved(0.1, 0.2, 0.6, population=4, tournament=1)
  assert len(np.unique(drawn, axis=0)) == 3 * 2 * 2 * 2


def test_the_population_is_derived_from_the_fittest_first():
  strategy, state, _, _ = evolved(0.1, 0.6, 0.2, population=4, tournament=1)
  candidates = jax.jit(strategy.candidates, static_argnums=2)
  found = np.asarray(candidates(state, jax.random.key(0), 50))
  np.testing.assert_array_equal(found[:3], GIVEN[[1, 2, 0]])
  assert found.shape == (50, *GIVEN.shape[1:])
  assert not np.any(found & ~Choices.schedule.mask)
  # Behind it what is asked for next.
  assert len(np.unique(found[3:], axis=0)) > 5


def test_a_tournament_larger_than_the_population_is_refused():
  with pytest.raises(ConfigError, match=r"^tournament: 5 is"):
    STRATEGIES["evolution"](Choices(), population=4)


def test_the_oldest_makes_place():
  strategy, state, _, _ = evolved(0.6, 0.2, 0.1, population=4, tournament=1)
  more = jnp.asarray(GIVEN[:, :, ::-1])
  state, metrics = strategy.tell(state, more, jnp.array([0.7, 0.8, 0.9]))
  np.testing.assert_allclose(state.rewards, [0.8, 0.9, 0.1, 0.7])
  np.testing.assert_allclose(metrics["reward_population"], 0.625)
  assert state.born == 6
  for place, choices in enumerate((more[1], more[2], GIVEN[2], more[0])):
    np.testing.assert_array_equal(state.choices[place], choices)
