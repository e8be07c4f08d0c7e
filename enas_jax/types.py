"""The types that cross a boundary between files, and the legend of letters.

Shapes in the docstrings of this package are written with these letters:

  B batch, C channels, D the two inputs of a node, H W height and width,
  N computed nodes of a cell, O operations, T controller steps,
  K choices of a controller step (and anchor slots), L layers, M architectures,
  E hidden size of the controller, H also that of a recurrent cell,
  S positions of a segment of text, V words of a vocabulary.

Records, protocols and the errors that users see; no other file of the package
is imported. `search.py` knows these types and nothing else.
"""

from collections.abc import Callable
import enum
import inspect
import math
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.errors import ConfigError, suggest

Arch = Any  # a NamedTuple of int32 arrays; its space knows the fields
Params = Any  # a tree of arrays that an optimiser moves
Rows = dict[str, jax.Array]  # of parameters by their names, i32[R] each
ModelState = Any  # a tree of arrays that a network moves: averages, a carry
Key = jax.Array
Batch = Any  # what a task's network reads: one row of a `Split`

NO_ANCHOR = -1  # `Schedule.write` of a step whose state is not kept
NEVER = -1  # `SearchState.failed` while every loss and reward was finite


class Head(enum.IntEnum):
  """What a controller step decides."""

  NONE = 0  # nothing: the step only moves the LSTM
  OP = 1  # one operation, scored by a linear layer
  ANCHOR = 2  # one earlier anchor, scored by attention
  SKIP = 3  # any subset of earlier anchors, one independent bit each


class Feed(enum.IntEnum):
  """What the controller step after this one reads."""

  START = 0  # the learned start vector
  OP = 1  # the embedding of the operation just chosen
  ANCHOR = 2  # the chosen anchors, times `feed_scale`


class Schedule(NamedTuple):
  """The programme of a controller: static numpy, one row a step (ENAS §2).

  A space differs from another in this table only. Anchor slots may be written
  again once nothing reads their first content any more.
  """

  head: np.ndarray  # i32[T], a Head
  mask: np.ndarray  # bool[T, K], which choices exist
  bias: np.ndarray  # f32[T, K], added to the squashed logits
  scale: np.ndarray  # f32[T], the tanh constant; 0: no squashing
  prior: np.ndarray  # f32[T, K], target probability of a skip
  kl_scale: np.ndarray  # f32[T], the skip KL is of sigmoid(kl_scale * logit)
  write: np.ndarray  # i32[T], anchor slot for this step's state
  feed: np.ndarray  # i32[T], a Feed
  feed_scale: np.ndarray  # f32[T, K], factor on the anchor that is fed
  # f32[O], initial trainable bias of the operations; None: there is none
  op_bias: np.ndarray | None
  tied: bool  # operations are scored by their embedding, not by a layer


class Preset(NamedTuple):
  """A published architecture."""

  space: dict[str, Any]  # arguments of the space that it is of
  encoding: list[int]


class Size(NamedTuple):
  """Of the final network of an architecture, without its auxiliary head."""

  params: Any  # i[]
  flops: Any  # f[], of one example's way forward: products and convolutions


class Edge(NamedTuple):
  """What a state of an architecture sums up: an operation on another one."""

  target: int | str
  source: int | str  # an input, or the target of an edge before
  operation: str = ""  # "": the source as it is


class SearchSpace(Protocol):
  """A set of architectures; a frozen dataclass with these members.

  One whose architectures have a published notation in words has `parse` too:
  text -> list[int], None where the text is no such thing; ValueError says what
  is wrong with one that is; and its inverse, `notation`: list[int] -> text.

  One whose architectures differ in size has `size`: (arch, the final network,
  shape of an image) -> Size; traceable.
  """

  schedule: Schedule
  presets: dict[str, Preset]  # of the class: published ones, by name
  module: type  # of its network; the fields are the keys of config.network

  def decode(self, choices) -> Arch:
    """bool[T, K] -> Arch; traceable."""

  def encode(self, arch: Arch):
    """Arch -> bool[T, K]; the inverse of `decode`; traceable."""

  def flatten(self, arch: Arch) -> list[int]:
    """Arch -> the integers of the published encoding."""

  def unflatten(self, values: list[int]) -> Arch:
    """The inverse of `flatten`, numpy; ValueError says what is wrong."""

  def graphs(self, arch: Arch) -> dict[str, list[Edge]]:
    """All that was chosen, for people: by what its states are called, a graph.

    The edges of a state stand together, after those of the states it reads.
    """

  def network(self, **hparams):
    """The network of the space: a flax module, called on (batch, arch)."""


