"""The body of the loop, on a task that needs no network."""

import ast
import functools
import inspect
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from enas_jax import steps
from enas_jax.spaces.micro import Micro
from enas_jax.strategies import STRATEGIES
from enas_jax.strategies.fixed import fixed
from enas_jax.types import Mean, NEVER, Split, Strategy, Task

ARCHS = 5  # M; more than the validation split has batches
TRAIN_STEPS, VALID_STEPS = 8, 3
BROKEN = 1e9  # an entry of the data at which everything is NaN


class Batch(NamedTuple):
  number: jax.Array  # which batch of the split
  value: jax.Array
  noise: jax.Array


def split(steps):
  """A fake split of one number a batch."""

  def rows(key):
    order = jnp.arange(steps)
    return order if key is None else jax.random.permutation(key, order)

  def batch(arrays, row, key):
    noise = jnp.zeros(()) if key is None else jax.random.normal(key)
    return Batch(row, arrays[row], noise)

  arrays = np.arange(steps, dtype=np.float32)
  return Split(arrays, steps, rows, batch, 1, "numbers")


def broken(batch):
  return jnp.where(batch.value == BROKEN, jnp.nan, 0.0)


def task() -> Task:
  """A weight for each of four architectures, pulled to the batch's value."""

  def init(key, batch, arch):
    assert batch.value.shape == ()
    return {"w": jax.random.normal(key, (4,))}, {"seen": jnp.zeros(4)}

  def loss(params, model_state, arch, batch, key, progress):
    drawn = jax.random.normal(key)
    pull = batch.value + batch.noise + drawn + progress
    error = (params["w"][arch] - pull) ** 2 + broken(batch)
    seen = model_state["seen"].at[arch].add(1.0)
    record = {
        "error": Mean(error, jnp.ones(())),
        "value": Mean(2 * batch.value, jnp.full((), 2.0)),
        "progress": Mean(progress * jnp.ones(()), jnp.ones(())),
        "augmented": Mean(batch.noise, jnp.ones(())),
        "drawn": Mean(drawn, jnp.ones(())),
        "asked": Mean(arch * 1.0, jnp.ones(())),
    }
    return error, ({"seen": seen}, record)

  def reward(params, model_state, arch, batch, key):
    # Says from which batch it is, and whether there was noise.
    noise = 1e-3 * jax.random.uniform(key)
    return batch.number + 100.0 * batch.noise + noise + broken(batch)

  def measure(params, model_state, arch, batch):
    raise NotImplementedError

  return Task(
      *(init, loss, reward, None, measure),
      metric="error",
      score="error",
      worth=lambda error: -error,
  )


class Asked(NamedTuple):
  told: jax.Array  # i32[], how often
  rewards: jax.Array  # f32[ARCHS], the last


def strategy() -> Strategy:
  """Draws one of four, remembers the last rewards."""

  def tell(state, archs, rewards):
    told = Asked(state.told + 1, rewards)
    return told, {"reward": rewards.mean(), "told": told.told * 1.0}

  return Strategy(
      lambda key: Asked(jnp.zeros((), jnp.int32), jnp.zeros(ARCHS)),
      lambda state, key: jax.random.randint(key, (), 0, 4),
      tell,
  )


def progress(step):
  return step / 100


