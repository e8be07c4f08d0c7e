"""The policy over any `Schedule` (ENAS §2; reference: *_controller.py).

It is an LSTM, or a factorised one, which has logits of its own for every step.
One recurrence both samples and scores, and this file serves every space: a row
of the schedule says what a step decides, which choices it has and what it
reads.

The LSTM cell is the reference's. It has no biases and no forget bias, its gates
come in the order input, forget, output, candidate, and its state is zero at the
start of every sample.
"""

from collections.abc import Callable
import math
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.types import Head, Key, Params, Schedule

# It is finite so that the softmax of a row without choices has no NaN.
_MASKED = -1e9


class Score(NamedTuple):
  """The policy's view of one arch, in scalars."""

  log_prob: jax.Array  # log-probability of all its choices, nats
  entropy: jax.Array  # exact entropy of each step, summed over steps, nats
  single_entropy: jax.Array  # -p log p of its choices, summed over steps, nats
  skip_kl: jax.Array  # KL(skip bits || prior), summed over bits, mean of steps


def operations(schedule: Schedule) -> int:
  """Counts the operations that the schedule chooses from."""
  return int(schedule.mask[schedule.head == Head.OP].any(0).sum())


def init(
    key: Key, schedule: Schedule, *, hidden: int, init_range: float
) -> Params:
  """Draws all parameters from U(-init_range, init_range).

  The bias of the operations starts at `schedule.op_bias` instead; where that is
  None there is no such parameter.

  Args:
    key: The key, which is consumed.
    schedule: The programme of the space.
    hidden: E, the size of the LSTM and of every embedding. 0: there is no LSTM,
      and the policy is factorised: the logits of every step are parameters, and
      no choice depends on another.
    init_range: Half the width of the uniform distribution.
  """
  ops = operations(schedule)
  shapes = {
      "lstm": (2 * hidden, 4 * hidden),
      "start": (hidden,),
      "embedding": (ops, hidden),
      "op_weight": (hidden, ops),
      "key_weight": (hidden, hidden),
      "query_weight": (hidden, hidden),
      "attention": (hidden,),
  }
  if schedule.tied:
    del shapes["op_weight"]
  if not hidden:
    shapes = {"logits": schedule.mask.shape}
  # One draw serves all parameters because XLA takes half a second to compile
  # each size anew.
  ends = np.cumsum([math.prod(shape) for shape in shapes.values()])
  drawn = jax.random.uniform(
      key, (ends[-1],), minval=-init_range, maxval=init_range
  )
  params = {
      name: part.reshape(shape)
      for (name, shape), part in zip(
          shapes.items(), jnp.split(drawn, ends[:-1]), strict=True
      )
  }
  if schedule.op_bias is not None:
    params["op_bias"] = jnp.asarray(schedule.op_bias, jnp.float32)
  return params


def sample(
    params: Params,
    schedule: Schedule,
    key: Key,
    *,
    temperature: float = 1.0,
) -> tuple[jax.Array, Score]:
  """Draws the choices of one arch.

  Args:
    params: The parameters from `init`.
    schedule: The schedule; static.
    key: The key, which is consumed.
    temperature: The divisor of the raw logits before the tanh squashing.

  Returns:
    The choices bool[T, K] and their score. A row is one-hot; a SKIP row is
    multi-hot, and a NONE row is all false.
  """
  keys = jax.random.split(key, len(schedule.head))
  return _run(params, schedule, keys, _draw, temperature)


def likeliest(
    params: Params, schedule: Schedule, *, temperature: float = 1.0
) -> jax.Array:
  """Returns bool[T, K] with the likeliest choice at each step in turn."""
  steps = jnp.zeros(len(schedule.head))
  return _run(params, schedule, steps, _take, temperature)[0]


def score(
    params: Params,
    schedule: Schedule,
    choices: jax.Array,
    *,
    temperature: float = 1.0,
) -> Score:
  """Scores the choices bool[T, K] by the recurrence that `sample` runs."""
  chex.assert_shape(choices, schedule.mask.shape)
  chex.assert_type(choices, bool)
  return _run(
      params, schedule, choices, lambda given, row, z: given, temperature
  )[1]


def _draw(key: Key, row: Schedule, logits: jax.Array) -> jax.Array:
  """Draws the choice of a step, bool[K]."""
  one = jax.random.categorical(key, jnp.where(row.mask, logits, _MASKED))
  bits = jax.random.bernoulli(key, jax.nn.sigmoid(2 * logits))
  return _choice(row, one, bits)


def _take(_: jax.Array, row: Schedule, logits: jax.Array) -> jax.Array:
  """Returns the likeliest choice of a step, bool[K]."""
  one = jnp.argmax(jnp.where(row.mask, logits, _MASKED))
  return _choice(row, one, logits > 0)


def _choice(row: Schedule, one: jax.Array, bits: jax.Array) -> jax.Array:
  """Returns the choice `one`, or `bits` at a SKIP step, as bool[K]."""
  picked = jnp.where(
      row.head == Head.SKIP, bits, jnp.arange(len(bits)) == one
  )
  return picked & row.mask & (row.head != Head.NONE)


def _run(
    params: Params,
    schedule: Schedule,
    given: jax.Array,
    pick: Callable[..., jax.Array],
    temperature: float,
) -> tuple[jax.Array, Score]:
  """Decides every step; `pick(given[t], row, logits)` returns bool[K]."""
  # These have no rows.
  table = schedule._replace(op_bias=None, tied=None, free_bias=None)
  rows = jax.tree.map(jnp.asarray, table)

  def decide(row, raw, given_t):
    logits = _logits(params, row, raw, temperature, schedule.free_bias)
    choice = pick(given_t, row, logits)
    return choice, _terms(row, logits, choice)

  if "logits" in params:
    found = jax.vmap(decide)(rows, params["logits"], given)
  else:
    found = _recur(params, rows, given, decide)
  choices, terms = found
  skip_steps = np.sum((schedule.head == Head.SKIP) & schedule.mask.any(1))
  score = jax.tree.map(jnp.sum, terms)
  kl = score.skip_kl / max(skip_steps, 1)
  return choices, score._replace(skip_kl=kl)


