"""A stage: one run or one of its trainings, in a folder of its own."""

from collections.abc import Iterator
import contextlib
import pathlib
import tempfile
from typing import Any, NamedTuple

from enas_jax import folder, hosts
from enas_jax.errors import writing
from enas_jax.plan import Plan
from enas_jax.report import page
from enas_jax.report.display import Display
from enas_jax.signals import Signals


class Stage(NamedTuple):
  """One run or one of its trainings, in a folder of its own."""

  plan: Plan
  home: pathlib.Path  # the folder; all processes write checkpoints there
  path: pathlib.Path  # where this process writes all else
  display: Display
  signals: Signals
  show: bool = True  # what its log holds

  def say(self, text: str) -> None:
    """Shows a line and keeps it in the log."""
    self.display.say(text)


@contextlib.contextmanager
def opened(
    plan: Plan,
    workdir: str | pathlib.Path,
    show: bool,
    signals: Signals | None = None,
) -> Iterator[Stage]:
  """Claims the folder of a plan and holds it.

  Of several processes one writes there. What the others write, which is the
  same, goes into a folder that lasts as long as the stage.

  Args:
    plan: what is run there.
    workdir: the folder.
    show: whether what its log holds is shown, too.
    signals: of the run that this one is a part of; its own by default.
  """
  home = hosts.first(lambda: folder.claim(workdir, plan.record))
  with writing(home), contextlib.ExitStack() as stack:
    path, writes = home, hosts.writes()
    if not writes:
      path = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    display = Display(path / "log.txt", show and writes)
    stack.enter_context(contextlib.closing(display))
    locked = folder.locked(home, display.say)
    hosts.first(lambda: stack.enter_context(locked))
    folder.note(path, plan.record)
    if signals is None:
      signals = stack.enter_context(Signals(display.say, home))
    if names := plan.facts.classes:
      folder.write(path / "labels.txt", "".join(f"{n}\n" for n in names))
    stack.enter_context(page.left(path, display.say))
    yield Stage(plan, home, path, display, signals, show)


def written(stage: Stage, result: dict[str, Any]) -> dict[str, Any]:
  """Writes the result of a stage; all processes return the same."""

  def write():
    folder.write_json(stage.path / "result.json", result)
    return result

  return hosts.first(write)