class Loop:
  """Jitted steps of one set-up that count their traces."""

  def __init__(self):
    self.train, self.valid = split(TRAIN_STEPS), split(VALID_STEPS)
    self.tx = optax.sgd(0.1, momentum=0.9)
    self.parts = {"task": task(), "strategy": strategy()}
    self.traces = {"child": 0, "strategy": 0}

    @jax.jit
    def child(state, arrays, row):
      self.traces["child"] += 1
      return steps.child_step(
          state,
          arrays,
          row,
          tx=self.tx,
          train=self.train,
          progress=progress,
          **self.parts,
      )

    @jax.jit
    def strategic(state, arrays):
      self.traces["strategy"] += 1
      return steps.strategy_step(
          state, arrays, valid=self.valid, archs=ARCHS, **self.parts
      )

    self._child, self._strategic = child, strategic

  def init(self, seed=0):
    return steps.init(
        jax.random.key(seed), tx=self.tx, train=self.train, **self.parts
    )

  def child(self, state, row=0, broken=()):
    arrays = jnp.asarray(self.train.arrays)
    arrays = arrays.at[jnp.array(broken, int)].set(BROKEN)
    return self._child(state, arrays, jnp.asarray(row))

  def strategic(self, state, broken=()):
    arrays = jnp.asarray(self.valid.arrays)
    arrays = arrays.at[jnp.array(broken, int)].set(BROKEN)
    return self._strategic(state, arrays)

  def run(self, state, steps):
    """Three child steps, then one of the strategy, and again."""
    for _ in range(steps):
      step = int(state.step)
      if step % 4 == 3:
        state = self.strategic(state)
      else:
        state = self.child(state, step % TRAIN_STEPS)
    return state


@pytest.fixture(scope="module")
def loop():
  return Loop()


def test_twenty_steps_of_each_kind_are_one_trace(loop):
  state = loop.init()
  structure = jax.tree.map(lambda x: (x.shape, x.dtype), state)
  for epoch in range(4):
    for step in range(5):
      assert state.step == 10 * epoch + 2 * step
      state = loop.strategic(loop.child(state, step))
    state = steps.next_epoch(state)
  assert loop.traces == {"child": 1, "strategy": 1}
  assert structure == jax.tree.map(lambda x: (x.shape, x.dtype), state)


def test_child_step_leaves_the_strategy_alone(loop):
  before = loop.strategic(loop.init())
  after = loop.child(before)
  assert after.step == before.step + 1
  for name in ("strategy", "controller", "failed", "key"):
    chex.assert_trees_all_equal(getattr(before, name), getattr(after, name))
  # One architecture trained, once.
  assert np.sum(after.params["w"] != before.params["w"]) == 1
  assert after.model_state["seen"].sum() == 1
  assert np.any(after.opt_state[0].trace["w"] != 0)


def test_strategy_step_leaves_the_child_alone(loop):
  before = loop.child(loop.init())
  after = loop.strategic(before)
  assert after.step == before.step + 1 and after.strategy.told == 1
  for name in (
      *("params", "model_state", "opt_state"),
      *("child", "failed", "key"),
  ):
    chex.assert_trees_all_equal(getattr(before, name), getattr(after, name))


def test_every_architecture_has_a_validation_batch_of_its_own(loop):
  rewards = loop.strategic(loop.init()).strategy.rewards
  # In a drawn order, all before any comes again, and without augmentation.
  batches = np.floor(np.asarray(rewards)).astype(int)
  assert sorted(batches[:VALID_STEPS]) == list(range(VALID_STEPS))
  np.testing.assert_array_equal(batches[VALID_STEPS:], batches[:2])
  # And randomness of its own.
  assert len(np.unique(np.asarray(rewards) % 1)) == ARCHS
  orders = {
      tuple(np.floor(loop.strategic(loop.init(seed)).strategy.rewards))
      for seed in range(8)
  }
  assert len(orders) > 1


def test_the_same_batch_serves_all_architectures_of_a_step(loop):
  strategic = jax.jit(functools.partial(
      steps.strategy_step,
      valid=loop.valid,
      archs=ARCHS,
      same_batch=True,
      **loop.parts,
  ))

  def batches(seed):
    state = strategic(loop.init(seed), loop.valid.arrays)
    rewards = np.asarray(state.strategy.rewards)
    assert len(np.unique(rewards % 1)) == ARCHS  # randomness of their own
    return set(np.floor(rewards))

  drawn = [batches(seed) for seed in range(6)]
  assert all(len(batch) == 1 for batch in drawn)
  assert len(set.union(*drawn)) > 1  # not always the first