class Strategy(NamedTuple):
  """How architectures are proposed. They all look alike."""

  init: Callable[[Key], Any]  # -> state
  ask: Callable[[Any, Key], Arch]  # (state, key) -> one arch
  # (state, archs with a leading M, rewards f32[M]) -> (state, metrics)
  tell: Callable[[Any, Arch, jax.Array], tuple[Any, dict[str, jax.Array]]]
  # (state, key, M) -> M archs with a leading axis to derive from, where they
  # are not simply what the strategy would be asked for next; the first is the
  # one that it holds for the best
  candidates: Callable[[Any, Key, int], Arch] | None = None


class Mean(NamedTuple):
  """A mean that merges: sums over what was counted, f32[] each."""

  total: jax.Array
  count: jax.Array

  def value(self):
    return self.total / self.count


class Perplexity(NamedTuple):
  """The exponential of a mean in nats, which merges as that does."""

  total: jax.Array
  count: jax.Array

  def value(self):
    return jnp.exp(self.total / self.count)


class Likelihood(NamedTuple):
  """The inverse of a perplexity, in (0, 1]: higher is better."""

  total: jax.Array
  count: jax.Array

  def value(self):
    return jnp.exp(-self.total / self.count)


Record = dict[str, Mean | Perplexity | Likelihood]


class Task(NamedTuple):
  """What children are for: the loss, the reward and the measure.

  These three are given the weights that `pick` finds in the parameters; where
  nothing else is said, all of them, among which the network finds its own. The
  model state is threaded through `loss` and `measure`, so it may hold the
  carry of a recurrent network from one segment to the next; a batch of such a
  task says in a field of its own when the carry starts afresh.
  """

  # (key, shapes of a batch, arch) -> (params, model state); not for jit
  init: Callable[[Key, Batch, Arch], tuple[Params, ModelState]]
  # (params, model state, arch, batch, key, progress in [0, 1])
  #   -> (loss f32[], (model state, record))
  loss: Callable[..., tuple[jax.Array, tuple[ModelState, Record]]]
  # (params, model state, arch, batch, key) -> f32[], higher is better
  reward: Callable[..., jax.Array]
  # (model state, shapes of a batch) -> model state before a pass over a split
  # that is measured
  begin: Callable[[ModelState, Batch], ModelState]
  # (params, model state, arch, batch) -> (model state, record)
  measure: Callable[..., tuple[ModelState, Record]]
  metric: str  # the record's entry that a trained network is judged by
  score: str  # the one that candidates are ranked by
  # a value of either -> a number of which more is better; of the score's, the
  # reward
  worth: Callable[[Any], Any]
  # arch -> of the parameters of these names it uses these rows, each once at
  # most, and all of the others
  reads: Callable[[Arch], Rows] = lambda arch: {}
  # (params, rows) -> what there is in these rows
  take: Callable[[Params, Rows], Params] = lambda params, rows: params
  # (params, rows, what to add to each of them) -> params
  add: Callable[[Params, Rows, Params], Params] = (
      lambda params, rows, updates: jax.tree.map(jnp.add, params, updates)
  )

  def pick(self, params: Params, arch: Arch) -> Params:
    """The weights that an architecture uses."""
    return self.take(params, self.reads(arch))


# What a final training may be measured on -> the name of that split.
MEASURES = {"test": "test", "valid": "validation"}


