"""Says in which mode a network runs, so that its layers need not be told.

A network made with `spaces.choices` enters its mode as it is called. Its layers
(`enas_jax.nn`) ask for it: they normalise by the batch in a search, and track
moving averages in a final network. Outside of such a network the mode is that
of a search.
"""

from collections.abc import Iterator
import contextlib
import contextvars
from typing import NamedTuple


class Mode(NamedTuple):
  """The mode of a network while it is called."""

  final: bool = False  # whether it has only what its arch chose
  train: bool = False  # whether moving averages move


_SEARCH = Mode()
_MODE = contextvars.ContextVar("mode", default=_SEARCH)


def current() -> Mode:
  """Returns the mode of the network that is being called."""
  return _MODE.get()


@contextlib.contextmanager
def entered(mode: Mode) -> Iterator[None]:
  """Sets the mode while the context is open."""
  token = _MODE.set(mode)
  try:
    yield
  finally:
    _MODE.reset(token)
