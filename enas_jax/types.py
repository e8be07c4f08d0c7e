"""The types that cross a boundary between files, and the letters of shapes.

The docstrings of this package write shapes with these letters:

  B batch, C channels, D the two inputs of a node, H W height and width,
  N computed nodes of a cell, O operations, T controller steps,
  K choices of a controller step (and anchor slots), L layers, M archs,
  E hidden size of the controller, H also that of a recurrent cell,
  S positions of a segment of text, V words of a vocabulary.

They call one architecture an arch, and a batch or a list of them archs.
`steps.py` knows these types and nothing else.
"""

from collections.abc import Callable, Mapping, Sequence
import enum
from typing import Any, NamedTuple, Protocol

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

Arch = Any  # a NamedTuple, a tree of int32 arrays; its space knows the fields
Params = Any  # a tree of arrays that an optimiser moves
Rows = dict[str, jax.Array]  # rows of parameters by name, i32[R] each
ModelState = Any  # a tree of arrays that a network moves: averages, a carry
Key = jax.Array

NO_ANCHOR = -1  # `Schedule.write` where the step's state is not kept
NEVER = -1  # `SearchState.failed` while every loss and reward was finite


class Head(enum.IntEnum):
  """Says what a controller step decides."""

  NONE = 0  # nothing: the step only moves the LSTM
  OP = 1  # one operation, scored by a linear layer
  ANCHOR = 2  # one earlier anchor, scored by attention
  SKIP = 3  # any subset of earlier anchors, one independent bit each


class Feed(enum.IntEnum):
  """Says what the controller step after this one reads."""

  START = 0  # the learned start vector
  OP = 1  # the embedding of the operation just chosen
  ANCHOR = 2  # the chosen anchors, times `feed_scale`


class Schedule(NamedTuple):
  """The programme of a controller: static numpy, one row a step (ENAS §2).

  To the controller, spaces differ in this table only. A step may write an
  anchor slot again once no later step reads what the slot held before.
  """

  head: np.ndarray  # i32[T], a Head
  mask: np.ndarray  # bool[T, K], which choices exist
  bias: np.ndarray  # f32[T, K], is added to the squashed logits
  scale: np.ndarray  # f32[T], the tanh constant; 0 squashes nothing
  prior: np.ndarray  # f32[T, K], the target probability of a skip
  kl_scale: np.ndarray  # f32[T], the skip KL uses sigmoid(kl_scale * logit)
  write: np.ndarray  # i32[T], the anchor slot for this step's state
  feed: np.ndarray  # i32[T], a Feed
  feed_scale: np.ndarray  # f32[T, K], the factor on the anchor that is fed
  # f32[O], the initial trainable bias of the operations; None: there is none
  op_bias: np.ndarray | None
  tied: bool  # whether an operation is scored by its embedding, not a layer
  # Whether op_bias is added to the squashed logits, so that it can outweigh
  # `bias` and `scale`. Off: it is squashed too.
  free_bias: bool = False


class Preset(NamedTuple):
  """A published arch."""

  space: dict[str, Any]  # the arguments of its space
  encoding: list[int]


class Size(NamedTuple):
  """The size of an arch's final network, without its auxiliary head."""

  params: Any  # i[], the number of parameters
  flops: Any  # f[], of one example's forward pass: products and convolutions


class Edge(NamedTuple):
  """One term of a state of an arch: an operation on another state.

  A state is the sum of all edges of which it is the target.
  """

  target: int | str
  source: int | str  # an input, or the target of an earlier edge
  operation: str = ""  # "" adds the source as it is


