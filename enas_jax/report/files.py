"""Reads the files of a run for pages about it, and trusts none of them.

A run may be at work, stopped, finished or damaged. What cannot be read becomes
a line of `notes`, and the rest is there.
"""

import json
import math
import pathlib
from typing import Any, NamedTuple

from enas_jax.data.telling import printable
from enas_jax.errors import one_line

_MOST = 1 << 28  # bytes of a file that is read
# The parts of a run that are runs, and what is in a line of each kind of file.
_PARTS = ("finalists", "retrain")
_EPOCH, _SOURCE = "epoch", "source"
_LESS = ("loss", "perplexity")  # measures of which less is better
_MAIN = ("accuracy", "perplexity")  # what networks are judged by


class RunFiles(NamedTuple):
  """What the files of a run say; a file that is not there is empty."""

  path: pathlib.Path
  config: dict[str, Any]
  epochs: list[dict[str, Any]]  # of metrics.jsonl
  candidates: list[dict[str, Any]]  # of derive.jsonl
  arch: dict[str, Any]
  result: dict[str, Any]
  drawing: str  # the text of arch.svg
  notes: list[str]  # what could not be read, a line each

  @property
  def name(self) -> str:
    """The name of the folder; that of a part begins with its run's."""
    whole = self.path.absolute()
    part = whole.parent.name in _PARTS
    return printable("/".join(whole.parts[-3 if part else -1 :]))

  @property
  def searches(self) -> bool:
    """Whether it is a search; else it trains one network."""
    return "strategy" in self.config

  @property
  def diverged(self) -> str:
    """What a training says that could not go on; "" of any other."""
    return str(self.result.get("diverged", ""))

  @property
  def score(self) -> str:
    """The name of what candidates are ranked by."""
    task = block(self.config, "task")
    return str(self.arch.get("metric") or task.get("score") or "perplexity")

  @property
  def seconds(self) -> float:
    """The time of what has been done, without retrainings."""
    lines = [*self.epochs, *self.candidates, *rows(self.arch, "finalists")]
    times = (number(line.get("seconds")) for line in lines)
    return sum(time for time in times if time is not None)


def read(path: pathlib.Path) -> RunFiles:
  """Returns what the files in the folder of a run say."""
  notes = []
  config = _object(path / "config.json", notes)
  if not (path / "config.json").exists():
    notes.append("config.json is missing.")
  return RunFiles(
      path,
      config,
      _lines(path / "metrics.jsonl", _EPOCH, notes),
      _lines(path / "derive.jsonl", _SOURCE, notes),
      _object(path / "arch.json", notes),
      _object(path / "result.json", notes),
      _text(path / "arch.svg", notes),
      notes,
  )


def is_run(path: pathlib.Path) -> bool:
  """Says whether a folder holds any file that a page is made of."""
  names = ("config.json", "metrics.jsonl", "arch.json", "result.json")
  return any((path / name).exists() for name in names)


def parts(run: RunFiles, name: str) -> dict[str, RunFiles]:
  """Returns the finalists or the retrainings of a search by their names.

  Args:
    run: The search.
    name: "finalists" or "retrain".
  """
  folder = run.path / name
  if not folder.is_dir():
    return {}
  inner = [path for path in folder.iterdir() if is_run(path)]
  # "10" comes after "9", and "derived" before "random_0".
  inner.sort(key=lambda path: (len(path.name), path.name))
  inner.sort(key=lambda path: path.name != "derived")
  return {printable(path.name): read(path) for path in inner}


def number(value: Any) -> float | None:
  """Returns a value that is a finite number; None of any other."""
  if isinstance(value, bool) or not isinstance(value, int | float):
    return None
  try:
    return value if math.isfinite(value) else None
  except OverflowError:  # an integer that no float can hold
    return None


def block(content: dict[str, Any], key: str) -> dict[str, Any]:
  """Returns the object at a key; an empty one where there is none."""
  found = content.get(key)
  return found if isinstance(found, dict) else {}


def rows(content: dict[str, Any], key: str) -> list[dict[str, Any]]:
  """Returns the objects of the list at a key."""
  found = content.get(key)
  if not isinstance(found, list):
    return []
  return [row for row in found if isinstance(row, dict)]


def less_is_better(name: str) -> bool:
  """Says whether less is better of a measure, such as "test/perplexity"."""
  return name.rpartition("/")[2] in _LESS


def measured(values: dict[str, Any], part: str) -> tuple[str, float] | None:
  """Returns the name and the value by which a network is judged on a split.

  Args:
    values: Such as a result has, "test/accuracy" and others.
    part: "test" or "valid".

  Returns:
    None where nothing was measured on that split.
  """
  found = {
      name: value
      for name, each in values.items()
      if name.startswith(f"{part}/") and (value := number(each)) is not None
  }
  first = [f"{part}/{name}" for name in _MAIN]
  for name in [*first, *found]:
    if name in found:
      return name, found[name]
  return None


def _text(file: pathlib.Path, notes: list[str]) -> str:
  """Returns the text of a file; "" where there is none."""
  try:
    if file.stat().st_size > _MOST:
      notes.append(f"{file.name} is larger than {_MOST:,} bytes; left out.")
      return ""
    return file.read_text(encoding="utf-8", errors="replace")
  except FileNotFoundError:
    return ""
  except OSError as error:
    notes.append(f"{file.name} cannot be read: {error.strerror}.")
    return ""


def _object(file: pathlib.Path, notes: list[str]) -> dict[str, Any]:
  """Returns the object in a file of JSON; an empty one where there is none."""
  text = _text(file, notes)
  if not text and not file.exists():
    return {}
  try:
    found = json.loads(text)
  except (ValueError, RecursionError) as error:
    notes.append(f"{file.name} cannot be read ({one_line(error):.200}).")
    return {}
  if isinstance(found, dict):
    return found
  notes.append(f"{file.name} holds no object of JSON.")
  return {}


def _lines(
    file: pathlib.Path, key: str, notes: list[str]
) -> list[dict[str, Any]]:
  """Returns the lines of a file of JSON lines that can be read.

  Args:
    file: A last line that was cut short is left out, as a run at work has it.
    key: What each line has to have.
    notes: Is told how many other lines cannot be read.
  """
  found, broken = [], []
  for n, line in enumerate(_text(file, notes).split("\n")[:-1], 1):
    try:
      values = json.loads(line)
    except (ValueError, RecursionError):
      values = None
    if isinstance(values, dict) and key in values:
      found.append(values)
    else:
      broken.append(n)
  if broken:
    notes.append(
        f"{file.name}: line {broken[0]} cannot be read and is left out"
        + (f", and {len(broken) - 1:,} more." if len(broken) > 1 else ".")
    )
  return found
