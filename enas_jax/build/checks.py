"""Tries a user's own space, strategy and task before anything is written.

What would end a search late, or make it wrong in silence, ends it now, in one
line: the conversions of an arch are tried, and a step is traced. Nothing is
compiled.
"""

import pathlib
import re
import sys
import traceback
from typing import Any

from flax import errors as flax_errors
from flax import linen as nn
from flax.core import tracers
import jax
from jax.interpreters import partial_eval
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

import enas_jax
from enas_jax import archfile, registry, steps
from enas_jax.data import telling
from enas_jax.derive import cost
from enas_jax.errors import ConfigError, one_line
from enas_jax.report import drawing
from enas_jax.settings import Search
from enas_jax.spaces.choices import kept, Misuse
from enas_jax.types import Arch, SearchSpace, Split, Strategy, Task

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


def conversions(space: SearchSpace, arch: Arch) -> None:
  """Raises ConfigError unless an arch of the space can be told and drawn.

  Args:
    space: The space; one of the house is not tried.
    arch: Any arch of it, in numpy arrays.
  """
  if not _own(space):
    return
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


def network(
    config: ConfigDict,
    space: SearchSpace | None,
    task: Task,
    train: Split,
    arch: Arch,
    shared: bool,
) -> None:
  """Traces a child step and a reward where the space or the task is a user's.

  Args:
    config: Names them.
    space: The space; None: the network is a baseline.
    task: The task of its network.
    train: The split that the batch is of.
    arch: Any arch in numpy arrays.
    shared: Whether the network is the shared one of a search.

  Raises:
    ConfigError: The code fails, or does not do what a search needs.
  """
  key, name = "space.name", config.get("space", {}).get("name")
  if not (space and _own(space)):
    key, name = "task.name", config.task.name
    if not registry.foreign(name):
      return
  with registry.calling(key, name):
    unread = _steps(key, task, train, arch, shared)
  if shared and space and _own(space):
    for field in unread:
      telling.tell(
          f"The network of {config.space.name} never reads arch.{field}: what"
          " is chosen there changes nothing, and the controller learns it all"
          " the same. Read it, or take it out of the space."
      )


def strategy(
    asked: Search, made: Strategy, arch: Arch, network: Any
) -> None:
  """Tries the steps of a strategy, if it is the user's own.

  Args:
    asked: Names the strategy, and says how its archs are rewarded.
    made: The strategy.
    arch: Any arch of the space.
    network: The shared network.

  Raises:
    ConfigError: The strategy fails, or returns something of another form; or
      archs of a network with branches are to be rewarded at once.
  """
  if asked.at_once > 1 and not getattr(network, "arithmetic", False):
    raise ConfigError(
        "strategy.at_once",
        f"must be 1 where choices are branches (config.network.arithmetic=True"
        f" has none), got {asked.at_once}: every branch would run.",
    )
  if registry.foreign(asked.name):
    with registry.calling("strategy.name", asked.name):
      _strategy(asked.name, made, arch, asked.archs)


def _own(space: SearchSpace) -> bool:
  """Says whether a space is the user's, and no space of the house."""
  return not type(space).__module__.startswith("enas_jax.")


def _steps(
    key: str, task: Task, train: Split, arch: Arch, shared: bool
) -> list[str]:
  """Traces a child step and a reward.

  Returns:
    The fields of the arch on which nothing depends; none where the network is
    not the shared one.

  Raises:
    ConfigError: of `key`, where it is known what to write instead. Any other
      error of the user's code goes through.
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
      return _trace(task, train, given, graded, shared)
  except Exception as error:
    words = _known(error)
    if words is None:
      raise
    raise ConfigError(key, f"{_place(error)}{words}") from error


def _trace(task, train, arch, graded, shared) -> list[str]:
  """Traces `graded`, with the arch as it is in a search or in a training.

  Returns:
    What `_unread` says of a search.
  """
  key = jax.eval_shape(lambda: jax.random.key(0))
  params, state, batch = cost.shapes(task, train, arch)
  averages = sorted({"batch_stats", "averages"} & set(state))
  if shared and averages:
    raise Misuse(kept("the network", averages))
  if shared:
    return _unread(jax.make_jaxpr(graded)(params, state, arch, batch, key),
                   jax.tree.leaves((params, state)), arch)
  whole = lambda params, state, batch, key: graded(
      params, state, arch, batch, key
  )
  jax.eval_shape(whole, params, state, batch, key)
  return []


def _unread(program, before, arch) -> list[str]:
  """Returns the fields of an arch on which no result of a program depends.

  Args:
    program: The jaxpr.
    before: The arguments before the arch, which is the next.
    arch: The arch; a field of several arrays is read where one of them is.
  """
  _, used = partial_eval.dce_jaxpr(
      program.jaxpr, [True] * len(program.jaxpr.outvars)
  )
  fields = {}
  paths = jax.tree_util.tree_leaves_with_path(arch)
  for (path, _), read in zip(paths, used[len(before) :], strict=False):
    name = re.match(r"\W*(\w+)", jax.tree_util.keystr(path))
    field = name[1] if name else ""
    fields[field] = fields.get(field, False) or read
  return [field for field, read in fields.items() if field and not read]


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


def _strategy(
    name: str, strategy: Strategy, arch: Arch, count: int
) -> None:
  """Raises ConfigError unless a strategy keeps its form from step to step."""
  key = jax.eval_shape(lambda: jax.random.key(0))
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
  own, other = (
      [
          f"{jax.dtypes.canonicalize_dtype(leaf.dtype).name}{[*leaf.shape]}"
          for leaf in jax.tree.leaves(tree)
      ]
      for tree in (found, form)
  )
  # Not the trees: a leaf of theirs may compare by identity.
  same = jax.tree.structure(found) == jax.tree.structure(form)
  if not same or own != other:
    raise ConfigError(
        "strategy.name",
        f"its {function} must return {wanted}, of {', '.join(other):.200}, got"
        f" {type(found).__name__} of {', '.join(own):.200}.",
    )
