"""The recurrent space, its network and its task."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_ops_recurrent import sigmoid
from test_spaces import count

from enas_jax import controller
from enas_jax.errors import ConfigError
from enas_jax.nn import NETWORKS
from enas_jax.ops import reader, softmax
from enas_jax.options import read
from enas_jax.spaces.recurrent import OPERATIONS, Recurrent
from enas_jax.tasks import TASKS
from enas_jax.testing import TextBatch, words


def shapes(space, arch, **hparams):
  return shapes_of(space.network(vocabulary=10_000, **hparams), arch)


def shapes_of(network, arch):

  def init(key):
    state = network.start(2)
    words = jnp.zeros((2, 3), jnp.int32)
    keys = {"params": key, "dropout": key}
    return network.init(keys, words, arch, state, train=True)["params"]

  return jax.eval_shape(init, jax.random.key(0))


def preset(name):
  found = Recurrent.presets[name]
  space = Recurrent(**found.space)
  return space, space.unflatten(found.encoding)


@pytest.mark.parametrize("nodes, size", [(8, 13_680_000), (9, 16_560_000)])
def test_the_shared_network_is_the_references(nodes, size):
  space = Recurrent(nodes=nodes)
  arch = jax.tree.map(jnp.asarray, space.unflatten([0, 0] * nodes))
  assert count(shapes(space, arch, hidden=200)) == size


@pytest.mark.parametrize("name, hidden, size", [
    ("enas_lm", 800, 20_800_000),
    ("enas_lm", 850, 22_950_000),
    ("darts_lm", 850, 22_950_000),
    ("enas_2018", 748, 22_027_104),
])
def test_the_final_network_is_the_references(name, hidden, size):
  space, arch = preset(name)
  assert count(shapes(space, arch, final=True, hidden=hidden)) == size


@pytest.mark.parametrize("name, loose", [
    ("enas_lm", {7, 8}),
    ("darts_lm", {4, 6, 7, 8}),
    ("enas_2018", {3, 4, 7, 9, 10, 11}),
])
def test_the_output_is_the_mean_of_loose_ends_or_of_all(name, loose):
  space, arch = preset(name)
  last = len(arch.sources)
  ends = [(n in loose) / len(loose) for n in range(last + 1)]
  every = [0, *[1 / last] * last]
  # By default as the code of the dialect has it.
  own = ends if space.dialect == "2018" else every
  for asked, expected in ((True, ends), (False, every), (None, own)):
    network = space.network(vocabulary=10, final=True, loose=asked)
    np.testing.assert_allclose(network._mix(arch), expected, rtol=1e-6)
  assert space.network(vocabulary=10).loose is None


def test_the_dialects_number_the_activations_differently():
  integers = [0, 0, 1, 1, 2, 2, 3, 3]  # of four nodes after the first
  lm = Recurrent(nodes=4)
  assert [OPERATIONS[op] for op in lm.unflatten(integers).ops] == [
      "tanh", "tanh", "relu", "sigmoid", "identity",
  ]
  old = Recurrent(nodes=5, dialect="2018")
  arch = old.unflatten([1, *integers])
  assert [OPERATIONS[op] for op in arch.ops] == [
      "relu", "tanh", "relu", "identity", "sigmoid",
  ]
  assert old.flatten(arch) == [1, *integers]
  for space, values in ((lm, [1, *integers]), (old, integers)):
    with pytest.raises(ValueError, match="in the dialect"):
      space.unflatten(values)


@pytest.mark.parametrize("values, message", [
    ([1, 0, 0, 0], "node 1 reads node 1, which is not one of 0..0"),
    ([0, 0, 2, 0], "node 2 reads node 2, which is not one of 0..1"),
    ([0, 0, 0, 4], "node 2 has activation 4, which is not one of 0..3"),
])
def test_what_is_no_cell_is_refused(values, message):
  with pytest.raises(ValueError, match=message):
    Recurrent(nodes=2).unflatten(values)


def test_an_unknown_dialect_is_refused():
  message = r"dialect: .*'2017'\..* Choices: 2018, lm"
  with pytest.raises(ConfigError, match=message):
    read(Recurrent, {"dialect": "2017"})


def test_a_cell_has_a_node_after_the_first():
  Recurrent(nodes=1, dialect="lm")
  with pytest.raises(ConfigError, match="nodes: must be >= 2 where the first"):
    Recurrent(nodes=1, dialect="2018")


@pytest.mark.parametrize("space, size, exact, single", [
    (Recurrent(nodes=9), 41_344, 21.03, 5.75),
    (Recurrent(nodes=12, dialect="2018", scale=2.5), None, None, 7.44),
])
def test_the_controller_starts_at_the_entropies_of_the_reference(
    space, size, exact, single
):
  params = controller.init(
      jax.random.key(0), space.schedule, hidden=64, init_range=0.01
  )
  draw = functools.partial(
      controller.sample, params, space.schedule, temperature=5.0
  )
  keys = jax.random.split(jax.random.key(1), 300)
  score = jax.jit(jax.vmap(lambda key: draw(key)[1]))(keys)
  if size:
    # Operations are scored by their embedding: no layer of their own.
    assert count(params) == size
    np.testing.assert_allclose(score.entropy.mean(), exact, atol=0.01)
  np.testing.assert_allclose(score.single_entropy.mean(), single, atol=0.05)


def test_a_word_is_not_seen_before_it_is_read():
  space = Recurrent(nodes=3)
  network = space.network(vocabulary=6, hidden=4)
  arch = jax.tree.map(jnp.asarray, space.unflatten([0, 0, 1, 1, 0, 2]))
  words = jnp.array([[0, 1, 2, 3, 4]])
  state = jnp.ones((1, 4))
  params = network.init(jax.random.key(0), words, arch, state, train=False)
  read = jax.jit(
      lambda words: network.apply(params, words, arch, state, train=False)
  )
  before = read(words).features
  for at in range(5):
    after = read(words.at[0, at].set(5)).features
    changed = np.any(before != after, (0, 2))
    assert changed.tolist() == [position >= at for position in range(5)]


def test_exactly_the_chosen_weights_have_a_gradient():
  space = Recurrent(nodes=3)
  network = space.network(vocabulary=6, hidden=4)
  words, state = jnp.array([[0, 1, 2]]), jnp.ones((1, 4))
  shapes = jax.eval_shape(
      lambda: network.init(
          jax.random.key(0),
          words,
          jax.tree.map(jnp.asarray, space.unflatten([0, 0] * 3)),
          state,
          train=False,
      )
  )
  params = jax.tree.map(lambda s: jnp.full(s.shape, 0.1), shapes)

  @jax.jit
  def gradient(arch):
    def loss(params):
      reading = network.apply(params, words, arch, state, train=False)
      return jax.nn.log_softmax(reading.features)[..., 0].sum()

    return jax.grad(loss)(params)["params"]["nodes"]

  for values in ([0, 0, 1, 1, 2, 3], [0, 3, 0, 2, 1, 0], [0, 2, 1, 0, 0, 1]):
    arch = space.unflatten(values)
    got = gradient(jax.tree.map(jnp.asarray, arch))
    moved = np.any(got, (1, 2)).tolist()
    # Node by node, activation by activation, source by source.
    places = [
        (n, op, j) for n in (1, 2, 3) for op in range(4) for j in range(n)
    ]
    chosen = {(n, arch.ops[n], arch.sources[n - 1]) for n in (1, 2, 3)}
    assert moved == [place in chosen for place in places]


# The task, on a network without any weights.


class Echo:
  """Its state counts the words; its logits are given."""

  def __init__(self, logits):
    self.logits = jnp.asarray(logits, jnp.float32)
    self.child = self

  def start(self, rows):
    return jnp.zeros((rows, 1))

  def reads(self, arch):
    return {}

  def apply(self, variables, words, arch, state, *, train, rngs=None):
    del arch, rngs
    seen = state[:, None] + jnp.arange(1, words.shape[1] + 1)[None, :, None]
    logits = jnp.broadcast_to(self.logits, (*words.shape, len(self.logits)))
    weight = variables["params"]["weight"]
    states = weight * seen
    table = jnp.eye(len(self.logits))
    return reader.Reading(weight * logits, table, states, states, 3.0 * weight)


def batch(length, first):
  weight = jnp.broadcast_to(jnp.arange(4) < length, (2, 4))
  targets = jnp.array([[0, 1, 2, 2], [1, 1, 0, 2]])
  weight = weight.astype(jnp.float32)
  return TextBatch(
      targets, targets, weight, jnp.asarray(first), jnp.float32(1)
  )


LOGITS = np.log([0.5, 0.25, 0.25])
PARAMS = {"weight": jnp.ones(())}


@pytest.mark.parametrize("length", [1, 3, 4])
@pytest.mark.parametrize("first", [True, False])
def test_a_segment_is_scored_to_its_end_and_carries_its_state(length, first):
  task = TASKS["language_model"](Echo(LOGITS))
  state = {"state": jnp.full((2, 1), 10.0)}
  given = batch(length, first)
  nll = -LOGITS[np.asarray(given.targets)[:, :length]]
  total, (after, record) = task.loss(PARAMS, state, None, given, None, 0.0)
  np.testing.assert_allclose(total, nll.mean(), rtol=1e-5)
  assert record["loss"].count == 2 * length
  np.testing.assert_allclose(
      record["perplexity"].value(), np.exp(nll.mean()), rtol=1e-5
  )
  expected = length + (0 if first else 10)
  np.testing.assert_array_equal(after["state"], [[expected]] * 2)
  measured, same = task.measure(PARAMS, state, None, given)
  chex.assert_trees_all_close((measured, same), (after, record), rtol=1e-6)
  # A reward begins with nothing read, whatever the state holds.
  reward = task.reward(PARAMS, state, None, given, None)
  np.testing.assert_allclose(reward, 80 / np.exp(nll.mean()), rtol=1e-5)


def test_the_penalties_count_what_the_segment_holds():
  plain = TASKS["language_model"](Echo(LOGITS))
  full = TASKS["language_model"](
      Echo(LOGITS), activity=0.5, slowness=2.0, l2_used=0.1
  )
  state = {"state": jnp.zeros((2, 1))}
  args = (PARAMS, state, None, batch(3, True), None, 0.0)
  extra = full.loss(*args)[0] - plain.loss(*args)[0]
  # States 1, 2, 3; two steps of 1; squares 3.
  expected = 0.5 * np.mean([1, 4, 9]) + 2.0 * 1 + 0.1 * 3
  np.testing.assert_allclose(extra, expected, rtol=1e-5)


def test_the_gradient_stops_between_segments():
  task = TASKS["language_model"](Echo(LOGITS), activity=1.0)

  def total(state):
    given = batch(4, False)
    return task.loss(PARAMS, {"state": state}, None, given, None, 0.0)[0]

  assert not np.any(jax.grad(total)(jnp.ones((2, 1))))


def test_a_pass_begins_with_nothing_read():
  task = TASKS["language_model"](Echo(LOGITS))
  begun = task.begin({"state": jnp.ones((7, 1))}, batch(4, True))
  np.testing.assert_array_equal(begun["state"], np.zeros((2, 1)))


# The softmax in parts.


@pytest.mark.parametrize("entries", [1, 60, 1 << 22])
def test_a_softmax_in_parts_is_the_whole_one(entries, monkeypatch):
  monkeypatch.setattr(softmax, "_ENTRIES", entries)
  rng = np.random.default_rng(0)
  features = jnp.asarray(rng.normal(size=(3, 7, 4)), jnp.float32)
  table = jnp.asarray(rng.normal(size=(11, 4)), jnp.float32)
  targets = jnp.asarray(rng.integers(0, 11, (3, 7)))
  weight = jnp.asarray(rng.random((3, 7)) * (rng.random((3, 7)) > 0.3))
  weight = weight.astype(jnp.float32)

  def plain(features, table):
    losses = optax.softmax_cross_entropy_with_integer_labels(
        features @ table.T, targets
    )
    return 3.0 * (losses * weight).sum()

  def ours(features, table):
    return 3.0 * softmax.cross_entropy(features, table, targets, weight)

  expected = jax.value_and_grad(plain, (0, 1))(features, table)
  got = jax.value_and_grad(ours, (0, 1))(features, table)
  chex.assert_trees_all_close(got, expected, rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(
      ours(features, table), expected[0], rtol=1e-5
  )


# The LSTM.


def test_an_lstm_is_as_large_as_the_cell():
  for nodes, hidden, size in ((8, 850, 22_950_000), (6, 64, 640_000 + 65_536)):
    network = NETWORKS["lstm"](vocabulary=10_000, nodes=nodes, hidden=hidden)
    found = shapes_of(network, ())
    biases = [leaf.size for k, leaf in found.items() if k.startswith("bias")]
    np.testing.assert_allclose(count(found) - sum(biases), size, rtol=1e-3)


def test_an_lstm_is_the_one_by_hand():
  network = NETWORKS["lstm"](nodes=6, vocabulary=7, hidden=3, init_range=0.5)
  given = words().words
  carry = jax.tree.map(
      lambda zeros: zeros + jnp.arange(3.0), network.start(len(given))
  )
  params = network.init(jax.random.key(0), given, (), carry, train=False)
  reading = network.apply(params, given, (), carry, train=False)
  weights = jax.tree.map(lambda w: np.asarray(w, np.float64), params["params"])
  x = weights["embedding"][np.asarray(given)]
  for index in range(2):
    h, c = (np.asarray(leaf, np.float64) for leaf in carry[index])
    out, cells = [], []
    for at in range(given.shape[1]):
      z = x[:, at] @ weights[f"input_{index}"] + weights[f"bias_{index}"]
      z = z + h @ weights[f"state_{index}"]
      keep, write, value, read = np.split(z, 4, -1)
      c = sigmoid(keep) * c + sigmoid(write) * np.tanh(value)
      h = sigmoid(read) * np.tanh(c)
      out.append(h)
      cells.append(c)
    x, cells = np.stack(out, 1), np.stack(cells, 1)
    np.testing.assert_allclose(reading.carries[index][0], x, atol=1e-5)
    np.testing.assert_allclose(reading.carries[index][1], cells, atol=1e-5)
  np.testing.assert_allclose(reading.features, x, atol=1e-5)


def test_a_language_model_goes_on_where_it_stopped():
  network = NETWORKS["lstm"](nodes=4, vocabulary=7, hidden=8)
  task = TASKS["language_model"](network)
  whole = words(length=8)._replace(weight=jnp.ones((3, 8)))

  def part(start, stop, first):
    # What lies behind the end is read and must not count.
    weight = (jnp.arange(8) < stop - start).astype(jnp.float32)
    shift = lambda a: jnp.roll(a, -start, 1)
    return TextBatch(
        shift(whole.words),
        shift(whole.targets),
        jnp.broadcast_to(weight, (3, 8)),
        jnp.asarray(first),
        jnp.float32(1),
    )

  params, state = task.init(jax.random.key(0), whole, ())
  after, record = task.measure(params, state, (), whole)
  between, one = task.measure(params, state, (), part(0, 3, True))
  end, two = task.measure(params, between, (), part(3, 8, False))
  chex.assert_trees_all_close(end, after, atol=1e-6)
  both = one["loss"].total + two["loss"].total
  np.testing.assert_allclose(both, record["loss"].total, rtol=1e-5)


# Of the first weight of each parameter, as it was when the LSTM was a space.
FIRSTS = [-0.00745348, 0.30323973, -0.02359123, -0.31378928, -0.10418043]
FIRSTS += [0.13948769, 0.19087203]


def test_an_lstm_starts_where_it_always_did():
  network = NETWORKS["lstm"](nodes=4, vocabulary=7, hidden=8)
  given = words().words
  params = network.init(
      jax.random.key(3), given, (), network.start(len(given)), train=False
  )["params"]
  sizes = {name: leaf.shape for name, leaf in params.items()}
  assert sizes == {
      "embedding": (7, 8),
      "input_0": (8, 24),
      "state_0": (6, 24),
      "bias_0": (24,),
      "input_1": (6, 32),
      "state_1": (8, 32),
      "bias_1": (32,),
  }
  firsts = [float(params[name].ravel()[0]) for name in sizes]
  np.testing.assert_allclose(firsts, FIRSTS, rtol=1e-5)