class SearchSpace(Protocol):
  """A set of archs.

  A space is a frozen dataclass, and its fields are its options. It writes
  `schedule`, `decode` and `module`; the base class `spaces.base.Space` has all
  other members and derives most of them from these. A space overrides the
  members for which it has a published form.
  """

  # Every space writes these.

  schedule: Schedule
  module: type  # the class of its network; its fields are config.network

  def decode(self, choices: jax.Array) -> Arch:
    """Returns the arch of choices bool[T, K]; traceable."""

  # The base class derives these.

  def encode(self, arch: Arch) -> jax.Array:
    """Returns the choices bool[T, K] that `decode` turns into `arch`.

    It is traceable.
    """

  def flatten(self, arch: Arch) -> list[int]:
    """Returns the integers of the published encoding."""

  def unflatten(self, values: Sequence[int]) -> Arch:
    """Returns the arch of these integers, in numpy arrays.

    Raises:
      ValueError: The integers are no arch of this space; says why.
    """

  def graphs(self, arch: Arch) -> dict[str, list[Edge]]:
    """Returns all that `arch` chose, for people: one graph for each kind.

    The key of a graph is the noun for its states, such as "node". The edges of
    a state stand together, after the edges of the states that it reads.
    """

  @property
  def given(self) -> dict[str, Any]:
    """Returns the fields of `module` that the space sets, and no user may."""

  def network(self, **hparams: Any) -> Any:
    """Returns the network, a `module` that is called on (batch, arch)."""

  # A space may have these; the base class has the default named here.

  # On the class: the published archs by name; {} by default.
  presets: Mapping[str, Preset]
  sized: bool  # whether `size` exists; False
  alike: bool  # whether all archs have the same size; False
  of_policy: tuple[str, ...]  # the options that the policy alone reads; ()
  # Whether the final network is the shared one with only what an arch chose, by
  # the same names; False: it may be another network.
  carries: bool

  def parse(self, text: str) -> list[int] | None:
    """Returns the integers of a text in the space's own notation.

    By default that is a digit for each integer, such as "02012100".

    Returns:
      None where `text` is not in this notation.

    Raises:
      ValueError: The text is in this notation, but is no arch of this space.
    """

  def notation(self, values: Sequence[int]) -> str:
    """Returns these integers in the space's own notation; "" has none."""

  def size(
      self, arch: Arch, network: Any, image: tuple[int, int, int]
  ) -> Size | None:
    """Returns the size of the final network of `arch`; traceable.

    Args:
      arch: An arch of numpy or jax arrays.
      network: The final network.
      image: Height, width and channels.

    Returns:
      The size, or None where all archs of the space have the same size.
    """


class Batch(Protocol):
  """One batch of a `Split`, as a task's network reads it.

  It is a NamedTuple of arrays. Only the task and the data set know its other
  fields.
  """

  @property
  def share(self) -> Any:
    """Returns the batch's length over the usual one, a number or f32[].

    It is 1 where all batches have one length. An optimiser may move the weights
    by less on a shorter batch.
    """


class Strategy(NamedTuple):
  """Proposes archs and learns from their rewards.

  `init`, `ask` and `tell` are traceable. A state is a tree of arrays whose
  shapes and types stay. A step calls `ask` M times on one state, with a key
  each time, and `tell` once with all M archs.
  """

  init: Callable[[Key], Any]  # key -> state
  ask: Callable[[Any, Key], Arch]  # (state, key) -> one arch, no leading axis
  # (state, archs with a leading axis M, rewards f32[M], of which more is
  # better) -> (state, metrics by name, f32[] each, with the same names always)
  tell: Callable[[Any, Arch, jax.Array], tuple[Any, dict[str, jax.Array]]]
  # (state, key, M) -> M candidates with a leading axis; the first is the arch
  # that the strategy holds for the best. None says that it holds none for the
  # best; its candidates are then the archs that `ask` returns.
  own_candidates: Callable[[Any, Key, int], Arch] | None = None
  least: int = 1  # the fewest archs from which one `tell` can learn

  def candidates(self, state: Any, key: Key, count: int) -> Arch:
    """Returns `count` candidates, archs with a leading axis.

    The key is consumed.
    """
    if self.own_candidates:
      return self.own_candidates(state, key, count)
    keys = jax.random.split(key, count)
    return jax.vmap(self.ask, in_axes=(None, 0))(state, keys)


class Mean(NamedTuple):
  """A mean that can be merged: the sum and the count, f32[] each."""

  total: jax.Array
  count: jax.Array

  def value(self) -> jax.Array:
    """Returns the mean, f32[]."""
    return self.total / self.count


class Perplexity(NamedTuple):
  """The exponential of a mean in nats; it merges as the mean does."""

  total: jax.Array
  count: jax.Array

  def value(self) -> jax.Array:
    """Returns the perplexity, f32[]."""
    return jnp.exp(self.total / self.count)


class Likelihood(NamedTuple):
  """The inverse of a perplexity, in (0, 1]; higher is better."""

  total: jax.Array
  count: jax.Array

  def value(self) -> jax.Array:
    """Returns the likelihood, f32[]."""
    return jnp.exp(-self.total / self.count)


Record = dict[str, Mean | Perplexity | Likelihood]


class Moving(NamedTuple):
  """The part of the parameters that a child step moves."""

  params: Params  # the weights that move; the loss is given these
  # updates of these weights -> all parameters after the step
  add: Callable[[Params], Params]
  # (gradient of these weights, name of a mesh axis) -> (the weights that the
  # children of all devices on the axis move, the mean of their gradients). It
  # is called on each of the devices.
  shared: Callable[[Params, str], tuple["Moving", Params]]


def everything(params: Params, arch: Arch) -> Moving:
  """Returns all parameters as those that move, whatever the arch is."""
  return Moving(
      params,
      lambda updates: jax.tree.map(jnp.add, params, updates),
      lambda grads, axis: (everything(params, arch), lax.pmean(grads, axis)),
  )


