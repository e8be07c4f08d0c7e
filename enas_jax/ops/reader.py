"""The frame of a language model: tied embeddings around a recurrent cell."""

from typing import Annotated, Any, Literal, NamedTuple

from flax import linen as nn
import jax
from jax.experimental import layout
import jax.numpy as jnp

from enas_jax.options import Count, Keep, NonNegative, Small
from enas_jax.types import Arch, Rows


class Reading(NamedTuple):
  """The results of a network on a segment."""

  features: jax.Array  # [B, S, H]; features @ table.T are the logits
  table: jax.Array  # f32[V, H], the embedding
  states: jax.Array  # [B, S, H], before the output's dropout
  carries: Any  # a tree of [B, S, ...], the carry after each word
  squares: jax.Array  # f32[], sum of squares of the cell's weights in use


@jax.custom_vjp
def take(table: jax.Array, rows: jax.Array) -> jax.Array:
  """Returns table[rows], read one row after the other.

  The TPU's compiler would copy the whole of a large table, either to cut a
  gather from it into strips or, in bfloat16, to give it the layout that a
  product of the rows needs. So the rows are read one by one and keep the
  table's layout. The gradient is that of a gather.

  Args:
    table: [R, ...], the table.
    rows: i32[n], the numbers of the rows.
  """
  at = jax.lax.dynamic_index_in_dim
  taken = jnp.concatenate([at(table, row) for row in rows])
  major_to_minor = tuple(range(taken.ndim))
  return layout.with_layout_constraint(taken, layout.Layout(major_to_minor))


def _take_forward(table, rows):
  return take(table, rows), (table, rows)


def _take_backward(residuals, g):
  table, rows = residuals
  return jnp.zeros_like(table).at[rows].add(g), None


take.defvjp(_take_forward, _take_backward)


class Reader(nn.Module):
  """The frame of a language model; a subclass gives the cell.

  Every dropout keeps one mask for the whole segment. The masks and rates are
  those of enas_lm; nothing is dropped in evaluation.

  Attributes:
    vocabulary: V, the number of words.
    hidden: H, the size of the cell and of the embedding.
    init_range: Weights start uniform in +- this range, except where a cell has
      a range of its own.
    word_keep: The keep probability of whole rows of the embedding matrix, for
      the input only.
    embedded_keep: The keep probability of the embedded input.
    input_keep: The keep probability of the input of the cell, on top of
      `embedded_keep`.
    state_keep: The keep probability of every state that enters a product.
    weight_keep: The keep probability of the weights of these products.
    output_keep: The keep probability of the output.
    dtype: The type of the computation; weights, sums and the softmax are
      float32.
  """

  vocabulary: Count
  hidden: Annotated[Count, Small(8)] = 200
  init_range: NonNegative = 0.04
  word_keep: Keep = 0.9
  embedded_keep: Keep = 0.8
  input_keep: Keep = 0.25
  state_keep: Keep = 0.75
  weight_keep: Keep = 1.0
  output_keep: Keep = 0.25
  dtype: Literal["float32", "bfloat16"] = "float32"

  def start(self, batch: int) -> Any:
    """Returns the carry before the first word, a tree of f32[B, ...]."""
    return jnp.zeros((batch, self.hidden))

  def reads(self, arch: Arch) -> Rows:
    """Returns the rows that `arch` reads of each table of shared weights.

    It reads no row twice. {} says that there are no tables (see
    `enas_jax/rows.py`).
    """
    del arch
    return {}

  @property
  def child(self) -> nn.Module:
    """Returns the network of the weights that one arch reads."""
    return self

  def read(
      self, x: jax.Array, arch: Arch, carry: Any, *, train: bool
  ) -> tuple[jax.Array, Any, jax.Array]:
    """Runs the cell on x[S, B, H]; returns (states, carries, squares).

    These are the fields of `Reading`, with leading axes [S, B] in place of
    [B, S].
    """
    raise NotImplementedError

  @nn.compact
  def __call__(
      self, words: jax.Array, arch: Arch, carry: Any, *, train: bool
  ) -> Reading:
    """Reads a segment.

    Args:
      words: i32[B, S], the words.
      arch: An arch of jax arrays, for which one program serves all archs, or of
        numpy arrays.
      carry: The carry after the words before, like that of `start`.
      train: Whether dropout acts; it draws from the "dropout" stream.
    """
    h, batch = self.hidden, len(words)
    table = self.weight("embedding", self.vocabulary, h)
    words = words.T
    x = table[words] * self.mask(train, self.word_keep, self.vocabulary, 1)[
        words
    ]
    x *= self.mask(train, self.embedded_keep, batch, h)
    x *= self.mask(train, self.input_keep, batch, h)
    states, carries, squares = self.read(
        x.astype(self.dtype), arch, carry, train=train
    )
    features = states * self.mask(train, self.output_keep, batch, h).astype(
        self.dtype
    )
    features, states, carries = jax.tree.map(
        lambda leaf: jnp.swapaxes(leaf, 0, 1), (features, states, carries)
    )
    return Reading(features, table, states, carries, squares)

  def weight(
      self, name: str, *shape: int, within: float | None = None
  ) -> jax.Array:
    """Makes a parameter that starts uniform in +-`within`.

    None stands for `init_range`.
    """
    within = within or self.init_range

    def init(key, shape):
      return jax.random.uniform(key, shape, minval=-within, maxval=within)

    return self.param(name, init, shape)

  def mask(self, train: bool, keep: float, *shape: int) -> jax.Array:
    """Draws the factors of a dropout, 0 or 1 / keep; ones without training."""
    if not train or keep == 1.0:
      return jnp.ones(shape)
    kept = jax.random.bernoulli(self.make_rng("dropout"), keep, shape)
    return kept / keep
