"""Makes a page that sets several runs beside each other."""

from collections.abc import Sequence
import pathlib

from enas_jax import folder
from enas_jax.data.telling import printable
from enas_jax.plan import effective
from enas_jax.report import charts, markup, page, results, searched
from enas_jax.report.files import RunFiles

_FEW = 12  # rows of a table that is shown without being opened
_ABSENT = object()


def write(runs: Sequence[RunFiles], file: pathlib.Path) -> None:
  """Writes the page of several runs, whole or not at all."""
  folder.write(file, html(runs, file.parent))


def html(runs: Sequence[RunFiles], at: pathlib.Path) -> str:
  """Returns the page of several runs; `at` is the folder where it will lie."""
  named = _named(runs)
  known = {
      "results": ("Results", lambda named: _results(named, at)),
      "differences": ("Where their configs differ", _differences),
      "curves": ("Curves", charts.overlaid),
      "candidates": ("The policy against random", _candidates),
      "arch": ("The architectures", _architectures),
  }
  parts = {
      key: (title, body)
      for key, (title, make) in known.items()
      if (body := page.guarded(make, named))
  }
  titles = {key: title for key, (title, _) in parts.items()}
  return markup.document(
      f"{len(named)} runs beside each other",
      [
          *(page.notes(run, name) for name, run in named.items()),
          markup.contents(titles),
          *(markup.section(key, *part) for key, part in parts.items()),
          page.made([*named.values()]),
      ],
  )


def _named(runs: Sequence[RunFiles]) -> dict[str, RunFiles]:
  """Returns the runs by their names, or by their paths where some are alike."""
  names = [run.name for run in runs]
  if len({*names}) < len(names):
    names = [printable(str(run.path)) for run in runs]
  return dict(zip(names, runs, strict=True))


def _results(named: dict[str, RunFiles], at: pathlib.Path) -> str:
  found = {name: results.outcome(run) for name, run in named.items()}
  columns = dict.fromkeys(
      key for row in found.values() for key, value in row.items() if value
  )
  rows = [
      [
          searched.linked(named[name], name, at),
          *(row.get(key, "") for key in columns),
      ]
      for name, row in found.items()
  ]
  return markup.table("What each run came to", ("run", *columns), rows)


def _differences(named: dict[str, RunFiles]) -> str:
  """Returns the values in which configs differ, of those that matter."""
  # `run_on` is a note of a run, no value of its config.
  values_of = [
      {key: of for key, of in run.config.items() if key != "run_on"}
      for run in named.values()
  ]
  configs = [effective(values) for values in values_of]
  keys = dict.fromkeys(key for config in configs for key in config)
  rows = []
  for key in keys:
    values = [config.get(key, _ABSENT) for config in configs]
    if any(value != values[0] for value in values):
      rows.append([
          key,
          *("absent" if v is _ABSENT else page.word(v) for v in values),
      ])
  if not rows:
    return markup.paragraph("They have the same config.")
  columns = ("key", *named)
  table = markup.table("Values that differ", columns, rows, words=True)
  if len(rows) <= _FEW:
    return table
  return markup.folded(f"Show the {len(rows)} values that differ", table)


def _candidates(named: dict[str, RunFiles]) -> str:
  """Returns what candidates of each run score by its shared weights."""
  rows = [
      [name, run.score, source, *row]
      for name, run in named.items()
      if run.searches
      for source, row in searched.summary(run).items()
  ]
  columns = ("run", "score", "source", "candidates", "best", "mean", "std")
  caption = "Scores by the shared weights of each run"
  return markup.table(caption, columns, rows) if rows else ""


def _architectures(named: dict[str, RunFiles]) -> str:
  found = []
  for n, (name, run) in enumerate(named.items()):
    body = page.guarded(page.architecture, run, n, 3)
    if body:
      found.append(f"<h3>{markup.text(name)}</h3>\n{body}")
  return "\n".join(found)
