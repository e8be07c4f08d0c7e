"""Reads the items of a sequence ahead of time, by Grain.

Grain (https://google-grain.readthedocs.io) gives each of its processes every
so-many-th item, and brings what they made back in the order of the sequence.
"""

from collections.abc import Iterator, Sequence
import contextlib
import importlib.util
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from typing import Any, NamedTuple

import jax
import numpy as np

from enas_jax.errors import ConfigError

_AHEAD = 2  # items that each process makes before they are asked for


class _Failed(NamedTuple):
  """A ConfigError as an item, which comes whole from another process."""

  key: str
  message: str


class _Told:
  """A sequence that gives a ConfigError as an item."""

  def __init__(self, items: Sequence):
    self._items = items

  def __len__(self) -> int:
    return len(self._items)

  def __getitem__(self, number: int) -> Any:
    try:
      return self._items[number]
    except ConfigError as error:
      return _Failed(error.key, error.message)


def check() -> None:
  """Raises ConfigError of "stream" where Grain is not installed."""
  if importlib.util.find_spec("grain") is None:
    raise ConfigError(
        "stream", "needs Grain. Run: pip install 'enas_jax[stream]'"
    )


@contextlib.contextmanager
def reading(items: Sequence, workers: int) -> Iterator[Iterator[Any]]:
  """Gives an iterator over the items, and ends its processes at last.

  Args:
    items: The items, trees of numpy arrays. Where there are processes the
      sequence is pickled, and each imports what it needs.
    workers: The processes that make the items; 0: this one does.

  Raises:
    ConfigError: As the sequence raises it; or of "workers", a process has
      ended.
  """
  check()
  from absl import flags
  import grain  # takes half a second

  if not flags.FLAGS.is_parsed():  # outside of a command, where Grain asks too
    flags.FLAGS.mark_as_parsed()
  options = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
  dataset = grain.MapDataset.source(_Told(items)).to_iter_dataset(options)
  if workers:
    dataset = dataset.mp_prefetch(
        grain.MultiprocessingOptions(workers, _AHEAD), worker_init_fn=_begin
    )
  iterator = iter(dataset)
  try:
    yield _checked(iterator)
  finally:
    iterator.close()


def _checked(iterator: Iterator) -> Iterator[Any]:
  """Yields the items; raises what went wrong as one line."""
  try:
    for item in iterator:
      if isinstance(item, _Failed):
        raise ConfigError(*item)
      # Copied out of the memory that the processes share, which is free then.
      yield jax.tree.map(np.array, item)
  except RuntimeError as error:
    if "terminated unexpectedly" not in str(error):
      raise
    code = str(error).partition("exit code ")[2].partition(".")[0]
    raise ConfigError(
        "workers",
        f"a process that reads the data has ended (exit code {code}). The"
        " memory may be short, so that fewer help; or a script of your own"
        " lacks `if __name__ == '__main__':`.",
    ) from None


def _begin(number: int, count: int) -> None:
  """Prepares a process that reads; it ends when the one that it serves does."""
  del number, count
  # It computes the order of the data, which needs no accelerator.
  jax.config.update("jax_platforms", "cpu")
  # What comes to all processes of a terminal or a job is for the first one.
  for each in (signal.SIGINT, signal.SIGTERM):
    signal.signal(each, signal.SIG_IGN)
  threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
  parent = multiprocessing.parent_process()
  multiprocessing.connection.wait([parent.sentinel])
  os._exit(1)
