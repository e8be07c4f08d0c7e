"""The controller against plain numpy, and exactly where one can enumerate."""

import functools
import itertools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from enas_jax import controller
from enas_jax.spaces.micro import Micro
from enas_jax.types import Feed, Head, NO_ANCHOR, Schedule

# Wide, so that no tanh is nearly linear and no two choices nearly alike.
WIDE = 1.0
TEMPERATURE = 1.5


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def softmax(z):
  p = np.exp(z - np.max(z))
  return p / p.sum()


class Witness:
  """What the specification says in words, one float64 step at a time."""

  def __init__(self, params, temperature):
    p = {k: np.asarray(v, np.float64) for k, v in params.items()}
    self.lstm, self.start, self.v = p["lstm"], p["start"], p["attention"]
    self.w1, self.w2 = p["key_weight"], p["query_weight"]
    self.embedding = p["embedding"]
    self.op_weight, self.op_bias = p["op_weight"], p["op_bias"]
    self.temperature = temperature
    self.c = self.h = np.zeros_like(self.start)
    self.log_prob = self.entropy = self.single_entropy = 0.0

  def step(self, u):
    z = np.concatenate([u, self.h]) @ self.lstm
    i, f, o, g = np.split(z, 4)
    self.c = sigmoid(i) * np.tanh(g) + sigmoid(f) * self.c
    self.h = sigmoid(o) * np.tanh(self.c)
    return self.h

  def attend(self, keys):
    query = self.h @ self.w2
    z = np.array([self.v @ np.tanh(key + query) for key in keys])
    return z / self.temperature

  def op_logits(self):
    return (self.h @ self.op_weight + self.op_bias) / self.temperature

  def choose(self, logits, choice):
    p = softmax(np.asarray(logits))
    self.log_prob += np.log(p[choice])
    self.entropy -= np.sum(p * np.log(p))
    self.single_entropy -= p[choice] * np.log(p[choice])


# A programme of 192 architectures in which every feature of a schedule occurs.
TINY = Schedule(
    head=np.array(
        [
            *(Head.NONE, Head.OP, Head.ANCHOR, Head.SKIP),
            *(Head.SKIP, Head.OP, Head.ANCHOR, Head.SKIP),
        ],
        np.int32,
    ),
    mask=np.array(
        [
            *([0, 0, 0], [1, 1, 1], [1, 1, 0], [1, 0, 1]),
            *([0, 0, 0], [1, 0, 1], [0, 1, 1], [1, 0, 0]),
        ],
        bool,
    ),
    bias=np.array(
        [
            *([0, 0, 0], [0.3, -0.2, 0], [0, 0.5, 0], [0.2, 0, -0.4]),
            *([0, 0, 0], [0, 0, 0.7], [0, -1.5, -0.5], [0, 0, 0]),
        ],
        np.float32,
    ),
    scale=np.array([0, 2.0, 1.5, 1.0, 1.0, 0, 0, 0.8], np.float32),
    prior=np.array(
        [
            *[[0.5] * 3] * 3,
            [0.4, 0.5, 0.3],
            *[[0.5] * 3] * 3,
            [0.7, 0.5, 0.5],
        ],
        np.float32,
    ),
    kl_scale=np.array([2, 2, 2, 2, 2, 2, 2, 1], np.float32),
    # Two slots are written again; the ANCHOR step at 6 feeds its slot's old
    # content.
    write=np.array([0, 1, 2, NO_ANCHOR, NO_ANCHOR, 0, 1, NO_ANCHOR], np.int32),
    feed=np.array(
        [
            *(Feed.START, Feed.OP, Feed.ANCHOR, Feed.ANCHOR),
            *(Feed.START, Feed.OP, Feed.ANCHOR, Feed.START),
        ],
        np.int32,
    ),
    feed_scale=np.array(
        [
            *([1, 1, 1], [1, 1, 1], [0.5, 2.0, 1], [1, 1, 1]),
            *([1, 1, 1], [1, 1, 1], [1, 3.0, 0.25], [1, 1, 1]),
        ],
        np.float32,
    ),
    op_bias=np.array([0.2, -0.6, 0.4], np.float32),
    tied=False,
)
TINY_COUNT = 3 * 2 * 4 * 2 * 2 * 2


