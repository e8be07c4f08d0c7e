"""The frame of a language model: tied embeddings around a recurrent cell."""

from typing import Any, NamedTuple

from flax import linen as nn
import jax
from jax.experimental import layout
import jax.numpy as jnp


class Reading(NamedTuple):
  """What a network made of a segment."""

  features: jax.Array  # [B, S, H]: features @ table.T are the logits
  table: jax.Array  # f32[V, H]
  states: jax.Array  # [B, S, H], before the output's dropout
  carries: Any  # a tree of [B, S, ...]: what to go on from behind each word
  squares: jax.Array  # f32[], sum of squares of the cell's weights in use


@jax.custom_vjp
def take(table: jax.Array, rows: jax.Array) -> jax.Array:
  """table[rows], one row after the other.

  Of a large table the TPU's compiler would cut a gather into strips, and copy
  the whole of it to do so; or, in bfloat16, to lay it out as a product of the
  rows has them: so these keep the table's layout. The way back is that of a
  gather.
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
  """A language model; a subclass gives the cell.

  Every dropout keeps one mask for the whole segment. The masks and rates are
  those of enas_lm; nothing is dropped in evaluation.

  Attributes:
    vocabulary: V.
    hidden: H, of the cell and the embedding.
    init_range: weights start uniform within it, but where a cell has a range
      of its own.
    word_keep: of whole rows of the embedding matrix, for the input only.
    embedded_keep: of the embedded input.
    input_keep: of the input of the cell; acts on top of the one before.
    state_keep: of every state where it enters a product.
    weight_keep: of the weights of these products.
    output_keep: of the output.
    dtype: of the computation; weights, sums and the softmax are float32.
  """

  vocabulary: int
  hidden: int = 200
  init_range: float = 0.04
  word_keep: float = 0.9
  embedded_keep: float = 0.8
  input_keep: float = 0.25
  state_keep: float = 0.75
  weight_keep: float = 1.0
  output_keep: float = 0.25
  dtype: str = "float32"

  def start(self, batch: int) -> Any:
    """What to carry into the first word: a tree of f32[B, ...]."""
    return jnp.zeros((batch, self.hidden))

  def reads(self, arch) -> dict[str, jax.Array]:
    """Of the tables of the shared weights, the rows that `arch` reads.

    No row of a table twice.
    """
    del arch
    return {}

  @property
  def child(self) -> nn.Module:
    """The network of the weights that one architecture reads."""
    return self

  def read(self, x, arch, carry, *, train: bool):
    """Runs the cell: x[S, B, H] -> (states, carries, squares).

    As in `Reading`, but [S, B] lead where it has [B, S].
    """
    raise NotImplementedError

  @nn.compact
  def __call__(
      self, words: jax.Array, arch, carry, *, train: bool
  ) -> Reading:
    """Reads a segment.

    Args:
      words: i32[B, S].
      arch: of jax arrays (one program for all) or of numpy arrays.
      carry: as of `start`, behind the words before.
      train: dropout, from the "dropout" stream.
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

  def weight(self, name: str, *shape: int, within: float | None = None):
    """A parameter that starts uniform within +-`within` or `init_range`."""
    within = within or self.init_range

    def init(key, shape):
      return jax.random.uniform(key, shape, minval=-within, maxval=within)

    return self.param(name, init, shape)

  def mask(self, train: bool, keep: float, *shape: int) -> jax.Array:
    """What dropout multiplies by: 0 or 1 / keep."""
    if not train or keep == 1.0:
      return jnp.ones(shape)
    kept = jax.random.bernoulli(self.make_rng("dropout"), keep, shape)
    return kept / keep