def test_a_step_is_the_same_whether_it_rewards_one_or_several_at_a_time(loop):
  def told(**how):
    step = functools.partial(
        steps.strategy_step, valid=loop.valid, archs=ARCHS, **how, **loop.parts
    )
    return jax.jit(step)(loop.init(), loop.valid.arrays).strategy.rewards

  several = functools.partial(jax.lax.map, batch_size=2)
  np.testing.assert_array_equal(told(), told(each=several))


def test_records_merge_until_the_epoch_ends(loop):
  state = start = loop.init()
  rewards, errors = [], []
  for row in (2, 5, 7):
    one = loop.child(steps.next_epoch(state), row)
    errors.append(float(one.child["error"].total))
    state = loop.strategic(loop.child(state, row))
    rewards.append(float(state.strategy.rewards.mean()))
  assert state.child["value"] == Mean(2 * (2 + 5 + 7), 2 * 3)
  # Steps 0, 2 and 4: `progress` is given the step's own number.
  np.testing.assert_allclose(state.child["progress"].total, 0.06, rtol=1e-5)
  np.testing.assert_allclose(state.child["error"].total, sum(errors), rtol=1e-5)
  mean = state.controller["reward"]
  assert mean.count == 3
  np.testing.assert_allclose(mean.total, sum(rewards), rtol=1e-5)
  assert state.controller["told"].total == 1 + 2 + 3
  for record in (start.child, start.controller):
    assert not np.any(jax.tree.leaves(record))
  empty = steps.next_epoch(state)
  chex.assert_trees_all_equal(empty.child, start.child)
  chex.assert_trees_all_equal(empty.controller, start.controller)
  chex.assert_trees_all_equal(empty.params, state.params)
  left, right = ({"a": Mean(1.0, 2.0)}, {"a": Mean(10.0, 20.0)})
  assert steps.merge(left, right) == {"a": Mean(11.0, 22.0)}


def test_failed_names_the_first_step_that_is_not_finite(loop):
  state = loop.init()
  assert state.failed == NEVER
  for row in range(5):
    state = loop.child(state, row)
    assert state.failed == NEVER
  for row in (5, 6):
    # The data are an argument of the step, not part of its program.
    state = loop.child(state, row, broken=[5, 6])
    assert state.failed == 5


def test_one_reward_that_is_not_finite_fails_the_step(loop):
  state = loop.strategic(loop.child(loop.init()), broken=[1])
  assert state.failed == 1
  assert loop.strategic(state).failed == 1


def copied(state):
  """Through the bits, as a checkpoint does."""
  raw = state._replace(key=jax.random.key_data(state.key))
  raw = jax.tree.map(lambda leaf: jnp.asarray(np.array(leaf)), raw)
  return raw._replace(key=jax.random.wrap_key_data(raw.key))


def bits(state):
  return state._replace(key=jax.random.key_data(state.key))


def test_a_resumed_run_is_the_uninterrupted_one(loop):
  whole = loop.run(loop.init(), 14)
  half = loop.run(loop.init(), 6)
  # A process that starts again has traced nothing, drawn nothing.
  resumed = Loop().run(copied(half), 8)
  chex.assert_trees_all_equal(bits(whole), bits(resumed))
  other = loop.run(loop.init(seed=1), 14)
  assert np.all(other.params["w"] != whole.params["w"])


def test_steps_differ_in_their_randomness(loop):
  state = loop.init()
  states = [state._replace(step=jnp.asarray(step)) for step in range(6)]
  for name, least in (("augmented", 6), ("drawn", 6), ("asked", 2)):
    drawn = {float(loop.child(s).child[name].total) for s in states}
    assert len(drawn) >= least, name
  rewards = {float(loop.strategic(s).strategy.rewards.sum()) for s in states}
  assert len(rewards) == len(states)
  # And the three draws of one step are not the same one.
  record = loop.child(state).child
  assert record["augmented"].total != record["drawn"].total


