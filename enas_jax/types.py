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

from collections.abc import Callable, Mapping, Sequence
import enum
from typing import Any, NamedTuple, Protocol

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

Arch = Any  # a NamedTuple of int32 arrays; its space knows the fields
Params = Any  # a tree of arrays that an optimiser moves
Rows = dict[str, jax.Array]  # of parameters by their names, i32[R] each
ModelState = Any  # a tree of arrays that a network moves: averages, a carry
Key = jax.Array

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
  """A set of architectures.

  A space is a frozen dataclass, and its fields are its options. It writes
  `schedule`, `decode` and `module`; the base class `spaces.base.Space` has all
  other members, most of them derived from these, and a space overrides what
  has a published form.
  """

  # What a space writes.

  schedule: Schedule
  module: type  # of its network; the fields are the options of config.network

  def decode(self, choices: jax.Array) -> Arch:
    """Returns the architecture of choices bool[T, K]; traceable."""

  # What the base class derives from it.

  def encode(self, arch: Arch) -> jax.Array:
    """Returns the choices bool[T, K] that `decode` makes `arch` of; traceable.
    """

  def flatten(self, arch: Arch) -> list[int]:
    """Returns the integers of the published encoding."""

  def unflatten(self, values: Sequence[int]) -> Arch:
    """Returns the architecture of these integers, of numpy arrays.

    Raises:
      ValueError: says what is wrong with them.
    """

  def graphs(self, arch: Arch) -> dict[str, list[Edge]]:
    """Returns all that was chosen, for people: graphs by their states' name.

    The edges of a state stand together, after those of the states it reads.
    """

  @property
  def given(self) -> dict[str, Any]:
    """The fields of `module` that the space gives, so that no user may."""

  def network(self, **hparams: Any) -> Any:
    """Returns the network, a `module` called on (batch, arch)."""

  # What a space may have, with the value of one that has it not.

  presets: Mapping[str, Preset]  # of the class: published ones, by name; {}
  sized: bool  # whether architectures differ in size: it has a `size`; False

  def parse(self, text: str) -> list[int] | None:
    """Returns the integers of its own notation; None: `text` is no such thing.

    Raises:
      ValueError: it is such a thing, but of no architecture of this space.
    """

  def notation(self, values: Sequence[int]) -> str:
    """Returns its own notation of these integers; "": it has none."""

  def size(
      self, arch: Arch, network: Any, image: tuple[int, int, int]
  ) -> Size | None:
    """Returns the size of the final network; None: all are alike; traceable.

    Args:
      arch: of numpy or jax.
      network: the final one.
      image: height, width and channels.
    """


class Batch(Protocol):
  """What a task's network reads, one row of a `Split`: a NamedTuple of arrays.

  Its other fields are known to the task and the data set alone.
  """

  @property
  def share(self) -> Any:
    """Its length over the usual one, a number or f32[]; 1 where all are alike.

    An optimiser may move the weights by less on a shorter batch.
    """


class Strategy(NamedTuple):
  """How architectures are proposed. They all look alike."""

  init: Callable[[Key], Any]  # -> state
  ask: Callable[[Any, Key], Arch]  # (state, key) -> one arch
  # (state, archs with a leading M, rewards f32[M]) -> (state, metrics)
  tell: Callable[[Any, Arch, jax.Array], tuple[Any, dict[str, jax.Array]]]
  # (state, key, M) -> M archs with a leading axis to derive from, the first of
  # which it holds for the best. None: it holds none for the best, and what it
  # would be asked for next are its candidates.
  own_candidates: Callable[[Any, Key, int], Arch] | None = None
  least: int = 1  # the fewest archs that one `tell` makes sense of

  def candidates(self, state: Any, key: Key, count: int) -> Arch:
    """Returns archs to derive from, with a leading axis of `count`.

    The key is consumed.
    """
    if self.own_candidates:
      return self.own_candidates(state, key, count)
    keys = jax.random.split(key, count)
    return jax.vmap(self.ask, in_axes=(None, 0))(state, keys)


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


class Moving(NamedTuple):
  """What a child step moves of the parameters."""

  params: Params  # what moves; the loss is given these
  # (what to add to them) -> all parameters after the step
  add: Callable[[Params], Params]
  # (their gradient, a mesh axis) -> (what the children of all devices on that
  # axis move, their mean gradient); called on each of the devices
  shared: Callable[[Params, str], tuple["Moving", Params]]


def everything(params: Params, arch: Arch) -> Moving:
  """Returns all parameters as what a child step moves, whatever the arch."""
  return Moving(
      params,
      lambda updates: jax.tree.map(jnp.add, params, updates),
      lambda grads, axis: (everything(params, arch), lax.pmean(grads, axis)),
  )


class Task(NamedTuple):
  """What children are for: the loss, the reward and the measure.

  The loss is given what moves of the parameters, reward and measure are given
  all of them. The model state is threaded through `loss` and `measure`, so it
  may hold the carry of a recurrent network from one segment to the next; a
  batch of such a task says in a field of its own when the carry starts afresh.
  """

  # (key, shapes of a batch, arch) -> (params, model state); not for jit
  init: Callable[[Key, Batch, Arch], tuple[Params, ModelState]]
  # (`moving(params, arch).params`, model state, arch, batch, key, progress in
  # [0, 1]) -> (loss f32[], (model state, record))
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
  # (params, arch) -> what a child step on this arch moves of them
  moving: Callable[[Params, Arch], Moving] = everything


# What a final training may be measured on -> the name of that split.
MEASURES = {"test": "test", "valid": "validation"}


class Split(NamedTuple):
  """A part of a data set as batches.

  The arrays are numpy, on the host: whoever runs over the split puts them on a
  device, or the shares of several.
  """

  arrays: Any  # a tree of numpy arrays
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
    """Returns the shapes of its first batch; no array is read."""

    def first(arrays):
      row = jax.tree.map(lambda rows: rows[0], self.rows(None))
      return self.batch(arrays, row, None)

    # An argument: a numpy array that is closed over becomes a constant, and a
    # traced index into it fails.
    return jax.eval_shape(first, self.arrays)


class Benchmark(NamedTuple):
  """What architectures score in truth, in the order of the table's file."""

  ops: np.ndarray  # i32[n, J]
  test: np.ndarray  # f64[n], in percent
  valid: np.ndarray  # f64[n], in percent
  rows: dict[tuple[int, ...], int]  # the row of an encoding


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
