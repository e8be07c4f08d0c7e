"""Optimisers and schedules against plain numpy and the reference's numbers."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from enas_jax import optim, options
from enas_jax.errors import ConfigError
from enas_jax.tasks.classification import classification

# (low, epoch, rate) of the reference's three recipes; high 0.05, 10 epochs
# doubled.
SEARCH, MACRO_FINAL, MICRO_FINAL = 5e-4, 1e-3, 1e-4


@pytest.mark.parametrize(
    "low, epoch, rate",
    [
        (SEARCH, 0, 0.05),
        (SEARCH, 1, 0.048789),
        (SEARCH, 5, 0.02525),
        (SEARCH, 9, 0.001711),
        (SEARCH, 10, 0.05),
        (SEARCH, 29, 0.000805),
        (SEARCH, 149, 0.000519),
        (SEARCH, 150, 0.05),
        (MACRO_FINAL, 306, 0.001076),
        (MACRO_FINAL, 309, 0.001005),
        (MICRO_FINAL, 9, 0.001321),
        (MICRO_FINAL, 29, 0.000407),
        (MICRO_FINAL, 629, 0.000101),
    ],
)
def test_cosine_restarts_has_the_rates_of_the_reference(low, epoch, rate):
  rates = optim.cosine_restarts(
      epochs=epoch + 1, high=0.05, low=low, first=10, factor=2
  )
  assert rates.shape == (epoch + 1,)
  np.testing.assert_allclose(rates[epoch], rate, atol=6e-7)


@pytest.mark.parametrize(
    ("epochs", "ends"),
    [
        (10, ""),
        (30, ""),
        (310, ""),
        (4, "after 10 epochs, not after 4."),
        (11, "ends amid a cycle, at 0.05"),
        (29, "after 10 or 30 epochs, not after 29."),
    ],
)
def test_a_run_that_ends_amid_a_cycle_says_so(epochs, ends):
  note = optim.nesterov(
      epochs=epochs, steps=1, lr=0.05, lr_min=0.001, lr_first=10, lr_factor=2,
      momentum=0.9, l2=0.0,
  ).note
  assert bool(note) == bool(ends)
  assert ends in note


def test_a_constant_rate_has_no_cycle_to_end_amid():
  made = optim.nesterov(
      epochs=3, steps=1, lr=0.05, lr_min=0.05, lr_first=10, lr_factor=2,
      momentum=0.9, l2=0.0,
  )
  assert made.note == ""


def test_by_epoch_is_constant_within_an_epoch_and_after_the_last():
  schedule = optim.by_epoch(np.array([3.0, 2.0, 1.0]), steps=4)
  got = [float(schedule(jnp.asarray(count))) for count in range(16)]
  assert got == [3.0] * 4 + [2.0] * 4 + [1.0] * 8


GRADS = np.array([1e-4, -1e-3, 0.02, 0.0], np.float32)


def updates(tx, params, grads):
  """What `tx` adds to `params`, for each of the gradients in turn."""
  state = tx.init(params)
  out = []
  for grad in grads:
    change, state = tx.update(grad, state, params)
    params = optax.apply_updates(params, change)
    out.append(change)
  return out


def test_reference_adam_is_tensorflows():
  rate, b1, b2, eps = 0.01, 0.3, 0.999, 1e-3
  tx = optim.reference_adam(rate, b1=b1, b2=b2, eps=eps)
  grads = [GRADS, -0.5 * GRADS, 3 * GRADS]
  got = updates(tx, {"w": jnp.zeros(4)}, [{"w": jnp.asarray(g)} for g in grads])
  m = v = np.zeros(4)
  for t, (g, change) in enumerate(zip(grads, got, strict=True), 1):
    m = b1 * m + (1 - b1) * g
    v = b2 * v + (1 - b2) * np.square(g, dtype=np.float64)
    size = rate * math.sqrt(1 - b2**t) / (1 - b1**t)
    expected = -size * m / (np.sqrt(v) + eps)
    np.testing.assert_allclose(change["w"], expected, rtol=2e-4)


def test_reference_adam_starts_with_a_larger_epsilon_than_optax():
  # eps / sqrt(1 - b2) counts in the first step; 31.6 times, which matters at
  # the controllers' eps and gradients.
  args = {"b1": 0.0, "b2": 0.999, "eps": 1e-3}
  params, grads = jnp.zeros(4), [jnp.asarray(GRADS)]
  (mine,) = updates(optim.reference_adam(1.0, **args), params, grads)
  (theirs,) = updates(optax.adam(1.0, **args), params, grads)
  size = np.abs(GRADS)
  np.testing.assert_allclose(
      mine, -GRADS / (size + 1e-3 / math.sqrt(1e-3)), rtol=1e-3
  )
  np.testing.assert_allclose(theirs, -GRADS / (size + 1e-3), rtol=1e-3)
  assert theirs[1] / mine[1] > 16


PARAMS = {
    "cell": {
        "kernel": jnp.array([1.0, -2.0]),
        "scale": jnp.array([1.5]),
        "scale_3": jnp.array([0.5]),
        "offset_5": jnp.array([-1.0]),
    },
    "aux": {"conv": {"kernel": jnp.array([3.0])}},
}
ZEROS = jax.tree.map(jnp.zeros_like, PARAMS)
ONES = jax.tree.map(jnp.ones_like, PARAMS)


def constant(rate):
  return lambda count: rate


@pytest.mark.parametrize("l2_all", [False, True])
def test_l2_has_no_half_and_spares_batch_norm_unless_told(l2_all):
  tx = optim.child(constant(0.1), momentum=0.0, l2=0.01, l2_all=l2_all)
  (change,) = updates(tx, PARAMS, [ZEROS])
  # The gradient of l2 * sum(w^2) is 2 l2 w.
  decayed = jax.tree.map(lambda w: -0.1 * 2 * 0.01 * w, PARAMS)
  if not l2_all:
    for name in ("scale", "scale_3", "offset_5"):
      decayed["cell"][name] = jnp.zeros(1)
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=0),
      change,
      decayed,
  )


def test_momentum_is_nesterovs_with_the_penalty_inside():
  rates, l2, momentum = [0.1, 0.1, 0.02], 0.05, 0.9
  tx = optim.child(
      optim.by_epoch(np.array(rates), steps=1), momentum=momentum, l2=l2
  )
  grads = [{"kernel": jnp.array([g])} for g in (1.0, -0.5, 2.0)]
  got = updates(tx, {"kernel": jnp.array([4.0])}, grads)
  w, velocity = 4.0, 0.0
  for rate, grad, change in zip(rates, grads, got, strict=True):
    g = float(grad["kernel"][0]) + 2 * l2 * w
    velocity = momentum * velocity + g
    step = -rate * (g + momentum * velocity)
    np.testing.assert_allclose(change["kernel"], [step], rtol=1e-5)
    w += step


def norm(tree):
  return float(optax.global_norm(tree))


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_the_clipped_gradient_is_the_one_applied(clip):
  # The reference computes it and applies the other one.
  tx = optim.child(constant(0.1), momentum=0.0, l2=0.01, clip=clip)
  (change,) = updates(tx, PARAMS, [ONES])
  (whole,) = updates(
      optim.child(constant(0.1), momentum=0.0, l2=0.01), PARAMS, [ONES]
  )
  assert norm(whole) > 0.1 * 2
  if clip:  # the norm is of all leaves together, the penalty among them
    np.testing.assert_allclose(norm(change), 0.1 * clip, rtol=1e-5)
  small = jax.tree.map(lambda g: 1e-3 * g, ONES)
  tx = optim.child(constant(0.1), momentum=0.0, l2=0.0, clip=clip)
  (change,) = updates(tx, PARAMS, [small])
  np.testing.assert_allclose(norm(change), 0.1 * norm(small), rtol=1e-5)


def test_freeze_leaves_exactly_that_subtree():
  kwargs = {"momentum": 0.9, "l2": 0.01, "l2_all": True}
  frozen, free = (
      updates(
          optim.child(constant(0.1), freeze=freeze, **kwargs),
          PARAMS,
          [ONES, ONES],
      )
      for freeze in ("aux", "")
  )
  for some, everything in zip(frozen, free, strict=True):
    np.testing.assert_array_equal(some["aux"]["conv"]["kernel"], [0.0])
    assert everything["aux"]["conv"]["kernel"] != 0
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6),
        some["cell"],
        everything["cell"],
    )
    assert all(np.all(leaf != 0) for leaf in jax.tree.leaves(some["cell"]))


class Segment(NamedTuple):
  share: float


def walked(optimiser, params, grads, shares, values=()):
  """The weights after each update, and what would be measured then.

  `values` are observed after the update of the same number.
  """
  tx, state = optimiser.tx, optimiser.tx.init(params)
  out = []
  for n, (grad, share) in enumerate(zip(grads, shares, strict=True)):
    change, state = tx.update(grad, state, params, batch=Segment(share))
    params = optax.apply_updates(params, change)
    out.append((params, optim.measured(params, state)))
    if n < len(values):
      state = optim.observe(state, values[n])
  return out


def test_sgd_clips_the_penalised_gradient_and_scales_by_the_share():
  params, grads = jnp.array([3.0, 4.0]), [jnp.array([0.6, -0.8])]
  for clip, scale in ((0.0, 1.0), (0.1, 0.1 / math.hypot(0.9, -0.4))):
    chain = optim.sgd(epochs=3, steps=5, lr=2.0, clip=clip, l2=0.05)
    assert chain.rates.tolist() == [2.0] * 3
    ((after, same),) = walked(chain, params, grads, [0.5])
    # 2 l2 w = (0.3, 0.4) joins the gradient before it is clipped.
    expected = params - 0.5 * 2.0 * scale * jnp.array([0.9, -0.4])
    np.testing.assert_allclose(after, expected, rtol=1e-5)
    np.testing.assert_array_equal(same, after)


def test_the_average_begins_after_its_step():
  chain = optim.sgd(epochs=1, steps=1, lr=1.0, clip=0.0, average_after=2)
  grads = [np.array(-(2.0**n), np.float32) for n in range(5)]
  seen = walked(chain, jnp.zeros(()), grads, [1.0] * 5)
  # Weights 1, 3, 7, 15, 31; the mean is of those after the second.
  assert [float(p) for p, _ in seen] == [1, 3, 7, 15, 31]
  measured = [float(m) for _, m in seen]
  np.testing.assert_allclose(measured, [1, 3, 7, 11, 53 / 3], rtol=1e-6)


@pytest.mark.parametrize("values, begins", [
    ([9, 8, 7, 6, 5, 4, 3, 2], None),  # ever better
    # 4 exceeds the least of the values before the last two, which is 3.
    ([5, 3, 6, 2, 4, 1, 1, 1], 4),
    # Too few before the last two, though it gets worse at once.
    ([1, 2, 2, 0.5, 0.5, 0.5, 0.5, 0.5], None),
])
def test_the_average_begins_when_validation_stops_improving(values, begins):
  chain = optim.sgd(epochs=1, steps=1, lr=1.0, clip=0.0, patience=2)
  grads = [np.array(-1.0, np.float32)] * 8
  seen = walked(chain, jnp.zeros(()), grads, [1.0] * 8, values)
  weights = np.arange(1.0, 9.0)
  assert [float(p) for p, _ in seen] == weights.tolist()
  # The value of number `begins` was seen after the weights of that number.
  first = 8 if begins is None else begins + 1
  expected = [
      weights[n] if n < first else weights[first : n + 1].mean()
      for n in range(8)
  ]
  np.testing.assert_allclose([float(m) for _, m in seen], expected, rtol=1e-6)


def test_what_is_observed_changes_no_other_optimiser():
  for chain in (
      optim.sgd(epochs=1, steps=1, lr=1.0, clip=0.0),
      optim.sgd(epochs=1, steps=1, lr=1.0, clip=0.0, average_after=3),
  ):
    state = chain.tx.init(jnp.zeros(2))
    assert optim.observe(state, 1.0) is state


def test_the_task_says_which_way_is_better():
  """The average begins at the same look for an accuracy as for its error."""
  chain = optim.sgd(epochs=1, steps=1, lr=1.0, clip=0.0, patience=2)
  accuracies = [0.5, 0.7, 0.4, 0.8, 0.6, 0.9]
  worth = classification(None).worth
  states = []
  for values in (
      [-worth(value) for value in accuracies],
      [1 - value for value in accuracies],
  ):
    state, begun = chain.tx.init(jnp.zeros(())), []
    for value in values:
      state = optim.observe(state, value)
      begun.append(bool(state.begun))
    states.append(begun)
  assert states[0] == states[1] == [False] * 4 + [True] * 2


@pytest.mark.parametrize("key, value", [
    ("patience", 2.5),
    ("average_after", -1),
    ("lr", 0.0),
    ("clip", -0.1),
    ("whole", 1),
])
def test_a_value_out_of_bounds_is_one_line(key, value):
  values = {"lr": 1.0, "clip": 0.1, key: value}
  with pytest.raises(ConfigError, match=rf"^{key}: must be [^\n]*$"):
    options.read(optim.sgd, values, ours=("epochs", "steps"))
