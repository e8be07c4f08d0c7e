"""Feeds: how the arrays of a split come to the devices.

The arrays of a split that is held in memory go there once, and every batch is
made of them. Of one with a stream only a few batches are there at a time: a
window, a tree of arrays with an axis of batches before all others. The batch of
place p in its pass stands at p modulo the length of that axis, so a step finds
it by its row of the plan, whichever batch the window begins with. While the
devices are at work on one window, the next one is read and put there.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

from enas_jax.types import Key, Split


class Order(NamedTuple):
  """What is asked of a split, in order: the first batches of pass after pass.
  """

  # The number of a pass -> the key that shuffles it, or None. It may be called
  # in another process, so it must not hold an array of jax.
  key: Callable[[int], Key | None]
  passes: int  # how many there are
  take: int  # the first batches of each, which are asked for
  # Which parts of each batch, of how many equal ones, are asked for.
  parts: Sequence[int] = (0,)
  of: int = 1

  def asked(self, rows: Any) -> Any:
    """Returns those of the rows of a batch [B, ...] that are asked for."""
    if len(self.parts) == self.of:
      return rows
    return np.concatenate([np.split(rows, self.of)[n] for n in self.parts])


class Stream(Protocol):
  """Reads the batches of a split."""

  def read(self, order: Order, number: int, place: int) -> Iterator[Any]:
    """Yields a tree of numpy arrays for each batch, in order.

    Args:
      order: What is asked for, in batches and in rows of each.
      number: The pass to begin with.
      place: The place of the first batch in that pass.
    """

  def mark(self) -> Any:
    """Returns numpy arrays that tell these data from others."""


class Feed:
  """Gives the arrays on the devices of which the next batches are made.

  Attributes:
    size: How many batches, one after another, can be made of what it gives.
  """

  size: int

  def __call__(self, number: int, place: int) -> Any:
    """Returns the arrays of the batches from a place of a pass on."""
    raise NotImplementedError

  def close(self) -> None:
    """Ends what reads ahead."""


def feed(
    split: Split, put: Callable[[Any], Any], order: Order, size: int
) -> Feed:
  """Returns the feed of a split.

  Args:
    split: The split.
    put: Puts arrays on the devices.
    order: What will be asked for. Another order is served too, but slowly.
    size: The batches that are to be on the devices at a time, at most
      `order.take`; a split that is held in memory is there as a whole.
  """
  if split.stream is None:
    return _Whole(split, put)
  return _Windows(split.stream, put, order, size)


def mark(split: Split) -> Any:
  """Returns numpy arrays that tell the data of a split from others."""
  return split.arrays if split.stream is None else split.stream.mark()


def first(split: Split) -> Any:
  """Returns what the first batch of a pass in order is made of."""
  order = Order(in_order, 1, 1)
  with contextlib.closing(feed(split, jax.device_put, order, 1)) as given:
    return given(0, 0)


def in_order(number: int) -> None:
  """Returns the key of a pass that is not shuffled."""
  del number


class _Whole(Feed):
  """Puts all arrays on the devices when they are first asked for."""

  def __init__(self, split, put):
    self.size = split.steps
    self._split, self._put, self._arrays = split, put, None

  def __call__(self, number, place):
    if self._put:
      self._arrays = self._put(self._split.arrays)
      self._put = None
    return self._arrays


class _Windows(Feed):
  """Puts a window on the devices, and the next one ahead of time."""

  def __init__(self, stream, put, order, size):
    self.size = size
    self._stream, self._put, self._order = stream, put, order
    self._next, self._windows = None, (nothing for nothing in ())

  def __call__(self, number, place):
    if (number, place) != self._next:  # the first, or after a step back
      self.close()
      # A function, not a method: what nobody holds any more ends at once.
      read = _windows(
          self._stream, self._put, self._order, self.size, number, place
      )
      self._windows = _ahead(read)
    self._next, arrays = next(self._windows)
    return arrays

  def close(self):
    self._next = None
    self._windows.close()


def _windows(
    stream: Stream,
    put: Callable[[Any], Any],
    order: Order,
    size: int,
    number: int,
    place: int,
) -> Iterator[tuple[tuple[int, int], Any]]:
  """Yields (what comes after a window, the window on the devices)."""
  with contextlib.closing(stream.read(order, number, place)) as batches:
    while number < order.passes:
      count = min(size, order.take - place)
      found = [next(batches) for _ in range(count)]
      # Where a pass ends, its last window is filled up with any batch.
      slots = [found[min((n - place) % size, count - 1)] for n in range(size)]
      place += count
      if place == order.take:
        number, place = number + 1, 0
      stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *slots)
      yield (number, place), put(stacked)


def _ahead(items: Iterator[Any]) -> Iterator[Any]:
  """Yields the items; when one is given, the next one is made already."""
  with contextlib.closing(items):
    before = next(items)
    for item in items:
      yield before
      before = item
    yield before
