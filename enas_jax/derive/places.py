"""Adds up what an arch costs from what each choice costs at its place.

A cost is a number of the fixed network: its parameters, its operations, the
time that it takes. It is measured on the arch of all first choices, and on each
arch that differs from it in one choice, so that a table has what every choice
adds at its place. The cost of any other arch is then a sum, which a traced arch
has as well. It is exact where what a choice adds does not depend on others.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import codec, steps
from enas_jax.derive import cost
from enas_jax.types import Arch, SearchSpace, Size, Split, Task


class Places(NamedTuple):
  """What each choice of a space adds to m costs of the fixed network."""

  base: np.ndarray  # f64[m], of the arch of first choices
  each: np.ndarray  # f64[T, K, m], what a choice adds to that


def table(
    space: SearchSpace, measure: Callable[[Sequence[Arch]], np.ndarray]
) -> Places:
  """Returns what each choice adds, by measuring one arch for each choice.

  Args:
    space: The space.
    measure: n numpy archs -> f64[n, m], their costs.
  """
  trials, rows, columns = codec.trials(space.schedule)
  choices = jax.vmap(space.decode)(trials[: 1 + len(rows)])
  first, *others = measure(steps.listed(choices, 1 + len(rows)))
  each = np.zeros((*space.schedule.mask.shape, len(first)))
  each[rows, columns] = np.reshape(others, (-1, len(first))) - first
  return Places(first, each)


def total(places: Places, space: SearchSpace, arch: Arch) -> jax.Array:
  """Returns the costs of an arch by the table; traceable.

  They are f32[m] of jax for an arch of jax arrays, else f64[m] of numpy.
  """
  base, each = places
  if any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(arch)):
    choices = space.encode(arch)
    base, each = jnp.asarray(base, "f4"), jnp.asarray(each, "f4")
  else:
    # A program that is being traced may ask for the cost of a fixed arch.
    with jax.ensure_compile_time_eval():
      choices = np.asarray(space.encode(arch))
  return base + (choices[..., None] * each).sum((0, 1))


def sizes(task: Task, split: Split, archs: Sequence[Arch]) -> np.ndarray:
  """Returns parameters and FLOPs of n archs, f64[n, 2], without running them.

  Args:
    task: The task of the final network.
    split: Says the shapes of a batch; the FLOPs are those of one of its items.
    archs: The archs, in numpy arrays.
  """
  found = []
  for arch in archs:
    params, model_state, batch = cost.shapes(task, split, arch)
    flops = cost.one_reward(task, arch, params, model_state, batch)
    counted = {k: v for k, v in params.items() if k != "aux"}
    count = sum(leaf.size for leaf in jax.tree.leaves(counted))
    found.append((count, flops / split.items))
  return np.array(found, float)


def sized(
    space: SearchSpace, task: Task, split: Split
) -> Callable | None:
  """Returns a function of an arch that gives its size; traceable.

  None says that all archs have the same size.

  Args:
    space: A space without a `size` of its own.
    task: The task of its final network.
    split: Says the shapes of a batch.

  Raises:
    ValueError: What a choice adds to the size depends on other choices.
  """
  found = table(space, lambda archs: sizes(task, split, archs))
  for arch in drawn(space):
    own = sizes(task, split, [arch])[0]
    said = total(found, space, arch)
    for name, true, value in zip(Size._fields, own, said, strict=True):
      if not np.isclose(true, value, rtol=1e-9, atol=0):
        raise ValueError(
            f"what a choice adds to the {name} depends on others"
            f" ({' '.join(map(str, space.flatten(arch)))} has {true:,.0f}, the"
            f" sum of its choices is {value:,.0f})"
        )
  if not found.each.any():
    return None
  return lambda arch: Size(*total(found, space, arch))


def drawn(space: SearchSpace) -> list[Arch]:
  """Returns a few random archs in numpy arrays, always the same."""
  trials, rows, _ = codec.trials(space.schedule)
  random = trials[1 + len(rows) :]
  return steps.listed(jax.vmap(space.decode)(random), len(random))


def as_json(places: Places) -> dict[str, Any]:
  """Returns the table as plain data, which `of_json` reads."""
  return {name: value.tolist() for name, value in places._asdict().items()}


def of_json(content: dict[str, Any]) -> Places:
  """Returns the table of `as_json`."""
  return Places(*(np.array(content[name], float) for name in Places._fields))