def every_choice() -> np.ndarray:
  """bool[192, T, K]."""
  per_row = []
  for head, mask in zip(TINY.head, TINY.mask, strict=True):
    exist = np.flatnonzero(mask)
    if head == Head.SKIP:
      bits = itertools.product([False, True], repeat=len(exist))
      rows = [[exist[j] for j, bit in enumerate(b) if bit] for b in bits]
    else:
      rows = [[j] for j in exist] if head != Head.NONE else [[]]
    per_row.append([np.isin(np.arange(3), row) for row in rows])
  return np.array(list(itertools.product(*per_row)))


class Factorised(Witness):
  """The same of a policy that has logits of its own for every step."""

  def __init__(self, params, temperature):
    p = {k: np.asarray(v, np.float64) for k, v in params.items()}
    self.rows, self.row = p["logits"], -1
    self.start, self.w1 = np.zeros(1), np.zeros((1, 1))
    self.embedding, self.op_bias = np.zeros((3, 1)), p["op_bias"]
    self.temperature = temperature
    self.log_prob = self.entropy = self.single_entropy = 0.0

  def step(self, u):
    self.row += 1
    return np.zeros(1)

  def attend(self, keys):
    exist = TINY.mask[self.row]
    assert len(keys) == exist.sum()
    return self.rows[self.row][exist] / self.temperature

  def op_logits(self):
    return (self.rows[self.row] + self.op_bias) / self.temperature


def witness_tiny(params, choices):
  """A `Score` as a tuple: the eight rows of TINY in words."""
  w = (Factorised if "logits" in params else Witness)(params, TEMPERATURE)
  kl = []

  def skips(z, bits, priors, half=False):
    """Independent bits; the two-way logits are (-z, z)."""
    total = 0.0
    for z_j, bit, prior in zip(z, bits, priors, strict=True):
      w.choose([-z_j, z_j], int(bit))
      z_j /= 1 + half
      off, on = softmax(np.array([-z_j, z_j]))
      total += on * np.log(on / prior) + off * np.log(off / (1 - prior))
    kl.append(total)

  picked = [np.flatnonzero(row) for row in choices]
  a0 = w.step(w.start)

  a1 = w.step(w.start)
  op = picked[1][0]
  w.choose(2.0 * np.tanh(w.op_logits()) + [0.3, -0.2, 0.0], op)

  a2 = w.step(w.embedding[op])
  anchor = picked[2][0]
  z = w.attend([a0 @ w.w1, a1 @ w.w1])
  w.choose(1.5 * np.tanh(z) + [0.0, 0.5], anchor)

  w.step([0.5 * a0, 2.0 * a1][anchor])
  z = w.attend([a0 @ w.w1, a2 @ w.w1])
  bits = choices[3][[0, 2]]
  skips(np.tanh(z) + np.array([0.2, -0.4]), bits, [0.4, 0.3])

  # A layer without earlier ones: the step runs, decides nothing, and does
  # not count in the mean of the KL.
  w.step((bits[0] * a0 + bits[1] * a2) / (1 + bits.sum()))

  a0_new = w.step(w.start)
  op = picked[5][0]
  z = w.op_logits() + np.array([0.0, 0.0, 0.7])
  w.choose(z[[0, 2]], [0, 2].index(op))

  w.step(w.embedding[op])
  anchor = picked[6][0]
  z = w.attend([a1 @ w.w1, a2 @ w.w1]) + np.array([-1.5, -0.5])
  w.choose(z, anchor - 1)

  w.step([3.0 * a1, 0.25 * a2][anchor - 1])
  z = 0.8 * np.tanh(w.attend([a0_new @ w.w1]))
  skips(z, choices[7][:1], [0.7], half=True)
  return w.log_prob, w.entropy, w.single_entropy, np.mean(kl)


REWARDS = np.random.default_rng(0).normal(size=TINY_COUNT)


@pytest.fixture(scope="module", params=[6, 0], ids=["lstm", "factorised"])
def tiny(request):
  """(parameters, all choices, scorer of so many choices).

  The scorer returns scores and the mean REINFORCE gradient, were the given
  choices all there are: sum of p (R - b) grad log p.
  """
  params = controller.init(
      jax.random.key(0), TINY, hidden=request.param, init_range=WIDE
  )
  baseline = 0.7  # any constant leaves the mean as it is

  @jax.jit
  def score(params, choices):
    def scores(params):
      return jax.vmap(
          lambda c: controller.score(params, TINY, c, temperature=TEMPERATURE)
      )(choices)

    def objective(params):
      s = scores(params)
      p = jax.lax.stop_gradient(jnp.exp(s.log_prob))
      return p @ (s.log_prob * (REWARDS - baseline)), s

    grads, s = jax.grad(objective, has_aux=True)(params)
    return s, grads

  return params, every_choice(), score


