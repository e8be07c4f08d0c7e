"""Makes `report.html`, the page of one run, from the files in its folder.

The page is one file: it opens without a network, has no script, and is light or
dark as the reader's system is. It can be made of a run that is still at work.
"""

from collections.abc import Callable, Iterator
import contextlib
import functools
import pathlib
import time

from enas_jax import folder
from enas_jax.data.telling import printable
from enas_jax.errors import ConfigError, one_line
from enas_jax.plan import flat
from enas_jax.report import (
  charts,
  drawing,
  files,
  markup,
  onward,
  results,
  searched,
)
from enas_jax.report.files import block, RunFiles
from enas_jax.report.markup import paragraph


@contextlib.contextmanager
def left(path: pathlib.Path, say: Callable[[str], None]) -> Iterator[None]:
  """Leaves the page of a run in its folder, however the run ends.

  A run that is refused changes nothing in its folder. A page that cannot be
  made is a line at most, since the run is worth more than its page.

  Args:
    path: The folder of the run.
    say: Is told why there is no page of a run that has come to its end.
  """
  try:
    yield
  except ConfigError:
    raise
  except BaseException:
    _leave(path)  # what ended the run is told, and nothing else
    raise
  if why := _leave(path):
    say(f"{searched.NAME} could not be written ({why}).")


def _leave(path: pathlib.Path) -> str:
  """Writes the page of the run in a folder; returns why not, or ""."""
  try:
    write(files.read(path), path / searched.NAME)
  except Exception as error:
    return f"{one_line(error):.200}"
  return ""


def write(run: RunFiles, file: pathlib.Path) -> None:
  """Writes the page of a run, whole or not at all."""
  folder.write(file, html(run, file.parent))


def html(run: RunFiles, at: pathlib.Path) -> str:
  """Returns the page of a run; `at` is the folder where it will lie."""
  known = {
      "curves": ("Curves", _curves),
      "arch": ("The architecture", architecture),
      "candidates": ("The policy against random", searched.candidates),
      "finalists": (
          "Finalists",
          functools.partial(searched.finalists, at=at),
      ),
      "retrained": (
          "Retrained from scratch",
          functools.partial(searched.retrained, at=at),
      ),
      "truth": ("The truth by the benchmark", searched.truth),
      "cost": ("Cost", searched.cost),
      "next": ("What to do next", onward.steps),
      "config": ("Config", _config),
  }
  parts = {
      key: (title, body)
      for key, (title, make) in known.items()
      if (body := guarded(make, run))
  }
  titles = {key: title for key, (title, _) in parts.items()}
  kind = "Search" if run.searches else "Training"
  return markup.document(
      f"{kind}: {run.name}",
      [
          guarded(_outcome, run),
          markup.contents(titles),
          *(markup.section(key, *part) for key, part in parts.items()),
          made([run]),
      ],
  )


def guarded(make: Callable[..., str], *args: object) -> str:
  """Returns a part of a page, or a line where files have another form."""
  try:
    return make(*args)
  except Exception as error:  # a file may hold anything
    return paragraph(
        "This part cannot be shown: a file has another form than is expected"
        f" ({one_line(error):.200}).",
        "note",
    )


def made(runs: list[RunFiles]) -> str:
  """Says when a page was made, and from the files of which folders."""
  now = time.strftime("%Y-%m-%d at %H:%M")
  paths = ", ".join(printable(str(run.path)) for run in runs)
  words = paragraph(f"Made on {now} from the files in {paths}.")
  return f"<footer>{words}</footer>"


def architecture(run: RunFiles, number: int = 0, level: int = 2) -> str:
  """Returns the drawing of a run's arch, the same in words, and its integers.

  Args:
    run: The run.
    number: Tells the drawings of a page apart.
    level: 2 where the drawing is to be explained.
  """
  if not run.drawing:
    words = "The search has not derived an architecture yet."
    return paragraph(words, "note") if run.searches else ""
  lines = [str(line) for line in run.arch.get("readable", ())]
  encoding = run.arch.get("encoding") or run.result.get("encoding") or []
  integers = " ".join(map(str, encoding))
  label = "Drawing of the architecture"
  label += "; the same follows in words." if lines else f" {integers}."
  try:
    picture = drawing.inline(run.drawing, label, f"tip{number}")
  except ValueError as error:
    return paragraph(f"arch.svg cannot be shown ({error}).", "note")
  parts = [markup.wide(f"Drawing of the architecture of {run.name}", picture)]
  if level == 2:
    parts.insert(0, paragraph(
        "A rounded box is a state, the sum of all that points at it. A square"
        " box is an operation. A bold state is read by no other."
    ))
  if lines:
    parts.append(markup.items(lines))
  if integers:
    parts.append(paragraph("As integers, which config.arch takes:"))
    parts.append(markup.code(integers))
  return "\n".join(parts)


def _outcome(run: RunFiles) -> str:
  config = run.config
  named = {
      "Space": block(config, "space").get("name"),
      "Strategy": block(config, "strategy").get("name"),
      "Data": block(config, "data").get("name"),
      "Epochs": config.get("epochs"),
      "Seed": config.get("seed"),
  }
  named = {k: str(v) for k, v in named.items() if v is not None}
  facts = markup.facts({**results.outcome(run), **named})
  return facts + notes(run)


def notes(run: RunFiles, name: str = "") -> str:
  """Returns why a run diverged, and what of its files could not be read."""
  found = [*filter(None, [run.diverged]), *run.notes]
  found = [f"{name}: {each}" if name else each for each in found]
  return markup.items(found, "notes") if found else ""


def _curves(run: RunFiles) -> str:
  return charts.figures(run) or paragraph("No epoch has ended yet.", "note")


def _config(run: RunFiles) -> str:
  rows = [[key, word(value)] for key, value in flat(run.config).items()]
  if not rows:
    return ""
  table = markup.table("config.json", ("key", "value"), rows, words=True)
  return markup.folded(f"Show all {len(rows)} values", table)


def word(value: object) -> str:
  """Returns a value of a config as text."""
  return '""' if value == "" else str(value)
