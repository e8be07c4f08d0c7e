"""Running text as numbers, and the segments that are made of it.

Besides the letters of types.py, n is the number of words of a text. A text is
cut into B rows, each a contiguous stretch. The rows are read in segments from
left to right, so that the carry of a recurrent network comes from the words
just before the segment.
"""

from collections.abc import Callable
import dataclasses
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.data.forms import numbers, odd, read_once, what
from enas_jax.data.stream import Segments
from enas_jax.data.words import Words
from enas_jax.errors import ConfigError, kind, lookup
from enas_jax.options import checked, Count, Small
from enas_jax.types import MEASURES, Split

# The reference (enas_lm) draws lengths from a normal, cut at two standard
# deviations, around the usual length, or one time in twenty around half of it.
_STD, _CUT, _USUAL = 5.0, 2.0, 0.95


class TextBatch(NamedTuple):
  """A batch with one segment of each row."""

  words: jax.Array  # i32[B, S]
  targets: jax.Array  # i32[B, S], the word after each
  weight: jax.Array  # f32[B, S], 0 behind the segment's end
  first: jax.Array  # bool[], whether nothing was read before
  share: jax.Array  # f32[], its length over the usual one


@dataclasses.dataclass(frozen=True)
class TextSource:
  """A corpus of three texts, each with a function that reads only this text.

  Each function reads once, when it is first called. A text must be in numpy,
  of whole numbers [n] in 0 to V - 1.

  Attributes:
    vocabulary: V, the number of words.
    train: Reads the training text, i32[n].
    valid: Reads the validation text, i32[n].
    test: Reads the test text, i32[n].
    words: How other texts become such numbers; None: it is not known.

  Raises:
    ConfigError: A field is not as said here, or a text that is read is not. The
      key is "name", the option that says which data set it is.
  """

  vocabulary: int
  train: Callable[[], np.ndarray]
  valid: Callable[[], np.ndarray]
  test: Callable[[], np.ndarray]
  words: Words | None = None

  task = "language_model"

  def __post_init__(self):
    if type(self.vocabulary) is not int or self.vocabulary < 1:
      form = "a whole number >= 1"
      raise odd("its vocabulary", form, f"{self.vocabulary!r:.80}")
    if self.words is not None:
      if not isinstance(self.words, Words):
        raise odd("its words", "Words or None", kind(self.words))
      known = len(self.words.vocabulary)
      if known != self.vocabulary:
        form = f"of the {self.vocabulary:,} that its vocabulary says"
        raise odd("its words", form, f"{known:,}")
    read_once(self, ("train", "valid", "test"), "int32[n] in numpy")

  @property
  def facts(self) -> dict[str, int]:
    """Returns the facts about the corpus that a network has to know."""
    return {"vocabulary": self.vocabulary}

  def search(
      self,
      *,
      batch: Annotated[Count, Small(32)],
      length: Annotated[Count, Small(8)],
      vary: bool,
      stream: bool = False,
  ) -> tuple[Split, Split]:
    """Returns the training split, and the validation split to reward on.

    The test text is not read, and nothing here leads to it.

    Args:
      batch: The number of rows that a text is cut into, which a step reads.
      length: The usual number of words of a segment.
      vary: Whether a training segment draws its length around the usual one.
      stream: Whether a device holds only the segments that it reads.

    Raises:
      ConfigError: "batch" or "length" does not suit the length of a text.
    """
    alike = {"batch": batch, "length": length, "stream": stream}
    train = training(self.train(), vary=vary, **alike)
    watched = held(self.valid(), part="validation", **alike)
    return (
        train._replace(preprocess=self.words),
        watched._replace(preprocess=self.words),
    )

  def final(
      self,
      *,
      batch: Annotated[Count, Small(32)],
      length: Annotated[Count, Small(8)],
      vary: bool,
      eval_batch: Annotated[Count, Small(64)],
      measure: Literal["test", "valid"] = "test",
      stream: bool = False,
  ) -> tuple[Split, Split, Split]:
    """Returns a split to train on, one to watch, and one to measure on.

    The validation text is watched, `batch` rows at a time.

    Args:
      batch: The number of rows that a text is cut into, which a step reads.
      length: The usual number of words of a segment.
      vary: Whether a training segment draws its length around the usual one.
      eval_batch: The number of rows that the test text is cut into.
      measure: "test" measures on the test text. "valid" measures on the watched
        split and does not read the test text.
      stream: As in `search`.

    Raises:
      ConfigError: As in `search`; "eval_batch" does not suit the length of the
        test text; or "measure" is unknown.
    """
    part = lookup("measure", measure, MEASURES, "split")
    train, watched = self.search(
        batch=batch, length=length, vary=vary, stream=stream
    )
    if measure == "valid":
      return train, watched, watched
    test = held(
        self.test(),
        batch=eval_batch,
        length=length,
        part=part,
        key="eval_batch",
        stream=stream,
    )
    return train, watched, test._replace(preprocess=self.words)


  def _read(self, part: str, read: Callable[[], np.ndarray]) -> np.ndarray:
    """Reads a text; raises ConfigError if it is not as the source says."""
    found = read()
    if numbers(found) not in ("i", "u") or found.ndim != 1:
      raise odd(f"its {part} text", "int32[n] in numpy", what(found))
    if len(found) and not 0 <= found.min() <= found.max() < self.vocabulary:
      form = f"0 to {self.vocabulary - 1:,} for its {self.vocabulary:,} words"
      seen = f"{found.min():,} to {found.max():,}"
      raise odd(f"the numbers of its {part} text", form, seen)
    return found


