"""A small shared network and its loss, compiled once."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from enas_jax import archfile, optim, rows
from enas_jax.tasks import TASKS
from enas_jax.testing.asking import demand
from enas_jax.testing.samples import changes, filled, on_host, random_choices
from enas_jax.types import Arch, Params, SearchSpace, Task


def whole(
    make: Callable[..., Task], space: SearchSpace, network: Mapping[str, Any]
) -> Task:
  """Returns the task on a network of a space, with gradients of all weights.

  Args:
    make: Network -> task.
    space: The space.
    network: The arguments of `space.network`.
  """
  made = space.network(**network)
  arch = jax.eval_shape(space.decode, space.schedule.mask)
  every = optim.Optimiser(optax.identity(), np.ones(1), whole=True)
  return rows.wrapped(make(made), made, arch, every)


def carried(params: Params, shapes: Params) -> Params:
  """Returns the weights of a final network out of those of the shared one.

  They go by their names. Of a weight that is smaller in the final network the
  first entries of each axis are taken, as `choices.narrow` keeps them.

  Args:
    params: The weights of the shared network.
    shapes: The weights of the final network, or their shapes.

  Raises:
    AssertionError: The shared network has no weight of a name, or a smaller.
  """

  def of(path, leaf):
    name = jax.tree_util.keystr(path)
    demand(
        name in known,
        f"The final network has the weight {name}, which the shared one lacks:"
        " a layer has another name there.",
    )
    shared = known[name]
    demand(
        np.ndim(shared) == len(leaf.shape)
        and all(a >= b for a, b in zip(shared.shape, leaf.shape, strict=True)),
        f"The weight {name} is {shared.shape} in the shared network and"
        f" {leaf.shape} in the final one.",
    )
    return shared[tuple(map(slice, leaf.shape))]

  known = {
      jax.tree_util.keystr(path): leaf
      for path, leaf in jax.tree.leaves_with_path(params)
  }
  return jax.tree_util.tree_map_with_path(of, shapes)


class Supernet:
  """A small shared network; its loss and gradient are compiled once.

  Attributes:
    space: The space.
    batch: The batch on which the loss is taken.
    task: The task of the network.
    params: The weights, none of them zero.
    state: The model state, none of it zero.
    traces: How often the program was traced.
  """

  def __init__(
      self,
      space: SearchSpace,
      network: Mapping[str, Any],
      batch: Any,
      task: str = "classification",
  ):
    """Makes the network and its weights, and compiles nothing.

    Args:
      space: The space.
      network: The arguments of `space.network`.
      batch: One batch, as the task reads it.
      task: The name of the task.
    """
    self.space, self.batch = space, batch
    self.task = whole(TASKS[task], space, network)
    self.params, self.state = filled(self.shapes(self.random(1)[0]))
    self.traces = 0

    @jax.jit
    def grade(params, arch, key):
      self.traces += 1
      return self.grade_of(params, arch, key)

    self._grade = grade

  def random(self, count: int, seed: int = 0) -> list[Arch]:
    """Returns random archs in numpy arrays."""
    drawn = random_choices(self.space.schedule, count, seed)
    return [on_host(self.space.decode(choices)) for choices in drawn]

  def shapes(self, arch: Arch) -> tuple[Params, Any]:
    """Returns the shapes of (parameters, model state)."""
    return jax.eval_shape(
        lambda key: self.task.init(key, self.batch, arch), jax.random.key(0)
    )

  def loss_of(
      self, params: Params, arch: Arch, key: jax.Array, task: Task | None = None
  ) -> tuple[jax.Array, Any]:
    """Returns (loss, (model state, record)) of the task, or of another one."""
    task = task or self.task
    moved = task.moving(params, arch).params
    return task.loss(moved, self.state, arch, self.batch, key, 0.5)

  def grade_of(
      self, params: Params, arch: Arch, key: jax.Array
  ) -> tuple[jax.Array, Params]:
    """Returns (loss, gradients of all weights)."""
    (loss, _), grads = jax.value_and_grad(self.loss_of, has_aux=True)(
        params, arch, key
    )
    return loss, grads

  def grade(
      self, arch: Arch, seed: int = 0, params: Params | None = None
  ) -> tuple[jax.Array, Params]:
    """Returns `grade_of` by the one program that serves all archs."""
    arch = jax.tree.map(jnp.asarray, arch)
    params = self.params if params is None else params
    return self._grade(params, arch, jax.random.key(seed))

  def loss(self, arch: Arch, seed: int = 0) -> float:
    """Returns the loss of an arch as a number of Python."""
    return float(self.grade(arch, seed)[0])


def every_single_choice_shows(supernet: Supernet, arch: Arch) -> None:
  """Demands that every single change of a choice of `arch` changes the loss.

  Raises:
    AssertionError: A change does not; shows the changed arch.
  """
  space = supernet.space
  loss = supernet.loss(arch)
  demand(
      supernet.loss(arch) == loss,
      "The same architecture, weights and key must give the same loss.",
  )
  for other in changes(space.schedule, np.asarray(space.encode(arch))):
    changed = space.decode(other)
    lines = "\n".join(archfile.described(changed, space))
    demand(
        abs(supernet.loss(changed) - loss) > 1e-5,
        f"The loss must change with every choice. It did not with\n{lines}",
    )
