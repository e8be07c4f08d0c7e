"""Ends a process in order when SIGINT or SIGTERM comes.

A process ends by the signal itself, so that a loop of the shell ends with it
(130 or 143 there). Python gives a signal to its handler only between two of its
own instructions, and a compilation is one of them; so a thread watches, and
ends what does not come back. Only the process of a command is ended so: that of
a notebook, or of whoever else calls a run, has more to lose than the run.
"""

from collections.abc import Callable, Iterator
import contextlib
import contextvars
import os
import pathlib
import select
import signal
import sys
import threading
import time
from typing import NoReturn

from enas_jax import hosts, process

_GRACE = 20.0  # seconds that a process has after a signal
_AT_ONCE = 1.0  # and after Ctrl-C was pressed a second time
_NUMBERS = (signal.SIGINT, signal.SIGTERM)
# Whether a thread ends the process that does not come back.
_WATCHED = contextvars.ContextVar[bool]("watched", default=False)


class Interrupted(KeyboardInterrupt):
  """Says that a signal came and that all that was done is saved.

  Attributes:
    number: the signal.
    together: whether all processes of the run end by it at the same place.
  """

  def __init__(self, number: int = signal.SIGINT, together: bool = False):
    super().__init__(f"stopped by {signal.Signals(number).name}")
    self.number, self.together = number, together


def die(number: int) -> NoReturn:
  """Ends the process by a signal, from whichever thread."""
  first = threading.current_thread() is threading.main_thread()
  if first:  # from another one it might wait for ever
    for stream in (sys.stdout, sys.stderr):
      with contextlib.suppress(Exception):  # a pipe whose reader has gone
        stream.flush()
  process.set_handler(number, None)
  if first:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
  os.kill(os.getpid(), number)
  time.sleep(1.0)  # until it arrives
  os._exit(128 + number)


@contextlib.contextmanager
def caught(
    handler: Callable[[int, object], None],
    last: Callable[[int], None] = lambda number: None,
    grace: float | None = _GRACE,
    first: Callable[[int], None] = lambda number: None,
) -> Iterator[threading.Lock]:
  """Handles SIGINT and SIGTERM, and ends a process that does not come back.

  In another thread than the main one it does nothing, since Python gives no
  signal to a handler there.

  Args:
    handler: as `signal.signal` takes it.
    last: is told of the signal before the process ends.
    grace: the seconds from the first signal to that end; None: it is not ended.
    first: is told of the first signal, in a thread of its own: at once, also
      amid a compilation, and never amid a line that the main thread writes.

  Yields:
    A lock. While it is held, the process is not ended.
  """
  busy = threading.Lock()
  if threading.current_thread() is not threading.main_thread():
    yield busy
    return
  with contextlib.ExitStack() as stack:
    stack.enter_context(_watched(busy, last, grace, first))
    for number in _NUMBERS:
      if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and & have it
        stack.callback(signal.signal, number, signal.signal(number, handler))
    yield busy


@contextlib.contextmanager
def _watched(
    busy: threading.Lock,
    last: Callable[[int], None],
    grace: float | None,
    first: Callable[[int], None],
) -> Iterator[None]:
  """Runs the thread that watches."""
  reader, writer = os.pipe()
  os.set_blocking(writer, False)
  watch = threading.Thread(
      target=_watch, args=(reader, busy, last, grace, first), daemon=True
  )
  watch.start()
  wakeup = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
  token = _WATCHED.set(grace is not None)
  try:
    yield
  finally:
    _WATCHED.reset(token)
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    os.close(writer)
    watch.join()
    os.close(reader)


def _watch(
    reader: int,
    busy: threading.Lock,
    last: Callable[[int], None],
    grace: float | None,
    first: Callable[[int], None],
) -> None:
  """Waits for signals, and tells of the first; ends the process in the end.

  It returns when the other end of the pipe is closed.
  """
  number, end = 0, None
  while True:
    left = None if end is None else end - time.monotonic()
    if left is not None and left <= 0:
      with busy, contextlib.suppress(Exception):
        last(number)
      return die(number)
    if not _readable(reader, left):
      continue
    came = os.read(reader, 1)
    if not came:
      return
    if came[0] not in _NUMBERS:
      continue
    if not number:
      number = came[0]
      if grace is not None:
        end = time.monotonic() + grace
      with contextlib.suppress(Exception):
        first(number)
    elif end is None:
      continue
    elif came[0] == signal.SIGINT:
      number, end = came[0], min(end, time.monotonic() + _AT_ONCE)


def _readable(reader: int, seconds: float | None) -> bool:
  return bool(select.select([reader], [], [], seconds)[0])


class Signals:
  """Turns the first SIGINT or SIGTERM into a wish to stop.

  Where a run has several processes, a signal to one of them stops all at the
  same place. A second SIGINT stops at once. Where a step of a command does not
  end in time, the process ends without it, but never amid what is done under
  `saving`.

  Attributes:
    compiling: whether the steps are yet to be compiled.
    saved: whether there is a checkpoint from which the run goes on.
  """

  def __init__(self, say: Callable[[str], None], path: pathlib.Path):
    self.caught = 0  # the number of the signal that came to this process
    self._watch = hosts.Watch()
    self.saving: contextlib.AbstractContextManager = contextlib.nullcontext()
    self.compiling = self.saved = False
    self._say, self._path = say, path
    self._telling, self._stopped = threading.Lock(), False
    self._open = contextlib.ExitStack()

  def __enter__(self) -> "Signals":
    grace = _GRACE if _WATCHED.get() else None
    self.saving = self._open.enter_context(
        caught(self._catch, self._last, grace, self._first)
    )
    return self

  def __exit__(self, *unused) -> None:
    self._open.close()

  def came(self) -> bool:
    """Says whether a signal came to any process; all of them ask together."""
    self._watch.look(int(self.caught))
    return bool(self._watch.caught)

  @property
  def time(self) -> float:
    """The seconds until `came` was last asked, the same in all processes."""
    return self._watch.time

  def stop_if_caught(self) -> None:
    """Raises Interrupted if a signal came. Call it when all is saved."""
    if self.came():
      with self._telling:
        self._stopped = True
        self._say(
            f"Stopped; everything is saved in {self._path}. The same command"
            " goes on from there."
        )
      raise Interrupted(self._watch.caught, together=True)

  def _catch(self, number, frame) -> None:
    """Handles a signal."""
    del frame
    if self.caught and number == signal.SIGINT:
      raise KeyboardInterrupt
    self.caught = number

  def _first(self, number: int) -> None:
    """Says what is waited for, unless that is over."""
    more = ": SIGTERM came"
    if number == signal.SIGINT:
      more = "; Ctrl-C now ends at once"
    doing = "Stopping after this step"
    if self.compiling:
      doing = (
          f"Stopping. The steps are being compiled, which may take"
          f" {_GRACE:.0f} seconds"
      )
    with self._telling:
      if not self._stopped:
        self._say(f"{doing}{more}.")

  def _last(self, number: int) -> None:
    """Says that the process ends before its step has."""
    doing = "amid a step, which took too long"
    if self.compiling:
      doing = "while compiling"
    then = "Nothing was saved yet: the same command begins from the start."
    if self.saved:
      then = f"The same command goes on from what was saved in {self._path}."
    self._say(f"Stopped {doing}. {then}")
    hosts.leave(f"stopped by {signal.Signals(number).name} amid a step.")
