"""Tries a user's own strategy and task before a search begins.

What would fail in a step, or when the search is done, fails at the start, in
one line. Nothing is computed and nothing compiled: JAX works out the shapes.
"""

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from enas_jax import registry, steps
from enas_jax.errors import ConfigError
from enas_jax.plan import Experiment
from enas_jax.types import Arch


def check_steps(config: ConfigDict, experiment: Experiment, arch: Arch) -> None:
  """Tries the steps of a search where they use a user's own parts.

  Args:
    config: of the search.
    experiment: of that config.
    arch: any of the space.

  Raises:
    ConfigError: a part fails, or returns something of another form.
  """
  key = jax.eval_shape(jax.random.key, 0)
  name = config.strategy.name
  if registry.is_own(name):
    with registry.calling("strategy.name", name):
      _strategy(name, experiment, arch, key)
  task, batch = experiment.task, experiment.train.shapes()
  name = config.task.name
  if registry.is_own(name):
    with registry.calling("task.name", name):
      params, state = jax.eval_shape(
          lambda key: task.init(key, batch, arch), key
      )
      shapes = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, arch))
      jax.eval_shape(task.reward, params, state, shapes, batch, key)


def _strategy(
    name: str, experiment: Experiment, arch: Arch, key: jax.ShapeDtypeStruct
) -> None:
  """Raises ConfigError unless a strategy keeps its form from step to step."""
  strategy, count = experiment.strategy, experiment.count
  state = jax.eval_shape(strategy.init, key)
  asked = jax.eval_shape(strategy.ask, state, key)
  _same("ask", "an arch of the space", asked, arch)
  archs = jax.eval_shape(
      lambda *given: steps.propose(strategy, *given, count), state, key
  )
  rewards = jax.ShapeDtypeStruct((count,), jnp.float32)
  told = jax.eval_shape(strategy.tell, state, archs, rewards)
  if not isinstance(told, tuple) or len(told) != 2:
    raise ConfigError(
        "strategy.name",
        f"the tell of {name!r} must return a state and a dict of numbers.",
    )
  _same("tell", "a state of the form of init's", told[0], state)


def _same(function: str, wanted: str, found: object, form: object) -> None:
  """Raises ConfigError unless two trees have the same shapes and types."""
  trees = [
      jax.tree.map(
          lambda leaf: (leaf.shape, jax.dtypes.canonicalize_dtype(leaf.dtype)),
          tree,
      )
      for tree in (found, form)
  ]
  if trees[0] != trees[1]:
    raise ConfigError(
        "strategy.name",
        f"its {function} must return {wanted}, {trees[1]!r:.200}, got"
        f" {trees[0]!r:.200}.",
    )