class Split(NamedTuple):
  """A part of a data set as batches. The arrays sit on the device."""

  arrays: Any  # a tree of device arrays
  steps: int  # batches in one pass
  # One pass as a plan, arrays with leading axis `steps`. A key shuffles;
  # None visits everything once, in order.
  rows: Callable[[Key | None], Any]
  # (arrays, one row of the plan, key) -> Batch; pure, runs inside the jitted
  # step. A key augments; None does not.
  batch: Callable[[Any, Any, Key | None], Batch]
  items: int  # in a batch, about
  unit: str  # what they are, in the plural
  # Whether the arrays, and so what is carried from batch to batch, have the
  # batch's rows; else the rows of the plan have them.
  carried: bool = False

  def shapes(self) -> Batch:
    """Those of its first batch; no array is read."""

    def first():
      row = jax.tree.map(lambda rows: rows[0], self.rows(None))
      return self.batch(self.arrays, row, None)

    return jax.eval_shape(first)


class SearchState(NamedTuple):
  """All that a checkpoint holds, one tree.

  `step` numbers the child and the strategy updates in the order they run;
  randomness is `fold_in(key, step)`, so a resumed run draws the same numbers.
  """

  step: jax.Array  # i32[]
  params: Params
  model_state: ModelState
  opt_state: Any
  strategy: Any
  child: Record  # of the child steps since the epoch began
  controller: Record  # of the strategy steps since the epoch began
  failed: jax.Array  # i32[], first step with a non-finite value, or NEVER
  key: Key


def check_arguments(
    block: str, name: str, function, arguments, ours: tuple[str, ...] = ()
) -> None:
  """Raises ConfigError unless `function`, the `name` of `block`, takes these.

  Args:
    block: the keys' place in the config.
    name: what the user calls the function.
    function: has no parameters but by name.
    arguments: the user's, by name.
    ours: parameters that do not come from the config.
  """
  parameters = {
      each: parameter
      for each, parameter in inspect.signature(function).parameters.items()
      if each not in ours
  }
  for each, value in arguments.items():
    key = f"{block}.{each}"
    if each not in parameters:
      raise ConfigError(
          key, f"{name!r} does not take it. {suggest(each, parameters)}"
      )
    wanted = parameters[each].annotation
    if wanted is bool:
      check_type(key, value, bool)
    elif wanted in (int, float) and isinstance(value, (bool, str)):
      kind = "whole number" if wanted is int else "number"
      raise ConfigError(key, f"must be a {kind}, got {value!r}.")
  for each, parameter in parameters.items():
    if each not in arguments and parameter.default is parameter.empty:
      raise ConfigError(f"{block}.{each}", f"{name!r} needs it.")


def check_type(key: str, value, wanted: type) -> None:
  """Raises ConfigError unless `value` is of that very type."""
  if type(value) is not wanted:
    raise ConfigError(
        key, f"must be of type {wanted.__name__}, got {value!r}."
    )


def check_number(
    key: str,
    value,
    *,
    low=0.0,
    high=math.inf,
    open_low=False,
    open_high=False,
) -> None:
  """Raises ConfigError unless low <= value <= high (< where it is open)."""
  number = isinstance(value, (int, float)) and not isinstance(value, bool)
  finite = number and math.isfinite(value)
  above = finite and (value > low or (value == low and not open_low))
  below = finite and (value < high or (value == high and not open_high))
  if not above or not below:
    wanted = "finite and " if number and not finite else ""
    wanted += f"{'>' if open_low else '>='} {low:.10g}"
    if math.isfinite(high):
      wanted += f" and {'<' if open_high else '<='} {high:.10g}"
    raise ConfigError(key, f"must be {wanted}, got {value!r}.")


def check_whole(key: str, value, *, low: int = 0, high=math.inf) -> None:
  """Raises ConfigError unless `value` is an int with low <= value <= high."""
  if not isinstance(value, int) or isinstance(value, bool):
    raise ConfigError(key, f"must be a whole number, got {value!r}.")
  check_number(key, value, low=low, high=high)