def test_every_feature_of_a_schedule_is_that_of_plain_numpy(tiny):
  params, choices, score = tiny
  scores, _ = score(params, choices)
  expected = [witness_tiny(params, c) for c in choices]
  for name, values in zip(scores._fields, np.transpose(expected), strict=True):
    np.testing.assert_allclose(
        getattr(scores, name), values, atol=2e-5, err_msg=name
    )


def test_probabilities_of_all_architectures_sum_to_one(tiny):
  params, choices, score = tiny
  assert len(np.unique(choices, axis=0)) == len(choices) == TINY_COUNT
  p = np.exp(score(params, choices)[0].log_prob)
  np.testing.assert_allclose(p.sum(), 1.0, rtol=1e-5)


def test_mean_entropy_is_that_of_the_distribution(tiny):
  # A score's entropy is of the steps along its own path; over all paths that
  # is the entropy of the policy (the chain rule).
  params, choices, score = tiny
  scores, _ = score(params, choices)
  p = np.exp(np.asarray(scores.log_prob, np.float64))
  np.testing.assert_allclose(
      p @ scores.entropy, -p @ scores.log_prob, rtol=1e-5
  )


def test_reinforce_gradient_is_that_of_the_expected_reward(tiny):
  params, choices, score = tiny
  _, grads = score(params, choices)
  params = {k: np.asarray(v, np.float64) for k, v in params.items()}

  def expected_reward(params):
    p = np.exp([witness_tiny(params, c)[0] for c in choices])
    return p @ REWARDS

  rng = np.random.default_rng(1)
  for _ in range(3):
    way = {k: rng.normal(size=v.shape) for k, v in params.items()}
    # Along one way for all parameters: the witness is slow.
    ahead, back = (
        expected_reward({k: v + h * way[k] for k, v in params.items()})
        for h in (1e-4, -1e-4)
    )
    slope = sum(np.vdot(grads[k], v) for k, v in way.items())
    np.testing.assert_allclose(slope, (ahead - back) / 2e-4, rtol=1e-3)
  for name, leaf in grads.items():
    assert np.abs(leaf).max() > 1e-4, name
    if name == "logits":  # all that exist
      assert (np.abs(leaf[TINY.mask]) > 1e-7).all()


@pytest.fixture(scope="module")
def drawn(tiny):
  """(keys, choices, scores) of 20,000 samples of the tiny programme."""
  keys = jax.random.split(jax.random.key(1), 20_000)
  choices, scores = jax.jit(jax.vmap(draw, (None, 0)))(tiny[0], keys)
  return keys, np.asarray(choices), scores


def draw(params, key):
  return controller.sample(params, TINY, key, temperature=TEMPERATURE)


def test_samples_occur_as_often_as_their_probability_says(tiny, drawn):
  params, choices, score = tiny
  code = 1 << np.arange(TINY.mask.size)
  known = choices.reshape(TINY_COUNT, -1) @ code
  found = drawn[1].reshape(len(drawn[1]), -1) @ code
  assert set(found) <= set(known)  # nothing outside the mask
  counts = np.array([(found == k).sum() for k in known])
  p = np.exp(score(params, choices)[0].log_prob)
  expected = p * len(found)
  # Rare ones together, for the chi-square's sake.
  rare = expected < 5
  counts = np.append(counts[~rare], counts[rare].sum())
  expected = np.append(expected[~rare], expected[rare].sum())
  chi2 = np.sum((counts - expected) ** 2 / expected)
  freedom = len(counts) - 1
  assert freedom > 100
  assert chi2 < freedom + 4 * math.sqrt(2 * freedom)


def test_score_of_a_sample_is_its_own(tiny, drawn):
  _, choices, scores = jax.tree.map(lambda leaf: leaf[:TINY_COUNT], drawn)
  again, _ = tiny[2](tiny[0], choices)
  chex.assert_trees_all_close(again, scores, rtol=1e-4, atol=1e-5)


def test_vmap_of_sample_is_a_loop_of_samples(tiny, drawn):
  keys, choices, scores = drawn
  one = jax.jit(draw)
  for i in range(20):
    choice, score = one(tiny[0], keys[i])
    np.testing.assert_array_equal(choices[i], choice)
    np.testing.assert_allclose(scores.log_prob[i], score.log_prob, rtol=1e-5)


