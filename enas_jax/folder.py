"""Claims, locks and writes the folder of a run, and stops runs in order."""

from collections.abc import Callable, Iterator
import contextlib
import fcntl
import json
import os
import pathlib
import signal
from typing import Any

from enas_jax.errors import ConfigError

_SHOWN = 6  # differing keys in a refusal


class Interrupted(Exception):
  """Says that SIGINT or SIGTERM came and that everything is saved."""


def claim(workdir: str | pathlib.Path, record: dict[str, Any]) -> pathlib.Path:
  """Makes the folder of a run, or finds the folder of a run that goes on.

  Args:
    workdir: The path of the folder.
    record: The config of the run.

  Raises:
    ConfigError: The folder cannot be made, belongs to another config, or holds
      something that is no run.
  """
  path = pathlib.Path(workdir)
  try:
    if (path / "config.json").exists():
      _agree(path, record)
    elif path.is_dir() and any(
        not entry.name.endswith(".tmp") for entry in path.iterdir()
    ):
      raise ConfigError(
          "--workdir", f"{path} is not empty and is not the folder of a run."
      )
    else:
      path.mkdir(parents=True, exist_ok=True)
      write_json(path / "config.json", record)
    (path / "log.txt").touch()
  except OSError as error:
    raise ConfigError(
        "--workdir", f"cannot write to {path}: {error.strerror}."
    ) from None
  return path


@contextlib.contextmanager
def locked(path: pathlib.Path) -> Iterator[None]:
  """Keeps other processes out of the folder.

  Raises:
    ConfigError: Another process is at work in the folder.
  """
  with (path / "log.txt").open("a") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
      raise ConfigError(
          "--workdir", f"another process is at work in {path}."
      ) from None
    yield


def finished(
    workdir: str | pathlib.Path, record: dict[str, Any]
) -> dict[str, Any] | None:
  """Returns the result of a finished run of this config.

  Returns:
    None where there is no run, or it has not ended.

  Raises:
    ConfigError: The folder belongs to another config.
  """
  path = pathlib.Path(workdir)
  if not (path / "config.json").exists():
    return None
  _agree(path, record)
  result = path / "result.json"
  return json.loads(result.read_text()) if result.exists() else None


def _agree(path: pathlib.Path, record: dict[str, Any]) -> None:
  """Raises ConfigError unless the folder belongs to this config."""
  here = _flat(record)
  try:
    there = _flat(json.loads((path / "config.json").read_text()))
  except (AttributeError, ValueError):
    raise ConfigError(
        "--workdir", f"{path / 'config.json'} cannot be read."
    ) from None
  absent = object()
  keys = [
      key
      for key in sorted({*here, *there})
      if _plain(here.get(key, absent)) != _plain(there.get(key, absent))
  ]
  if keys:
    shown = ", ".join(
        f"{key} ({_word(there, key)} there, {_word(here, key)} here)"
        for key in keys[:_SHOWN]
    )
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    raise ConfigError(
        "--workdir",
        f"{path} is a run of another config: {shown}{more}. Name another"
        " folder, or give the run its own values.",
    )


def _word(values, key: str) -> str:
  """Returns the value of a key in words."""
  return repr(values[key]) if key in values else "absent"


def _plain(value: Any) -> Any:
  """Returns a value as it is after it was written and read as JSON."""
  return list(value) if isinstance(value, tuple) else value


def _flat(record: dict[str, Any]) -> dict[str, Any]:
  """Returns every value under its dotted key."""
  out = {}
  for name, value in record.items():
    if isinstance(value, dict):
      out.update({f"{name}.{key}": v for key, v in _flat(value).items()})
    else:
      out[name] = value
  return out


def lines(file: pathlib.Path) -> list[dict[str, Any]]:
  """Returns the lines of a file of JSON lines, without a cut last one."""
  if not file.exists():
    return []
  whole = file.read_text().split("\n")[:-1]
  return [json.loads(line) for line in whole]


def write_json(path: pathlib.Path, content: Any) -> None:
  """Writes the whole file, or nothing where the process is killed."""
  write(path, json.dumps(content, indent=2) + "\n")


def write(path: pathlib.Path, text: str) -> None:
  """Writes the whole file or nothing, whenever the process is killed."""
  draft = path.with_name(path.name + ".tmp")
  draft.write_text(text)
  os.replace(draft, path)


class Signals:
  """Turns the first SIGINT or SIGTERM into a wish to stop.

  A second SIGINT ends the process at once.
  """

  def __init__(self, say: Callable[[str], None], path: pathlib.Path):
    self.caught = False
    self._say, self._path = say, path
    self._before = {}

  def __enter__(self) -> "Signals":
    for number in (signal.SIGINT, signal.SIGTERM):
      self._before[number] = signal.signal(number, self._catch)
    return self

  def __exit__(self, *unused) -> None:
    for number, handler in self._before.items():
      signal.signal(number, handler)

  def stop_if_caught(self) -> None:
    """Raises Interrupted if a signal came. Call it when all is saved."""
    if self.caught:
      self._say(
          f"Stopped; everything is saved in {self._path}. The same command"
          " goes on from there."
      )
      raise Interrupted

  def _catch(self, number, frame) -> None:
    """Handles a signal."""
    del frame
    if self.caught and number == signal.SIGINT:
      raise KeyboardInterrupt
    if not self.caught:
      self._say("Stopping after this step; Ctrl-C now ends at once.")
    self.caught = True