class Task(NamedTuple):
  """Defines what children are trained for: a loss, a reward and a measure.

  The loss is given the weights that move; the reward and the measure are given
  all weights. Each call of `loss` and `measure` passes the model state on to
  the next, so the state may hold the carry of a recurrent network from one
  segment to the next. A batch of such a task has a field that says when the
  carry starts afresh.
  """

  # (key, shapes of a batch, arch) -> (params, model state); is not jitted
  init: Callable[[Key, Batch, Arch], tuple[Params, ModelState]]
  # (`moving(params, arch).params`, model state, arch, batch, key, progress in
  # [0, 1]) -> (loss f32[], (model state, record))
  loss: Callable[..., tuple[jax.Array, tuple[ModelState, Record]]]
  # (params, model state, arch, batch, key) -> f32[], higher is better
  reward: Callable[..., jax.Array]
  # (model state, shapes of a batch) -> the model state with which a pass over a
  # measured split begins
  begin: Callable[[ModelState, Batch], ModelState]
  # (params, model state, arch, batch) -> (model state, record)
  measure: Callable[..., tuple[ModelState, Record]]
  metric: str  # the entry of the record by which a trained network is judged
  score: str  # the entry of the record by which candidates are ranked
  # a value of the metric or the score -> a number of which more is better; the
  # worth of the score is the reward
  worth: Callable[[Any], Any]
  # (params, arch) -> the weights that a child step on this arch moves
  moving: Callable[[Params, Arch], Moving] = everything


# The value of `measure` in a final config -> the name of the measured split.
MEASURES = {"test": "test", "valid": "validation"}


class Split(NamedTuple):
  """A part of a data set as batches; `feeds` puts its arrays on devices."""

  # numpy on the host; of a stream the shapes of one batch's part, [1, ...].
  arrays: Any
  steps: int  # batches in one pass
  # key -> the plan of one pass, arrays with a leading axis `steps`. A key
  # shuffles; None visits every example once, in order.
  rows: Callable[[Key | None], Any]
  # (arrays, one row of the plan, key) -> Batch; pure, runs inside the jitted
  # step. A key augments; None does not.
  batch: Callable[[Any, Any, Key | None], Batch]
  items: int  # about how many items a batch has
  unit: str  # the noun for these items, in the plural
  # Whether the leading axis of the arrays is that of a batch, so that a model
  # state is carried for each row from batch to batch. Otherwise the plan says
  # which examples make a batch.
  carried: bool = False
  # What people bring -> what a network reads: a `Preprocess` or `Words`.
  preprocess: Any = None
  # A `feeds.Stream`, which reads the batches; None: the arrays hold them all.
  stream: Any = None

  def shapes(self) -> Batch:
    """Returns the shapes of the first batch, without reading an array."""

    def first(arrays):
      row = jax.tree.map(lambda rows: rows[0], self.rows(None))
      return self.batch(arrays, row, None)

    # The arrays are an argument because a numpy array that is closed over is a
    # constant, which a traced index cannot read.
    return jax.eval_shape(first, self.arrays)


class Benchmark(NamedTuple):
  """A table of the true scores of n archs, in the order of its file."""

  data: str  # the name of the data set on which they were trained
  ops: np.ndarray  # i32[n, J], the encodings
  test: np.ndarray  # f64[n], test scores in percent, means of `trainings`
  valid: np.ndarray | None  # f64[n], validation scores in percent, if known
  params: np.ndarray | None  # f64[n], their parameters, if known
  flops: np.ndarray | None  # f64[n], their operations, if known
  rows: dict[tuple[int, ...], int]  # encoding -> its row
  architectures: int  # how many archs the space has; n may be fewer
  trainings: np.ndarray  # f64[n, k], the test score of each; NaN: none
  metric: str = "accuracy"  # the score, or "likelihood", exp(-cross-entropy)
  training: float | None = None  # FLOPs of training one arch alone, the mean
  # The values of the config that trained them, by dotted key; None: not known.
  recipe: dict[str, Any] | None = None

  @property
  def sized(self) -> bool:
    """Says whether the table has sizes of its own."""
    return self.params is not None or self.flops is not None


class SearchState(NamedTuple):
  """All that a checkpoint holds, as one tree.

  `step` counts child steps and strategy steps together, in the order in which
  they run. Randomness comes from `fold_in(key, step)`, so a resumed run draws
  the same numbers.
  """

  step: jax.Array  # i32[]
  params: Params
  model_state: ModelState
  opt_state: Any
  strategy: Any
  child: Record  # merged over the child steps since the epoch began
  controller: Record  # merged over the strategy steps since the epoch began
  failed: jax.Array  # i32[], the first step with a non-finite value, or NEVER
  key: Key
