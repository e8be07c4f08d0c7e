"""Demands what a shared network, its archs and its final network must keep."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.testing.asking import demand, same_form, same_values
from enas_jax.testing.samples import filled, unmoved
from enas_jax.testing.supernet import carried, Supernet
from enas_jax.types import Arch, Task


def check_losses(supernet: Supernet) -> None:
  """Demands one program, different losses and a gradient of every weight."""
  losses, alive = {}, None
  for arch in supernet.random(30, seed=1):
    loss, grads = supernet.grade(arch)
    # A small space gives some of them twice.
    losses[tuple(supernet.space.flatten(arch))] = float(loss)
    some = jax.tree.map(lambda g: bool(np.any(g)), grads)
    alive = some if alive is None else jax.tree.map(max, alive, some)
  demand(
      supernet.traces == 1,
      f"All architectures must share one program; {supernet.traces} were"
      " traced. Their fields must keep shape and type, and the network must not"
      " look at their values.",
  )
  demand(np.all(np.isfinite([*losses.values()])), "A loss is not finite.")
  order = sorted(losses, key=losses.get)
  for one, other in itertools.pairwise(order):
    demand(
        losses[other] - losses[one] > 1e-6,
        f"The archs {list(one)} and {list(other)} differ, and so must their"
        " losses.",
    )
  demand(
      not unmoved(alive),
      f"No architecture moves these weights: {', '.join(unmoved(alive))}.",
  )


def check_unused(supernet: Supernet, arch: Arch) -> None:
  """Demands that the loss ignores weights with a gradient of exactly zero.

  If the gradient of a chosen branch were lost, the loss would still depend on
  its weights.
  """
  loss, grads = supernet.grade(arch)

  def idle(grad):
    # Whole matrices or rows are compared, since one weight may belong to a dead
    # unit.
    axes = tuple(range(grad.ndim))[1:][-2:]
    return np.all(np.asarray(grad) == 0, axes, keepdims=True)

  unused = jax.tree.map(idle, grads)
  demand(
      any(map(np.any, jax.tree.leaves(unused))),
      "No weight is unused; is the choice made at all?",
  )
  other = jax.tree.map(
      lambda w, u: jnp.asarray(np.where(u, 1.5 * np.asarray(w), w)),
      supernet.params,
      unused,
  )
  again, _ = supernet.grade(arch, params=other)
  np.testing.assert_allclose(
      again, loss, rtol=1e-6, err_msg="Weights without a gradient matter."
  )


def check_fixed(supernet: Supernet, arch: Arch) -> None:
  """Demands that numpy archs and jax archs have the same loss and gradient."""
  key = jax.random.key(0)
  fixed = jax.jit(lambda params: supernet.grade_of(params, arch, key))
  loss, grads = fixed(supernet.params)
  expected, expected_grads = supernet.grade(arch)
  np.testing.assert_allclose(
      loss,
      expected,
      rtol=1e-5,
      err_msg="An architecture of numpy arrays has another loss than the same"
      " one of jax arrays.",
  )
  same_values(
      grads,
      expected_grads,
      "An architecture of numpy arrays has other gradients than the same one of"
      " jax arrays.",
      atol=2e-5,
      rtol=2e-4,
  )


def check_final(supernet: Supernet, final: Task, arch: Arch) -> None:
  """Demands that the final network is the shared one, by the same weights."""
  keys = jax.random.split(jax.random.key(0))
  losses = [supernet.loss(arch, seed) for seed in range(2)]
  demand(
      losses[0] == losses[1],
      "This network has dropout, so that the shared and the final one cannot be"
      " compared: give `network` the options that turn it off.",
  )
  shapes, state = jax.eval_shape(
      lambda key: final.init(key, supernet.batch, arch), keys[0]
  )
  params = carried(supernet.params, shapes)
  state = filled(state)

  @jax.jit
  def loss_of(params, state):
    batch = supernet.batch
    return final.loss(params, state, arch, batch, keys[1], 0.5)[0]

  np.testing.assert_allclose(
      loss_of(params, state),
      losses[0],
      rtol=1e-5,
      err_msg="The final network (final=True) has another loss than the shared"
      " one with the same weights.",
  )


def check_plain(supernet: Supernet, arch: Arch) -> None:
  """Demands the same loss without jit, and a reward without randomness."""
  task, batch, state = supernet.task, supernet.batch, supernet.state
  arch = jax.tree.map(jnp.asarray, arch)
  key = jax.random.key(0)
  with jax.disable_jit():
    loss, _ = supernet.loss_of(supernet.params, arch, key)
    params = supernet.params
    rewards = {
        float(task.reward(params, state, arch, batch, key))
        for key in jax.random.split(key, 3)
    }
    again, record = task.measure(params, state, arch, batch)
  np.testing.assert_allclose(
      loss,
      supernet.loss(arch),
      rtol=1e-4,
      err_msg="The loss is another one without jit.",
  )
  demand(
      len(rewards) == 1,
      f"A child's reward must not depend on the key of its dropout: {rewards}.",
  )
  same_form(again, task.begin(state, batch), "The model state of measure")
  np.testing.assert_allclose(
      task.worth(record[task.score].value()),
      rewards.pop(),
      rtol=1e-5,
      err_msg="The reward must be the worth of the score that is measured.",
  )


def check_bfloat16(supernet: Supernet, task: Task, arch: Arch) -> None:
  """Demands that bfloat16 changes the loss, but only a little."""

  @jax.jit
  def grade(params):
    return jax.value_and_grad(supernet.loss_of, has_aux=True)(
        params, arch, jax.random.key(0), task
    )

  (loss, (state, record)), grads = grade(supernet.params)
  exact, expected = supernet.grade(arch)
  demand(loss != exact, "dtype='bfloat16' changes nothing.")
  np.testing.assert_allclose(loss, exact, rtol=0.05)
  # Weights, sums and the softmax stay as they are.
  same_form(grads, expected, "Gradients, which are float32,")
  same_form(state, supernet.state, "The model state, which is float32,")
  for leaf in (loss, *jax.tree.leaves(record)):
    demand(
        leaf.dtype == jnp.float32,
        f"Losses and sums must be float32, one is {leaf.dtype}.",
    )
  flat = [
      np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
      for tree in (grads, expected)
  ]
  off = np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1])
  # A batch norm of few pixels enlarges the rounding.
  demand(off < 0.4, f"The gradient is off by {off:.2f} of its length.")
