"""Reads the batches of data that are not held in memory, in their order.

The order of a pass follows from its key, so nothing has to be kept of it: a run
that goes on begins to read at the place where it stopped. Pictures are decoded
by Grain. For a text Grain has nothing that a memory-mapped file does not do:
its segments are copied out of it.

Of several processes each reads the rows that its devices train on. Batches that
reward are read whole by each, since every device has them whole, and so are
those of a pass that each process measures alone.
"""

from collections.abc import Callable, Iterator
import itertools
import sys
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.data import grains
from enas_jax.data.examples import Examples, Images, Streamed
from enas_jax.errors import ConfigError
from enas_jax.feeds import Order
from enas_jax.types import Key


def order(n: int, steps: int, batch: int, key: Key | None) -> jax.Array:
  """Returns the numbers of the images of each batch of a pass, i32[steps, B].

  Args:
    n: The number of images.
    steps: The batches of a pass.
    batch: B, the images of a batch.
    key: Shuffles them; None does not.
  """
  numbers = jnp.arange(n, dtype=jnp.int32)
  if key is not None:
    numbers = jax.random.permutation(key, numbers)
  index = jnp.concatenate([numbers, numbers[: steps * batch - n]])
  return index.reshape(steps, batch)


_ordered = jax.jit(order, static_argnums=(0, 1, 2))


class Stream(NamedTuple):
  """Reads the batches of a split by Grain; it is a `feeds.Stream`."""

  images: Streamed
  steps: int  # of a pass
  batch: int

  def read(self, order: Order, number: int, place: int) -> Iterator[Images]:
    """Yields u8[rows, H, W, C] and i32[rows] of batch after batch.

    Args:
      order: What is asked for.
      number: The pass to begin with.
      place: The place of the first batch in that pass.

    Raises:
      ConfigError: An image cannot be read.
    """
    images = self.images
    shape = len(images.labels), self.steps, self.batch
    first = number * order.take + place
    batches = _Batches(images.examples, images.start, shape, order, first)
    try:
      with grains.reading(batches, images.workers) as found:
        yield from found
    except ConfigError as error:
      raise error.inside("config.data") from None

  def mark(self) -> Any:
    """Returns numpy arrays that tell these images from others, unread."""
    return self.images.mark()


class _Batches:
  """All batches that are asked for, from the first one on, as a sequence.

  Each process that reads makes the plan of a pass anew.
  """

  def __init__(
      self,
      examples: Examples,
      start: int,
      shape: tuple[int, int, int],
      order: Order,
      first: int,
  ):
    self._examples, self._start, self._shape = examples, start, shape
    self._order, self._first = order, first
    self._plan = -1, None  # the number of a pass, and its plan

  def __len__(self) -> int:
    left = self._order.passes * self._order.take - self._first
    return min(left, sys.maxsize)

  def __getitem__(self, number: int) -> Images:
    number, place = divmod(number + self._first, self._order.take)
    if self._plan[0] != number:
      plan = _ordered(*self._shape, self._order.key(number))
      self._plan = number, np.asarray(plan) + self._start
    return self._examples.read(self._order.asked(self._plan[1][place]))


class Segments:
  """Reads the segments of a text; it is a `feeds.Stream`."""

  def __init__(self, grid: np.ndarray, rows: Callable, length: int):
    """Takes the text i32[B, n / B], its plan, and the words of a segment."""
    self._grid, self._rows, self._length = grid, jax.jit(rows), length

  def read(self, order: Order, number: int, place: int) -> Iterator[np.ndarray]:
    """Yields i32[rows, length] of each segment; behind the text are zeros.

    Args:
      order: What is asked for.
      number: The pass to begin with.
      place: The place of the first segment in that pass.
    """
    for each in itertools.count(number):
      starts = np.asarray(self._rows(order.key(each))[0])
      for start in starts[place : order.take]:
        found = order.asked(self._grid[:, start : start + self._length])
        lacking = self._length - found.shape[1]
        yield np.pad(found, ((0, 0), (0, lacking)))
      place = 0

  def mark(self) -> np.ndarray:
    """Returns the text."""
    return self._grid
