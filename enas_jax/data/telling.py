"""What readers of data tell a person while they read.

They are silent unless somebody listens: `heard` says who.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
import contextlib
import contextvars
import datetime
import time
from typing import Any

Tell = Callable[[str], None]

_FIRST = 2.0  # seconds before the first word on what is still being read
_SHOWN = 8  # names in a line
_LISTENER = contextvars.ContextVar[Tell | None]("listener", default=None)


@contextlib.contextmanager
def heard(tell: Tell) -> Iterator[None]:
  """Gives `tell` each line that readers tell meanwhile, when they tell it."""
  token = _LISTENER.set(tell)
  try:
    yield
  finally:
    _LISTENER.reset(token)


def tell(line: str) -> None:
  """Tells a line to whoever listens."""
  if listener := _LISTENER.get():
    listener(printable(line))


def printable(text: str) -> str:
  """Returns a text that can be printed; names of files may be no Unicode."""
  return text.encode(errors="surrogateescape").decode(errors="backslashreplace")


def counted(
    items: Sequence, what: str, brief: bool = False
) -> Iterator[Any]:
  """Yields the items, and tells how many are read and how long it takes.

  While it takes, lines come after 2 seconds, 4, 8 and so on.

  Args:
    items: The items, each of which is read before the next is asked for.
    what: What they are and where, such as "pictures in D/train".
    brief: Whether nothing is told of what takes less than 2 seconds.
  """
  begun, due = time.monotonic(), _FIRST
  for done, item in enumerate(items):
    spent = time.monotonic() - begun
    if done and spent > due:
      due *= 2
      left = clock(spent / done * (len(items) - done))
      tell(
          f"Reading {len(items):,} {what}: {done:,} are read, about {left}"
          " left."
      )
    yield item
  if not brief or due > _FIRST:
    tell(f"Read {len(items):,} {what} in {clock(time.monotonic() - begun)}.")


def few(names: Iterable[Any]) -> str:
  """Returns the first of some names, and how many more there are."""
  names = list(map(str, names))
  more = len(names) - _SHOWN
  ends = [f"and {more:,} more"] if more > 0 else []
  return ", ".join(names[:_SHOWN] + ends)


def clock(seconds: float) -> str:
  """Returns seconds as h:mm:ss."""
  return str(datetime.timedelta(seconds=round(seconds)))
