"""Draws the variables of a network."""

import itertools
from typing import Any

import jax
from jax.interpreters import partial_eval


def variables(network: Any, key: jax.Array, *inputs: Any) -> dict[str, Any]:
  """Returns the variables of a network, which is not run.

  They are those of flax's `lazy_init`. That one also runs what the network
  computes of its weights alone, and compiles as many programs again for it.

  Args:
    network: A flax module `(*inputs, train)`.
    key: The key, which is consumed.
    *inputs: The inputs; a jax.ShapeDtypeStruct stands for an array whose values
      no variable depends on.

  Raises:
    ValueError: A variable depends on such an array.
  """
  leaves, structure = jax.tree.flatten(inputs)
  unknown = [isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves]

  def init(key, arrays):
    arrays = iter(arrays)
    given = [
        next(arrays) if traced else leaf
        for leaf, traced in zip(leaves, unknown, strict=True)
    ]
    params_key, dropout_key = jax.random.split(key)
    return network.init(
        {"params": params_key, "dropout": dropout_key},
        *jax.tree.unflatten(structure, given),
        train=True,
    )

  shapes = [*itertools.compress(leaves, unknown)]
  program, out = jax.make_jaxpr(init, return_shape=True)(key, shapes)
  wanted = [True] * len(program.out_avals)
  jaxpr, used = partial_eval.dce_jaxpr(program.jaxpr, wanted)
  if any(used[1:]):
    raise ValueError("a variable depends on the values of an input.")
  found = jax.core.eval_jaxpr(jaxpr, program.consts, *[key] * used[0])
  return jax.tree.unflatten(jax.tree.structure(out), found)
