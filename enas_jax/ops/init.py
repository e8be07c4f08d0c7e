"""Draws the variables of a network."""

import itertools
from typing import Any

import jax
from jax.interpreters import partial_eval
import jax.numpy as jnp


def variables(network: Any, key: jax.Array, *inputs: Any) -> dict[str, Any]:
  """Returns the variables of a network, which is not run.

  flax's `lazy_init` returns the same. It also runs what the network computes of
  its weights alone, and compiles as many programs again for it.
  Where the network does more with an input than to compute, for instance prints
  it, `lazy_init` itself is called.

  Args:
    network: A flax module `(*inputs, train)`.
    key: The key, which is consumed.
    *inputs: The inputs; a jax.ShapeDtypeStruct stands for an array whose values
      no variable depends on.

  Raises:
    flax.errors.LazyInitError: A variable depends on such an array.
  """
  leaves, structure = jax.tree.flatten(inputs)
  lacking = [isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves]
  params_key, dropout_key = jax.random.split(key)
  keys = {"params": params_key, "dropout": dropout_key}

  def init(keys, arrays):
    arrays = iter(arrays)
    given = [
        next(arrays) if lacks else leaf
        for leaf, lacks in zip(leaves, lacking, strict=True)
    ]
    given = jax.tree.unflatten(structure, given)
    return network.init(keys, *given, train=True)

  shapes = [*itertools.compress(leaves, lacking)]
  program, out = jax.make_jaxpr(init, return_shape=True)(keys, shapes)
  wanted = [True] * len(program.out_avals)
  jaxpr, used = partial_eval.dce_jaxpr(program.jaxpr, wanted)
  drawn = jax.tree.leaves(keys)
  if any(used[len(drawn) :]):
    return network.lazy_init(keys, *inputs, train=True)
  drawn = itertools.compress(drawn, used)
  found = jax.core.eval_jaxpr(jaxpr, program.consts, *drawn)
  # A constant comes as JAX keeps it in a program, which is no array of its own.
  found = map(jnp.asarray, found)
  return jax.tree.unflatten(jax.tree.structure(out), found)