MICRO_BATCH = 10


@pytest.fixture(scope="module")
def score_micro():
  """(prior, params, cells i32[10, 2, 5, 4], temperature) -> scores, gradient.

  The gradient is that of the first log-probability.
  """

  # By the emitters that users have: the tanh of those that conftest.py chooses
  # is not quite one where it saturates.
  @functools.partial(
      jax.jit,
      static_argnums=0,
      compiler_options={"xla_cpu_use_fusion_emitters": True},
  )
  def run(saturated, params, choices, temperature):
    schedule = Micro(saturated_prior=saturated).schedule

    def first(params):
      scores = jax.vmap(
          lambda c: controller.score(
              params, schedule, c, temperature=temperature
          )
      )(choices)
      return scores.log_prob[0], scores

    grads, scores = jax.grad(first, has_aux=True)(params)
    return scores, grads

  def score(saturated, params, cells, temperature=1.0):
    space = Micro(saturated_prior=saturated)
    choices = jnp.stack(
        [space.encode(space.unflatten(c.ravel().tolist())) for c in cells]
    )
    return run(saturated, params, choices, temperature)

  return score


def micro_params(saturated, init_range=0.1):
  """At the paper's size."""
  schedule = Micro(saturated_prior=saturated).schedule
  return controller.init(
      jax.random.key(0), schedule, hidden=64, init_range=init_range
  )


def random_cells():
  rng = np.random.default_rng(0)
  below = [[k + 2, 5, k + 2, 5] for k in range(5)]
  return rng.integers(0, [[below, below]] * MICRO_BATCH)


def witness_micro(params, cells, *, saturated, temperature):
  """(log-probability, entropy) of the tables of two cells, i[2, N, 4]."""
  w = Witness(params, temperature)
  # The reference squashes its bias, and ours stands beside the constant of the
  # normal cell.
  prior = np.array([0.25, 0.25, -0.25, -0.25, -0.25])
  free = np.zeros(5) if saturated else w.op_bias
  w.op_bias = w.op_bias - free
  for table, bias in zip(cells, (prior + free, free), strict=True):
    anchors, keys = [], []
    for _ in range(2):
      h = w.step(w.start)
      anchors.append(np.zeros_like(h))
      keys.append(h @ w.w1)
    for i1, op1, i2, op2 in table:
      u = w.start
      for i in (i1, i2):
        w.step(u)
        w.choose(1.10 * np.tanh(w.attend(keys)), i)
        u = anchors[i]
      for op in (op1, op2):
        w.step(u)
        w.choose(0.44 * np.tanh(w.op_logits()) + bias, op)
        u = w.embedding[op]
      h = w.step(u)
      anchors.append(h)
      keys.append(h @ w.w1)
  return w.log_prob, w.entropy


@pytest.mark.parametrize("saturated, temperature", [(False, 1.0), (True, 5.0)])
def test_micro_score_is_that_of_plain_numpy(
    score_micro, saturated, temperature
):
  params = micro_params(saturated, init_range=WIDE)
  # Away from its start, or a bias that is never read would not show.
  moved = [-9.0, -10.5] if saturated else [-0.9, 0.5]
  params["op_bias"] += jnp.array([*moved, 0.3, -0.4, 0.8])
  cells = random_cells()
  scores, _ = score_micro(saturated, params, cells, temperature)
  expected = [
      witness_micro(params, c, saturated=saturated, temperature=temperature)
      for c in cells
  ]
  log_prob, entropy = np.transpose(expected)
  np.testing.assert_allclose(scores.log_prob, log_prob, rtol=1e-5)
  np.testing.assert_allclose(scores.entropy, entropy, rtol=1e-5)
  np.testing.assert_array_equal(scores.skip_kl, 0.0)
  assert np.ptp(log_prob) > 0.1  # else the choices would hardly matter


