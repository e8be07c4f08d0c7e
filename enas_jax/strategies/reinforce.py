"""REINFORCE with a baseline (ENAS §2.2).

The paper's gradient estimate over M architectures sampled with one policy: the
mean of grad log pi(a) (R(a) - b), followed by one step of the optimiser.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from enas_jax import controller, optim
from enas_jax.types import Head, Params, SearchSpace, Strategy


class ReinforceState(NamedTuple):
  """The policy, and what its next update needs."""

  params: Params  # the controller's
  opt_state: Any
  baseline: jax.Array  # f32[], moving average of R, or its last step's mean
  started: jax.Array  # bool[], whether the baseline has seen a reward


def reinforce(
    space: SearchSpace,
    *,
    lr: float = 3.5e-3,
    b1: float = 0.0,
    b2: float = 0.999,
    eps: float = 1e-3,
    hidden: int = 64,
    init_range: float = 0.1,
    temperature: float = 1.0,
    entropy_weight: float = 1e-4,
    skip_weight: float = 0.0,
    baseline_decay: float = 0.99,
    zero_baseline: bool = False,
    step_baseline: bool = False,
    single_entropy: bool = False,
) -> Strategy:
  """The controller as a strategy.

  Args:
    space: its schedule is the controller's programme.
    lr: learning rate of the controller's Adam, see `optim.reference_adam`.
    b1: its decay of the mean.
    b2: its decay of the square.
    eps: its epsilon.
    hidden: E.
    init_range: the controller starts from U(-init_range, init_range).
    temperature: divides the logits, before the schedule's tanh constant.
    entropy_weight: of the entropy, which acts through the reward only
      (stop-gradient), as in the reference.
    skip_weight: of the KL between skip bits and their prior, in the loss.
    baseline_decay: d in b <- b - (1 - d) (b - R).
    zero_baseline: the reference's start of the baseline at 0, so that the
      first 1 / (1 - d) samples all look good; by default it starts at the
      first reward.
    step_baseline: the mean reward of the step in place of the moving average,
      which `baseline_decay` and `zero_baseline` are of. It has every
      architecture's own reward in it, so that the estimate is smaller by
      1 / M on average (Kool, van Hoof, Welling 2019).
    single_entropy: the reference's macro and recurrent samplers add only
      -p log p of what was drawn (defect C4); off: the exact entropy.
  """
  schedule = space.schedule
  bits = schedule.mask[schedule.head == Head.SKIP]
  tx = optim.reference_adam(lr, b1=b1, b2=b2, eps=eps)

  def init(key):
    params = controller.init(
        key, schedule, hidden=hidden, init_range=init_range
    )
    return ReinforceState(
        params, tx.init(params), jnp.zeros(()), jnp.asarray(zero_baseline)
    )

  def ask(state, key):
    choices, _ = controller.sample(
        state.params, schedule, key, temperature=temperature
    )
    return space.decode(choices)

  def follow(baseline, total):
    """One reward's turn; the advantage uses the baseline after it."""
    value, started = baseline
    value = jnp.where(
        started, value - (1 - baseline_decay) * (value - total), total
    )
    return (value, jnp.asarray(True)), value

  def tell(state, archs, rewards):
    choices = jax.vmap(space.encode)(archs)

    def objective(params):
      scores = jax.vmap(
          lambda c: controller.score(
              params, schedule, c, temperature=temperature
          )
      )(choices)
      entropy = scores.single_entropy if single_entropy else scores.entropy
      entropy = jax.lax.stop_gradient(entropy)
      total = rewards + entropy_weight * entropy
      if step_baseline:
        baselines = total.mean()
        baseline = baselines, jnp.asarray(True)
      else:
        # The rewards came together, but enter the baseline one by one as in
        # the reference, each before its own advantage is taken.
        baseline, baselines = jax.lax.scan(
            follow, (state.baseline, state.started), total
        )
      loss = -(scores.log_prob * (total - baselines)).mean()
      kl = scores.skip_kl.mean()
      return loss + skip_weight * kl, (baseline, entropy.mean(), kl)

    grads, (baseline, entropy, kl) = jax.grad(objective, has_aux=True)(
        state.params
    )
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {
        "reward": rewards.mean(),
        "reward_best": rewards.max(),
        "baseline": baseline[0],
        "entropy": entropy,
    }
    if bits.size:
      skips = choices[:, schedule.head == Head.SKIP]
      metrics["skip_rate"] = skips.sum() / (len(rewards) * bits.sum())
      metrics["skip_kl"] = kl
    return ReinforceState(params, opt_state, *baseline), metrics

  def candidates(state, key, count):
    drawn = jax.vmap(ask, (None, 0))(state, jax.random.split(key, count))
    first = space.decode(
        controller.likeliest(state.params, schedule, temperature=temperature)
    )
    return jax.tree.map(lambda many, one: many.at[0].set(one), drawn, first)

  return Strategy(init, ask, tell, candidates)
