"""The rows of shared weights that a child step moves."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from enas_jax import optim, rows, steps
from enas_jax.data.text import TextBatch
from enas_jax.errors import ConfigError
from enas_jax.spaces.recurrent import Recurrent
from enas_jax.tasks.language_model import language_model
from enas_jax.types import Split, Strategy

SPACE = Recurrent(nodes=3)
NETWORK = SPACE.network(vocabulary=7, hidden=8)
ARCH = SPACE.unflatten([0, 1, 1, 3, 0, 2])
# Node 1 has 4 rows, node 2 8: activation by activation, source by source.
READ = [0 + 1, 4 + 3 * 2 + 1, 12 + 2 * 3]


def sgd(**options):
  return optim.sgd(**{
      "epochs": 1, "steps": 1, "lr": 2.0, "clip": 0.0, **options
  })


def child_steps(optimiser, length=2):
  """Parameters before and after some steps on one architecture."""
  drawn = np.random.default_rng(0).integers(0, 7, (2, 3, 5)).astype(np.int32)
  weight = np.ones((3, 5), np.float32)
  given = TextBatch(*drawn, weight, np.asarray(True), np.float32(1.0))
  train = Split((), length, lambda key: jnp.zeros((length, 1)),
                lambda arrays, row, key: given, 15, "words")
  given_arch = Strategy(
      init=lambda key: jax.tree.map(jnp.asarray, ARCH),
      ask=lambda state, key: state,
      tell=lambda state, archs, rewards: (state, {}),
  )
  task = rows.wrapped(language_model(NETWORK), NETWORK, ARCH, optimiser)
  known = {
      "task": task, "strategy": given_arch, "tx": optimiser.tx, "train": train
  }
  state = steps.init(jax.random.key(0), **known)
  before = state.params
  step = jax.jit(
      lambda state: steps.child_step(
          state, (), (), **known, progress=lambda step: 0.0
      )
  )
  for _ in range(length):
    state = step(state)
  return before, state.params


def moved(before, after):
  return np.any(before["nodes"] != after["nodes"], (1, 2))


def test_rows_are_taken_as_by_a_gather():
  table = jnp.arange(24.0).reshape(4, 2, 3)
  read = {"table": jnp.array([2, 0, 2])}
  weight = jnp.arange(18.0).reshape(3, 2, 3)
  value = lambda take: lambda table: (weight * take(table) ** 2).sum()
  expected = jax.value_and_grad(value(lambda t: t[read["table"]]))(table)
  take = lambda table: rows.take({"table": table}, read)["table"]
  found = jax.jit(jax.value_and_grad(value(take)))
  chex.assert_trees_all_close(found(table), expected)


def test_a_step_on_the_weights_in_use_is_the_step_on_all():
  before, after = child_steps(sgd(clip=0.25))
  same, expected = child_steps(sgd(clip=0.25, whole=True))
  chex.assert_trees_all_equal(before, same)
  chex.assert_trees_all_close(after, expected, atol=1e-6)
  assert np.flatnonzero(moved(before, after)).tolist() == READ


@pytest.mark.parametrize("whole", [False, True])
def test_the_setting_says_what_decay_covers(whole):
  before, after = child_steps(sgd(l2=0.1, whole=whole), length=1)
  decays = moved(before, after)
  if whole:
    assert decays.all()
  else:
    assert np.flatnonzero(decays).tolist() == READ
  _, others = child_steps(sgd(), length=1)
  decayed = jax.tree.map(lambda a, b: a - 0.4 * b, others, before)
  decayed["nodes"] = jnp.where(
      decays[:, None, None], decayed["nodes"], before["nodes"]
  )
  chex.assert_trees_all_close(after, decayed, atol=1e-6)


def test_reward_and_measure_find_their_rows_themselves():
  task = language_model(NETWORK)
  both = [
      wrapper(task, NETWORK.reads) for wrapper in (rows.in_use, rows.whole)
  ]
  drawn = np.zeros((2, 3, 5), np.int32)
  weight = np.ones((3, 5), np.float32)
  batch = TextBatch(*drawn, weight, np.asarray(True), np.float32(1.0))
  params, state = task.init(jax.random.key(0), batch, ARCH)
  used = rows.take(params, NETWORK.reads(ARCH))
  for each in both:
    chex.assert_trees_all_equal(
        task.measure(used, state, ARCH, batch),
        each.measure(params, state, ARCH, batch),
    )
    chex.assert_trees_all_equal(
        task.reward(used, state, ARCH, batch, None),
        each.reward(params, state, ARCH, batch, None),
    )


@pytest.mark.parametrize("optimiser", [
    sgd(average_after=1),
    sgd(patience=2),
    optim.Optimiser(optax.sgd(0.1, momentum=0.9), np.ones(1)),
])
def test_what_remembers_all_weights_cannot_move_rows(optimiser):
  task = language_model(NETWORK)
  with pytest.raises(ConfigError, match=r"^whole: must be True [^\n]*$"):
    rows.wrapped(task, NETWORK, ARCH, optimiser)
  whole = optimiser._replace(whole=True)
  assert rows.wrapped(task, NETWORK, ARCH, whole).moving is task.moving


def test_a_network_without_tables_is_not_wrapped():
  final = NETWORK.child
  task = language_model(final)
  averaged = sgd(average_after=1)
  assert rows.wrapped(task, final, ARCH, averaged) is task
  assert rows.wrapped(task, object(), ARCH, averaged) is task
