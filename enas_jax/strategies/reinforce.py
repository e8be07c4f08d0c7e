"""REINFORCE with a baseline (ENAS §2.2).

The paper's gradient estimate over M archs sampled with one policy: the
mean of grad log pi(a) (R(a) - b), followed by one step of the optimiser.

R is the reward and the weighted entropy. So the metric `baseline`, which is b,
includes the entropy; the metrics `reward` and `reward_best` do not.
"""

from collections.abc import Callable
import dataclasses
import functools
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import optax

from enas_jax import controller, optim
from enas_jax.options import Decay, NonNegative, Positive, Whole
from enas_jax.types import Head, Params, SearchSpace, Strategy


class ReinforceState(NamedTuple):
  """The policy, and all that its next update needs."""

  params: Params  # the controller's
  opt_state: Any
  baseline: jax.Array  # f32[], a moving average of R, or the last step's mean
  started: jax.Array  # bool[], whether the baseline has seen a reward


def reinforce(
    space: SearchSpace,
    *,
    lr: Positive = 3.5e-3,
    b1: Decay = 0.0,
    b2: Decay = 0.999,
    eps: Positive = 1e-3,
    hidden: Whole = 64,
    init_range: NonNegative = 0.1,
    temperature: Positive = 1.0,
    entropy_weight: NonNegative = 1e-4,
    skip_weight: NonNegative = 0.0,
    baseline_decay: Decay = 0.99,
    zero_baseline: bool = False,
    step_baseline: bool = False,
    single_entropy: bool = False,
) -> Strategy:
  """Makes a strategy of the controller.

  Args:
    space: The space, whose schedule is the controller's programme.
    lr: The learning rate of the controller's Adam, see `optim.reference_adam`.
    b1: Adam's decay of the mean.
    b2: Adam's decay of the square.
    eps: Adam's epsilon.
    hidden: E, the size of the controller's LSTM. 0: a factorised policy, whose
      choices do not depend on each other.
    init_range: The controller starts from U(-init_range, init_range).
    temperature: The divisor of the logits before the tanh of the schedule.
    entropy_weight: The weight of the entropy, which is added to the reward and
      has no gradient of its own, as in the reference.
    skip_weight: The weight in the loss of the KL between skip bits and their
      prior.
    baseline_decay: d in b <- b - (1 - d) (b - R), the moving average.
    zero_baseline: Whether the moving average starts at 0 as the reference's, so
      that the first 1 / (1 - d) samples all look good. Off: it starts at the
      first reward.
    step_baseline: Whether the baseline is the mean reward of the step in place
      of the moving average, so that `baseline_decay` and `zero_baseline` are
      not used. The mean includes the reward of each architecture itself: it
      scales the gradient by (M - 1) / M, so M must be at least 2 (Kool, van
      Hoof, Welling 2019).
    single_entropy: Whether the entropy is only -p log p of the choice that was
      drawn, as in the reference's macro and recurrent samplers (defect C4).
      Off: the exact entropy.
  """
  parts = _Reinforce(
      space,
      optim.reference_adam(lr, b1=b1, b2=b2, eps=eps),
      functools.partial(controller.init, hidden=hidden, init_range=init_range),
      temperature=temperature,
      entropy_weight=entropy_weight,
      skip_weight=skip_weight,
      baseline_decay=None if step_baseline else baseline_decay,
      zero_baseline=zero_baseline,
      single_entropy=single_entropy,
  )
  return Strategy(
      parts.init,
      parts.ask,
      parts.tell,
      parts.candidates,
      least=2 if step_baseline else 1,
  )


@dataclasses.dataclass(frozen=True, eq=False)
class _Reinforce:
  """The functions of the strategy; `reinforce` explains the fields."""

  space: SearchSpace
  tx: optax.GradientTransformation
  draw: Callable[..., Params]  # (key, schedule) -> the controller's parameters
  temperature: float
  entropy_weight: float
  skip_weight: float
  baseline_decay: float | None  # None: the step's mean is the baseline
  zero_baseline: bool
  single_entropy: bool

  def init(self, key):
    params = self.draw(key, self.space.schedule)
    return ReinforceState(
        params,
        self.tx.init(params),
        jnp.zeros(()),
        jnp.asarray(self.zero_baseline),
    )

  def ask(self, state, key):
    choices, _ = controller.sample(
        state.params, self.space.schedule, key, temperature=self.temperature
    )
    return self.space.decode(choices)

  def tell(self, state, archs, rewards):
    chex.assert_rank(rewards, 1)
    chex.assert_tree_shape_prefix(archs, rewards.shape)
    schedule = self.space.schedule
    choices = jax.vmap(self.space.encode)(archs)
    grads, (baseline, entropy, kl) = jax.grad(self.objective, has_aux=True)(
        state.params, state, choices, rewards
    )
    updates, opt_state = self.tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {
        "reward": rewards.mean(),
        "reward_best": rewards.max(),
        "baseline": baseline[0],
        "entropy": entropy,
    }
    bits = schedule.mask[schedule.head == Head.SKIP]
    if bits.size:
      skips = choices[:, schedule.head == Head.SKIP]
      metrics["skip_rate"] = skips.sum() / (len(rewards) * bits.sum())
      metrics["skip_kl"] = kl
    return ReinforceState(params, opt_state, *baseline), metrics

  def objective(self, params, state, choices, rewards):
    """Returns (loss, (baseline after the step, entropy, KL of skips))."""
    scores = jax.vmap(
        lambda c: controller.score(
            params, self.space.schedule, c, temperature=self.temperature
        )
    )(choices)
    entropy = scores.single_entropy if self.single_entropy else scores.entropy
    entropy = jax.lax.stop_gradient(entropy)
    total = rewards + self.entropy_weight * entropy
    if self.baseline_decay is None:
      baselines = total.mean()
      baseline = baselines, jnp.asarray(True)
    else:
      # As in the reference, b is updated with R first and R - b is used then.
      # That multiplies the advantage by the decay. Rewards come one by one.
      baseline, baselines = jax.lax.scan(
          self.follow, (state.baseline, state.started), total
      )
    loss = -(scores.log_prob * (total - baselines)).mean()
    kl = scores.skip_kl.mean()
    return loss + self.skip_weight * kl, (baseline, entropy.mean(), kl)

  def follow(self, baseline, total):
    """Moves the baseline by one reward; its advantage uses the result."""
    value, started = baseline
    moved = value - (1 - self.baseline_decay) * (value - total)
    value = jnp.where(started, moved, total)
    return (value, jnp.asarray(True)), value

  def candidates(self, state, key, count):
    drawn = jax.vmap(self.ask, (None, 0))(state, jax.random.split(key, count))
    first = self.space.decode(
        controller.likeliest(
            state.params, self.space.schedule, temperature=self.temperature
        )
    )
    return jax.tree.map(lambda many, one: many.at[0].set(one), drawn, first)
