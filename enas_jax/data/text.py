"""Running text: words as numbers in host memory, segments on the device.

Next to the letters of types.py, n is the number of words of a text. A text is
cut into B rows, each a contiguous stretch, and read in segments from left to
right, so that what a recurrent network carries from one segment to the next is
of the words just before.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.errors import ConfigError, lookup
from enas_jax.types import check_whole, MEASURES, Split

EOS, UNKNOWN = "<eos>", "<unk>"

# The reference's lengths (enas_lm): a normal around the usual length, or
# around half of it one time in twenty, cut at two standard deviations.
_STD, _CUT, _USUAL = 5.0, 2.0, 0.95


class TextBatch(NamedTuple):
  """A segment of each row."""

  words: jax.Array  # i32[B, S]
  targets: jax.Array  # i32[B, S], the words after
  weight: jax.Array  # f32[B, S], 0 behind the segment's end
  first: jax.Array  # bool[], whether nothing was read before
  share: jax.Array  # f32[], its length over the usual one


class TextSource(NamedTuple):
  """A corpus; each function reads the text of its name and no other."""

  vocabulary: int
  train: Callable[[], np.ndarray]  # -> i32[n]
  valid: Callable[[], np.ndarray]
  test: Callable[[], np.ndarray]

  task = "language_model"

  @property
  def facts(self) -> dict[str, int]:
    """What a network has to know of the corpus."""
    return {"vocabulary": self.vocabulary}

  def search(
      self, *, batch: int, length: int, vary: bool
  ) -> tuple[Split, Split]:
    """The training text, and the validation text to reward on.

    The test text is not read, and nothing here leads to it.
    """
    return (
        training(self.train(), batch=batch, length=length, vary=vary),
        held(self.valid(), batch=batch, length=length, part="validation"),
    )

  def final(
      self,
      *,
      batch: int,
      length: int,
      vary: bool,
      eval_batch: int,
      measure: str = "test",
  ) -> tuple[Split, Split, Split]:
    """The training text, the validation text to watch, what to measure on.

    That is the test text, `eval_batch` rows at a time. Where `measure` is
    "valid" it is what is watched, and the test text is not read.
    """
    part = lookup("config.data.measure", measure, MEASURES, "split")
    train, watched = self.search(batch=batch, length=length, vary=vary)
    if measure == "valid":
      return train, watched, watched
    test = held(
        self.test(),
        batch=eval_batch,
        length=length,
        part=part,
        key="config.data.eval_batch",
    )
    return train, watched, test


def numbers(words: Sequence[str], vocabulary: dict[str, int], what: str):
  """i32[n]; raises ConfigError at a word outside the vocabulary."""
  try:
    return np.array([vocabulary[word] for word in words], np.int32)
  except KeyError as error:
    raise ConfigError(
        "config.data.path",
        f"the word {error.args[0]!r} of {what} does not occur in the training"
        f" text. Write {UNKNOWN} for rare words in all three.",
    ) from None


def training(
    words: np.ndarray, *, batch: int, length: int, vary: bool
) -> Split:
  """Segments to train on; a pass is as many as there are full ones.

  Args:
    words: i32[n].
    batch: B.
    length: the usual length of a segment.
    vary: draw each segment's length as the reference does, and where a pass
      starts; a row that comes to its end starts anew. Off: every pass reads
      the rows from the start in segments of `length`.
  """
  grid = _grid(words, batch, length, "training")
  last = grid.shape[1] - 1  # a target follows every word but the last
  steps = last // length
  longest = length + int(_STD * _CUT) if vary else length

  def rows(key):
    if key is None or not vary:
      starts = jnp.arange(steps) * length
      return starts, jnp.full(steps, length), starts == 0
    start_key, mean_key, length_key = jax.random.split(key, 3)
    usual = jax.random.bernoulli(mean_key, _USUAL, (steps,))
    noise = jax.random.truncated_normal(length_key, -_CUT, _CUT, (steps,))
    drawn = jnp.where(usual, length, length / 2) + _STD * noise
    drawn = jnp.maximum(drawn.astype(jnp.int32), 1)

    def follow(start, wanted):
      anew = start >= last
      start = jnp.where(anew, 0, start)
      found = jnp.minimum(wanted, last - start)
      return start + found, (start, found, anew)

    begin = jax.random.randint(start_key, (), 0, last)
    _, (starts, lengths, anew) = jax.lax.scan(follow, begin, drawn)
    return starts, lengths, anew.at[0].set(True)

  return _split(grid, steps, rows, longest, length)


def held(
    words: np.ndarray,
    *,
    batch: int,
    length: int,
    part: str,
    key: str = "config.child.batch",
) -> Split:
  """Segments to measure on: in order with a carry, or shuffled without."""
  grid = _grid(words, batch, length, part, key)
  last = grid.shape[1] - 1
  starts = np.arange(0, last, length)
  lengths = np.minimum(length, last - starts)

  def rows(key):
    if key is None:
      return jnp.asarray(starts), jnp.asarray(lengths), jnp.asarray(starts == 0)
    order = jax.random.permutation(key, len(starts))
    always = jnp.ones(len(starts), bool)
    return jnp.asarray(starts)[order], jnp.asarray(lengths)[order], always

  return _split(grid, len(starts), rows, length, length)


def _grid(words, batch, length, part, key="config.child.batch") -> np.ndarray:
  """i32[B, n / B]: what is left over at the end is dropped."""
  check_whole("config.data.length", length, low=1)
  check_whole(key, batch, low=1)
  columns = len(words) // batch
  if columns <= length:
    raise ConfigError(
        key,
        f"{batch} rows of the {part} text of {len(words)} words are"
        f" {columns} words long, which is no segment of {length} and the word"
        " after it; take fewer rows.",
    )
  return words[: batch * columns].reshape(batch, columns)


def _split(grid, steps, rows, longest, usual) -> Split:
  # A segment near the end is read whole, and the part behind it masked.
  padded = jnp.asarray(np.pad(grid, ((0, 0), (0, longest))))

  def batch(arrays, row, key):
    del key  # text is not augmented
    start, length, first = row
    read = jax.lax.dynamic_slice_in_dim(arrays, start, longest + 1, axis=1)
    weight = (jnp.arange(longest) < length).astype(jnp.float32)
    weight = jnp.broadcast_to(weight, (len(arrays), longest))
    return TextBatch(
        read[:, :-1], read[:, 1:], weight, first, length / usual
    )

  items = len(grid) * usual
  return Split(padded, steps, rows, batch, items, "words", carried=True)