def test_a_fixed_architecture_stays_numpy_down_to_the_loss():
  # Only so does a network build nothing but what was chosen.
  kinds = []

  def loss(params, model_state, arch, batch, key, progress):
    kinds.append(type(arch))
    return task().loss(
        params, model_state, int(arch), batch, key, progress
    )

  chosen = np.array(2)
  parts = {
      "task": task()._replace(loss=loss),
      "strategy": fixed(chosen),
      "tx": optax.sgd(0.1),
      "train": split(TRAIN_STEPS),
  }
  state = steps.init(jax.random.key(0), arch=chosen, **parts)
  step = jax.jit(
      lambda s, row: steps.child_step(
          s, jnp.asarray(parts["train"].arrays), row, progress=progress, **parts
      )
  )
  after = step(state, 1)
  assert set(kinds) == {np.ndarray}
  assert np.flatnonzero(after.params["w"] != state.params["w"]) == [2]


def test_a_reward_or_loss_that_is_no_number_is_refused():
  loop = Loop()
  state = loop.init()
  row = jnp.zeros((), jnp.int32)
  wide = lambda *given: jnp.zeros(2)
  loop.parts["task"] = task()._replace(
      reward=wide, loss=lambda *given: (wide(), task().loss(*given)[1])
  )
  with pytest.raises(AssertionError, match="shape"):
    loop._strategic(state, loop.valid.arrays)
  with pytest.raises(AssertionError, match="shape"):
    loop._child(state, loop.train.arrays, row)


def test_the_shapes_of_a_split_on_the_host_take_no_array():
  shapes = split(TRAIN_STEPS).shapes()
  assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in shapes)
  assert shapes.value.shape == ()


def test_propose_is_one_ask_a_key():
  drawn = steps.propose(strategy(), (), jax.random.key(0), 9)
  assert drawn.shape == (9,)
  assert len(np.unique(drawn)) > 1


def test_the_loop_imports_the_types_and_nothing_else_of_the_package():
  tree = ast.parse(inspect.getsource(steps))
  ours = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      ours |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0
      ours |= {node.module}
  assert {name for name in ours if name.startswith("enas_jax")} == {
      "enas_jax.types"
  }


def planted_search(name, length, **arguments):
  """(best, late mean) reward of a search for a planted architecture."""
  space = Micro(nodes=2, index_scale=3.0, op_scale=1.5)
  planted = jnp.stack(space.unflatten([1, 4] * 8))

  def reward(params, model_state, arch, batch, key):
    return (jnp.stack(arch) == planted).mean()

  def loss(params, model_state, arch, batch, key, progress):
    return 0.0, (model_state, {})

  parts = {
      "task": Task(lambda *_: ({}, {}), loss, reward, None, None, "", "", 1),
      "strategy": STRATEGIES[name](space, **arguments),
  }
  valid = split(VALID_STEPS)
  arrays = jnp.asarray(valid.arrays)
  state = steps.init(
      jax.random.key(0), tx=optax.sgd(0.1), train=valid, **parts
  )

  @jax.jit
  def run(state):
    def step(state, _):
      state = steps.next_epoch(state)
      state = steps.strategy_step(
          state, arrays, valid=valid, archs=30, **parts
      )
      metrics = state.controller
      return state, (metrics["reward_best"].total, metrics["reward"].total)

    return jax.lax.scan(step, state, length=length)[1]

  best, mean = run(state)
  return best.max(), mean[-5:].mean()


def test_a_search_finds_the_planted_architecture_and_random_does_not():
  found, late = planted_search(
      "reinforce", 40, lr=0.06, hidden=16, init_range=0.3
  )
  lucky, chance = planted_search("random", 40)
  assert found == 1.0 > lucky
  assert late > chance + 0.3
