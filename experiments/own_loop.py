"""Trains an architecture on digits in a loop of one's own, with plain optax.

  python -m experiments.own_loop [W/arch.json]
"""

import sys

import jax
import numpy as np
import optax

import enas_jax
from enas_jax import data


def train(arch: str, steps: int = 330, filters: int = 16) -> float:
  """Trains the network of an architecture; returns its test accuracy."""
  source = data.load("digits")
  images, labels = source.train()
  images = images / 255.0 - 0.5
  net = enas_jax.network(arch, classes=10, cells=1, filters=filters)
  # Draws parameters as `init` does, without running the network.
  variables = net.lazy_init(jax.random.key(0), images[:1], train=False)
  rate = optax.cosine_decay_schedule(0.05, steps)
  tx = optax.sgd(rate, 0.9, nesterov=True)
  opt_state = tx.init(variables["params"])

  @jax.jit
  def step(variables, opt_state, images, labels, key):
    def loss(params):
      logits, moved = net.apply(
          {**variables, "params": params},
          images,
          train=True,
          rngs={"dropout": key},
          mutable=["averages"],  # of batch norm
      )
      each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
      return each.mean(), moved

    grads, moved = jax.grad(loss, has_aux=True)(variables["params"])
    updates, opt_state = tx.update(grads, opt_state)
    params = optax.apply_updates(variables["params"], updates)
    return {"params": params, **moved}, opt_state

  rng = np.random.default_rng(0)
  for n in range(steps):
    rows = rng.integers(len(images), size=64)
    variables, opt_state = step(
        variables, opt_state, images[rows], labels[rows], jax.random.key(n)
    )
  images, labels = source.test()
  logits = net.apply(variables, images / 255.0 - 0.5, train=False)
  return float((logits.argmax(1) == labels).mean())


if __name__ == "__main__":
  arch = sys.argv[1] if len(sys.argv) > 1 else "digits_micro"
  print(f"test accuracy {train(arch):.2%}")
