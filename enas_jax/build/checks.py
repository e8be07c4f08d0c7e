"""Checks a space that is not the house's before anything is written.

What would end a search late, or make it wrong in silence, ends it now: the
conversions of an arch are tried, and a step is traced.
"""

import pathlib
import sys
import traceback
from typing import Any

from flax import errors as flax_errors
from flax import linen as nn
from flax.core import tracers
import jax
import jax.numpy as jnp
import numpy as np

import enas_jax
from enas_jax import archfile
from enas_jax.derive import cost
from enas_jax.errors import ConfigError, one_line
from enas_jax.report import drawing
from enas_jax.spaces.base import Space
from enas_jax.spaces.choices import kept, Misuse
from enas_jax.types import Arch, SearchSpace, Split, Task

_HOUSE = pathlib.Path(enas_jax.__file__).parent
_TRACED = (
    "a choice is a traced number in a search. Write choices.apply for layers,"
    " choices.number for a number, choices.narrow for a width."
)
_OUTSIDE = (
    "a branch, or a function given to jax, calls a flax module that was made"
    " outside of it. Give choices.apply the module itself, or make it in the"
    " branch."
)
_HINTS = {
    (
        jax.errors.ConcretizationTypeError,  # and of bools and integers
        jax.errors.TracerArrayConversionError,
        jax.errors.TracerIntegerConversionError,
    ): _TRACED,
    (jax.errors.UnexpectedTracerError, flax_errors.JaxTransformError): _OUTSIDE,
    (
        flax_errors.ScopeCollectionNotFound,
        flax_errors.ScopeParamNotFoundError,
    ): (
        "there are no weights, as of a branch that did not run at first. Write"
        " choices.apply, which makes those of every branch."
    ),
}


def members(name: str, of: Any) -> None:
  """Raises ConfigError where the class of a space lacks a member."""
  wanted = set(dir(Space)) | {"schedule", "module"}
  lacking = sorted(
      each
      for each in wanted
      if not each.startswith("_") and not hasattr(of, each)
  )
  # A dataclass keeps no attribute of a field without a default.
  fields = getattr(of, "__dataclass_fields__", {})
  if lacking := [each for each in lacking if each not in fields]:
    raise ConfigError(
        "space.name",
        f"{name!r} lacks {', '.join(lacking)}. Inherit"
        " enas_jax.spaces.base.Space, which has all but schedule, decode and"
        " module; or declare the space with enas_jax.spaces.choices.",
    )


def own(space: SearchSpace) -> bool:
  """Says whether a space is the user's, and no space of the house."""
  return not type(space).__module__.startswith("enas_jax.")


def conversions(space: SearchSpace, arch: Arch) -> None:
  """Raises ConfigError unless an arch of the space can be told and drawn.

  Args:
    space: A space of the user's.
    arch: Any arch of it, in numpy arrays.
  """
  for leaf in jax.tree.leaves(arch):
    if leaf.dtype != jnp.int32:
      raise ConfigError(
          "space.name",
          f"decode must make arrays of int32, and made {leaf.dtype}: write"
          " .astype(jnp.int32).",
      )
  try:
    again = space.unflatten(space.flatten(arch))
    archfile.described(again, space)
    drawing.svg(space.graphs(again))
  except Exception as error:  # of the user's code
    raise ConfigError(
        "space.name", f"{_place(error)}{one_line(error)}"
    ) from error
  pairs = zip(jax.tree.leaves(again), jax.tree.leaves(arch), strict=True)
  if not all(np.array_equal(one, other) for one, other in pairs):
    raise ConfigError(
        "space.name", "unflatten does not make again what flatten wrote."
    )


def steps(task: Task, train: Split, arch: Arch, shared: bool) -> None:
  """Traces a child step and a reward.

  Args:
    task: The task of a network of the user's.
    train: The split that the batch is of.
    arch: Any arch in numpy arrays.
    shared: Whether the network is the shared one of a search.

  Raises:
    ConfigError: The network does not do what a search needs, and it is known
      what to write instead. Any other error of the user's code goes through.
  """
  given = jax.tree.map(jnp.asarray, arch) if shared else arch

  def graded(params, model_state, arch, batch, key):
    def loss(moved):
      return task.loss(moved, model_state, arch, batch, key, 0.0)

    moved = task.moving(params, arch).params
    return (
        jax.value_and_grad(loss, has_aux=True)(moved),
        task.reward(params, model_state, arch, batch, key),
    )

  def called(call, args, kwargs, context):
    # flax no longer checks this itself (flax.core.tracers.check_trace_level).
    scope = context.module.scope
    if scope is not None and scope.trace_level != tracers.current_trace():
      raise Misuse(_OUTSIDE)
    return call(*args, **kwargs)

  try:
    with nn.intercept_methods(called):
      _trace(task, train, given, graded, shared)
  except Exception as error:
    words = _known(error)
    if words is None:
      raise
    raise ConfigError("space.name", f"{_place(error)}{words}") from error


def _trace(task, train, arch, graded, shared) -> None:
  """Traces `graded`, with the arch as it is in a search or in a training."""
  key = jax.eval_shape(lambda: jax.random.key(0))
  params, state, batch = cost.shapes(task, train, arch)
  averages = sorted({"batch_stats", "averages"} & set(state))
  if shared and averages:
    raise Misuse(kept("the network", averages))
  if shared:
    jax.eval_shape(graded, params, state, arch, batch, key)
    return
  whole = lambda params, state, batch, key: graded(
      params, state, arch, batch, key
  )
  jax.eval_shape(whole, params, state, batch, key)


def _known(error: Exception) -> str | None:
  """Returns what to write instead, where that is known."""
  if isinstance(error, Misuse):
    return str(error)
  of_choice = isinstance(error, TypeError) and any(
      word in str(error) for word in ("Tracer", "Choice")
  )
  for kinds, words in _HINTS.items():
    if isinstance(error, kinds) or (of_choice and words is _TRACED):
      return f"{type(error).__name__}: {words}"
  return None


def _place(error: Exception) -> str:
  """Returns "file:line: " of the last line of the user's that led to it."""
  found = ""
  for frame in traceback.extract_tb(error.__traceback__):
    path = pathlib.Path(frame.filename)
    outside = _HOUSE in path.parents or "site-packages" in path.parts
    system = path.is_relative_to(sys.base_prefix) or not path.is_file()
    if not outside and not system:
      found = f"{frame.filename}:{frame.lineno}: "
  return found
