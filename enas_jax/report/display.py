"""Shows a person lines, tables and, on a terminal, a live bar.

Everything but the bar is written to the run's `log.txt` as well.
"""

from collections.abc import Sequence
import io
import pathlib
import time

from rich import console as rich_console
from rich import progress, table

from enas_jax.data.telling import clock

# The first step of each kind waits for its compilation.
_FIRST = "starting; compiling may take minutes"
_WIDTH = 100  # columns of a table in log.txt


class Display:
  """Writes lines and tables to the output and to `log.txt`; makes bars."""

  def __init__(self, log: pathlib.Path, show: bool = True):
    self._console = rich_console.Console(
        highlight=False, soft_wrap=True, quiet=not show
    )
    self._log = log.open("a", encoding="utf-8", errors="surrogateescape")
    self.again = self._log.tell() > 0  # whether an earlier process wrote there

  def say(self, text: str) -> None:
    """Writes a line."""
    self._console.print(text, markup=False)
    self.note(text)

  def note(self, text: str) -> None:
    """Writes a line that was shown already to the log."""
    # As one piece, since another thread tells of a signal.
    self._log.write(f"{text}\n")
    self._log.flush()

  def table(
      self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]
  ) -> None:
    """Writes a table; each row has a cell for each column."""
    out = table.Table(*columns, title=title, title_justify="left")
    for row in rows:
      out.add_row(*row)
    self._console.print(out)
    page = rich_console.Console(file=io.StringIO(), width=_WIDTH)
    page.print(out)
    print(page.file.getvalue(), file=self._log, flush=True)

  def bar(self, total: int, done: int = 0) -> "Bar":
    """Returns a bar of `total` steps, of which `done` are done."""
    return Bar(self._console, total, done)

  def close(self) -> None:
    """Closes the log."""
    self._log.close()


class Bar:
  """A live bar; it shows nothing where the output is no terminal."""

  def __init__(self, console: rich_console.Console, total: int, done: int):
    self.live = console.is_terminal and not console.quiet
    self._progress = progress.Progress(
        progress.BarColumn(bar_width=20),
        progress.TaskProgressColumn(),
        progress.TextColumn("{task.description}"),
        console=console,
        disable=not self.live,
        transient=True,
    )
    self._task = self._progress.add_task(
        _FIRST, total=total, completed=done
    )

  def __enter__(self) -> "Bar":
    self._progress.start()
    return self

  def __exit__(self, *unused) -> None:
    self._progress.stop()

  def show(self, done: int, text: str) -> None:
    """Moves the bar to `done` steps, with a text beside it."""
    self._progress.update(self._task, completed=done, description=text)


class Pace:
  """Measures the seconds of a step of each kind, and so the time left.

  The first call of each kind compiles and is left out.
  """

  def __init__(self):
    self._seen: dict[str, int] = {}
    self._spent: dict[str, float] = {}
    self._last = time.monotonic()

  def skip(self) -> None:
    """Leaves out the time since the last step, which no step took."""
    self._last = time.monotonic()

  def step(self, kind: str, count: int = 1) -> None:
    """Takes note of a call that has just made `count` steps of a kind."""
    now = time.monotonic()
    if kind in self._seen:
      self._spent[kind] = self._spent.get(kind, 0.0) + now - self._last
      self._seen[kind] += count
    else:
      self._seen[kind] = 0
    self._last = now

  def seconds(self, kind: str) -> float | None:
    """Returns the seconds of one step; None before the second call."""
    count = self._seen.get(kind)
    return self._spent[kind] / count if count else None

  def left(self, steps: dict[str, int]) -> str:
    """Returns the time that so many steps of each kind take, as text.

    It begins with "at least" where the pace of a kind is not known yet, and is
    "?" where no pace is known.
    """
    each = {kind: self.seconds(kind) for kind, count in steps.items() if count}
    known = {kind: value for kind, value in each.items() if value is not None}
    if each and not known:
      return "?"
    total = clock(sum(steps[kind] * value for kind, value in known.items()))
    return total if len(known) == len(each) else f"at least {total}"