def _recur(
    params: Params,
    rows: Schedule,
    given: jax.Array,
    decide: Callable[..., tuple],
) -> tuple[jax.Array, Score]:
  """Runs the recurrence; `decide(row, raw logits, given[t])` ends a step."""
  hidden = params["start"].shape[0]
  slots = rows.mask.shape[1]

  def step(carry, inputs):
    cell, h, u, anchors, keys = carry
    row, given_t = inputs
    cell, h = _lstm(params["lstm"], u, cell, h)
    choice, terms = decide(row, _raw(params, row, h, keys), given_t)
    # A step attends only to states written before it, so its own state is
    # written afterwards.
    u = _feed(params, row, choice, anchors)
    here = (jnp.arange(slots) == row.write)[:, None]
    anchors = jnp.where(here, h, anchors)
    keys = jnp.where(here, h @ params["key_weight"], keys)
    return (cell, h, u, anchors, keys), (choice, terms)

  zero = jnp.zeros(hidden)
  memory = jnp.zeros((slots, hidden))
  carry = (zero, zero, params["start"], memory, memory)
  return jax.lax.scan(step, carry, (rows, given))[1]


def _lstm(
    weight: jax.Array, u: jax.Array, cell: jax.Array, h: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Returns the LSTM's next (cell, h), f32[E] each."""
  i, f, o, g = jnp.split(jnp.concatenate([u, h]) @ weight, 4)
  cell = jax.nn.sigmoid(i) * jnp.tanh(g) + jax.nn.sigmoid(f) * cell
  return cell, jax.nn.sigmoid(o) * jnp.tanh(cell)


def _raw(
    params: Params, row: Schedule, h: jax.Array, keys: jax.Array
) -> jax.Array:
  """Returns the LSTM's own logits of a step's choices, f32[K]."""
  op = h @ params.get("op_weight", params["embedding"].T)
  op = jnp.pad(op, (0, keys.shape[0] - op.shape[0]))
  anchor = jnp.tanh(keys + h @ params["query_weight"]) @ params["attention"]
  return jnp.where(row.head == Head.OP, op, anchor)


def _logits(
    params: Params,
    row: Schedule,
    raw: jax.Array,
    temperature: float,
    free_bias: bool,
) -> jax.Array:
  """Returns the squashed and biased logits of a step's choices, f32[K]."""
  own = 0.0
  if "op_bias" in params:
    bias = params["op_bias"]
    bias = jnp.pad(bias, (0, raw.shape[0] - bias.shape[0]))
    own = jnp.where(row.head == Head.OP, bias, 0.0)
  z = (raw if free_bias else raw + own) / temperature
  z = jnp.where(row.scale > 0, row.scale * jnp.tanh(z), z)
  return (z + own if free_bias else z) + row.bias


def _feed(
    params: Params, row: Schedule, choice: jax.Array, anchors: jax.Array
) -> jax.Array:
  """Returns the input of the next step, f32[E].

  The mean of a subset of anchors is their sum over (1 + count), as in the
  reference's macro controller.
  """
  picked = choice[: params["embedding"].shape[0]].astype(jnp.float32)
  weights = choice * row.feed_scale
  count = jnp.where(row.head == Head.SKIP, choice.sum(), 0)
  options = jnp.stack([
      params["start"],
      picked @ params["embedding"],
      weights @ anchors / (1.0 + count),
  ])
  return options[row.feed]


def _terms(row: Schedule, logits: jax.Array, choice: jax.Array) -> Score:
  """Returns the terms that one step adds to the score.

  The reference's recurrent and macro samplers keep only one term of the
  entropy, -p log p of the choice that was drawn (defect C4);
  `single_entropy` is that term. The reference's macro sampler takes the KL of
  sigmoid(z) although it samples with sigmoid(2 z) (defect M5); `kl_scale` is 1
  or 2 for the one or the other.
  """
  log_p = jax.nn.log_softmax(jnp.where(row.mask, logits, _MASKED))
  plogp = jnp.where(row.mask, jnp.exp(log_p) * log_p, 0.0)
  picked = choice & row.mask
  one = (
      jnp.where(picked, log_p, 0.0).sum(),
      -plogp.sum(),
      -jnp.where(picked, plogp, 0.0).sum(),
  )

  def bernoulli(z):
    on, off = jax.nn.log_sigmoid(z), jax.nn.log_sigmoid(-z)
    return jnp.exp(on), on, jnp.exp(off), off

  def over_bits(values):
    return jnp.where(row.mask, values, 0.0).sum()

  p, on, q, off = bernoulli(2 * logits)
  bits = (
      over_bits(jnp.where(choice, on, off)),
      -over_bits(p * on + q * off),
      -over_bits(jnp.where(choice, p * on, q * off)),
  )
  p, on, q, off = bernoulli(row.kl_scale * logits)
  kl = p * (on - jnp.log(row.prior)) + q * (off - jnp.log1p(-row.prior))

  decides = row.head != Head.NONE
  skip = row.head == Head.SKIP
  terms = (
      jnp.where(decides, jnp.where(skip, b, o), 0.0)
      for b, o in zip(bits, one, strict=True)
  )
  return Score(*terms, jnp.where(skip, over_bits(kl), 0.0))