def training(
    words: np.ndarray,
    *,
    batch: int,
    length: int,
    vary: bool,
    stream: bool = False,
) -> Split:
  """Cuts a text into segments to train on.

  A pass has as many segments as there are full ones of the usual length.

  Args:
    words: i32[n], the text.
    batch: B, the number of rows.
    length: The usual length of a segment.
    vary: Whether a pass draws the length of each segment, as the reference
      does, and its own start; a row that comes to its end starts anew. Off:
      every pass reads the rows from the start in segments of `length`.
    stream: Whether the text stays where it is, and segments are copied.

  Raises:
    ConfigError: The text is too short for "batch".
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

  return _split(grid, steps, rows, longest, length, stream)


def held(
    words: np.ndarray,
    *,
    batch: int,
    length: int,
    part: str,
    key: str = "batch",
    stream: bool = False,
) -> Split:
  """Cuts a text into segments to measure on.

  They come in order with a carry, or shuffled without one.

  Args:
    words: i32[n], the text.
    batch: B, the number of rows.
    length: The length of a segment.
    part: The name of the text in errors.
    key: The name of `batch` in errors.
    stream: As in `training`.

  Raises:
    ConfigError: The text is too short for `batch`.
  """
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

  return _split(grid, len(starts), rows, length, length, stream)


def _grid(words, batch, length, part, key="batch") -> np.ndarray:
  """Cuts a text into i32[B, n / B], and drops the words left over."""
  checked("length", length, Count)
  checked(key, batch, Count)
  columns = len(words) // batch
  if columns <= length:
    raise ConfigError(
        key,
        f"{batch} rows of the {part} text of {len(words)} words are"
        f" {columns} words long, which is no segment of {length} and the word"
        " after it; take fewer rows.",
    )
  return words[: batch * columns].reshape(batch, columns)


def _split(grid, steps, rows, longest, usual, stream) -> Split:
  def placed(key):  # the plan of a stream
    return rows(key), jnp.arange(steps, dtype=jnp.int32)

  def batch(arrays, row, key):
    del key  # text is not augmented
    if stream:
      row, place = row
      read = arrays[place % len(arrays)]
    else:
      read = jax.lax.dynamic_slice_in_dim(arrays, row[0], longest + 1, axis=1)
    _, length, first = row
    weight = (jnp.arange(longest) < length).astype(jnp.float32)
    weight = jnp.broadcast_to(weight, (len(read), longest))
    return TextBatch(
        read[:, :-1], read[:, 1:], weight, first, length / usual
    )

  split = Split(
      (), steps, rows, batch, len(grid) * usual, "words", carried=True
  )
  if stream:
    shape = jax.ShapeDtypeStruct((1, len(grid), longest + 1), np.int32)
    text = Segments(grid, rows, longest + 1)
    return split._replace(arrays=shape, rows=placed, stream=text)
  # A segment near the end is read in full length; its part behind the end of
  # the text is masked.
  return split._replace(arrays=np.pad(grid, ((0, 0), (0, longest))))