@pytest.mark.parametrize("saturated", [False, True])
def test_initial_policy_has_the_probabilities_of_the_reference(
    score_micro, saturated
):
  params = micro_params(saturated, init_range=0.0)
  cells = np.zeros((MICRO_BATCH, 2, 5, 4), np.int32)
  for op in range(5):
    cells[op, 0, :, 1::2] = op  # all operations of the normal cell
    cells[5 + op, 1, :, 1::2] = op  # and of the reduction cell
  scores, _ = score_micro(saturated, params, cells)
  # 10 equal choices of an operation a cell, and inputs that are uniform.
  p = np.exp(np.asarray(scores.log_prob).reshape(2, 5) / 10)
  normal, reduction = p / p.sum(1, keepdims=True)
  np.testing.assert_allclose(normal, [0.3153] * 2 + [0.1232] * 3, atol=5e-5)
  np.testing.assert_allclose(reduction, [0.2543] * 2 + [0.1638] * 3, atol=5e-5)
  inputs = -2 * 2 * np.log(np.arange(2, 7)).sum()
  first = inputs + 10 * (np.log(normal[0]) + np.log(reduction[0]))
  np.testing.assert_allclose(scores.log_prob[0], first, rtol=1e-5)
  np.testing.assert_allclose(scores.entropy, 57.187, atol=5e-4)


@pytest.mark.parametrize("saturated", [False, True])
def test_only_the_saturated_prior_cannot_be_unlearnt(score_micro, saturated):
  _, grads = score_micro(saturated, micro_params(saturated), random_cells())
  bias, weight = grads["op_bias"], grads["op_weight"].T
  for leaf in [bias[:2], weight[0], weight[1]]:
    assert np.any(leaf != 0) == (not saturated)
  for leaf in [bias[2:], *weight[2:]]:
    assert np.all(leaf != 0)


@pytest.mark.parametrize("saturated", [False, True])
def test_only_the_free_prior_can_be_reversed(saturated):
  space = Micro(nodes=2, saturated_prior=saturated)
  schedule = space.schedule
  params = controller.init(
      jax.random.key(0), schedule, hidden=8, init_range=0.1
  )
  likeliest = jax.jit(lambda params: controller.likeliest(params, schedule))
  for op in range(2, 5):  # pools and the identity
    # As far as training could take a bias.
    bias = params["op_bias"] + 30.0 * (jnp.arange(5) == op)
    arch = space.decode(likeliest({**params, "op_bias": bias}))
    expected = [0, 1] if saturated else [op]
    assert np.all(np.isin(arch.normal[:, 1::2], expected))


@pytest.mark.parametrize("scale", [0.0, 5.0])
def test_the_first_preference_does_not_depend_on_the_scale(scale):
  schedule = Micro(op_scale=scale).schedule
  params = controller.init(
      jax.random.key(0), schedule, hidden=8, init_range=0.0
  )
  _, score = jax.jit(
      lambda key: controller.sample(params, schedule, key)
  )(jax.random.key(1))
  np.testing.assert_allclose(score.entropy, 57.187, atol=5e-4)


def test_init_has_the_reference_size_and_range():
  params = micro_params(False)
  assert sum(leaf.size for leaf in params.values()) == 41_733
  bias = params.pop("op_bias")
  np.testing.assert_allclose(bias, [0.44, 0.44, 0.0, 0.0, 0.0])
  for name, leaf in params.items():
    assert 0.09 < np.abs(leaf).max() <= 0.1, name
    assert np.abs(leaf.mean()) < 0.03, name


def test_without_an_initial_bias_there_is_no_bias_parameter():
  with_bias, without = (
      controller.init(jax.random.key(0), schedule, hidden=6, init_range=0.1)
      for schedule in (TINY, TINY._replace(op_bias=None))
  )
  np.testing.assert_array_equal(with_bias.pop("op_bias"), TINY.op_bias)
  chex.assert_trees_all_equal(with_bias, without)


def test_the_likeliest_choices_are_those_of_a_cold_policy():
  schedule = TINY._replace(scale=np.zeros_like(TINY.scale))  # unbounded
  for seed in range(5):
    params = controller.init(
        jax.random.key(seed), schedule, hidden=8, init_range=WIDE
    )
    cold = functools.partial(
        controller.sample, params, schedule, temperature=1e-6
    )
    # Biases and priors are not divided by the temperature, so none here.
    found = controller.likeliest(params, schedule, temperature=1e-6)
    np.testing.assert_array_equal(found, cold(jax.random.key(seed))[0])


def test_no_step_has_a_likelier_choice_than_the_likeliest():
  params = controller.init(jax.random.key(3), TINY, hidden=8, init_range=WIDE)
  first = int(np.argmax(TINY.head == Head.OP))
  found = np.asarray(controller.likeliest(params, TINY))
  drawn = jax.vmap(lambda key: controller.sample(params, TINY, key)[0])(
      jax.random.split(jax.random.key(0), 2000)
  )
  counts = np.asarray(drawn)[:, first].sum(0)
  assert found[first].argmax() == counts.argmax()
