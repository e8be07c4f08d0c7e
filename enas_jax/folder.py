"""Claims, locks and writes the folder of a run, and stops runs in order."""

from collections.abc import Callable, Iterator
import contextlib
import fcntl
import json
import os
import pathlib
import shutil
import signal
import threading
from typing import Any

from enas_jax.errors import ConfigError
from enas_jax.plan import effective

_SHOWN = 6  # differing keys in a refusal


class Interrupted(KeyboardInterrupt):
  """Says that SIGINT or SIGTERM came and that everything is saved."""


class OtherConfig(ConfigError):
  """Says that a folder holds the run of another config.

  Attributes:
    there: its values that differ, by dotted key.
    here: those of the config that was given.
  """

  def __init__(self, message: str, there: dict, here: dict):
    super().__init__("--workdir", message)
    self.there, self.here = there, here


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
      if _agree(path, record) != _read(record):
        write_json(path / "config.json", record)
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


def _agree(path: pathlib.Path, record: dict[str, Any]) -> dict[str, Any]:
  """Returns the record in a folder, which agrees with this one.

  Raises:
    OtherConfig: they differ in a value that changes what comes out.
    ConfigError: the record cannot be read.
  """
  try:
    found = json.loads((path / "config.json").read_text())
    there = effective(found)
  except (AttributeError, ValueError):
    raise ConfigError(
        "--workdir", f"{path / 'config.json'} cannot be read."
    ) from None
  here, absent = effective(_read(record)), object()
  keys = [
      key
      for key in sorted({*here, *there})
      if here.get(key, absent) != there.get(key, absent)
  ]
  if not keys:
    return found
  shown = ", ".join(
      f"{key} ({_word(there, key)} there, {_word(here, key)} here)"
      for key in keys[:_SHOWN]
  )
  more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
  raise OtherConfig(
      f"{path} is a run of another config: {shown}{more}. Name another"
      " folder, or give the run its own values.",
      *({key: of[key] for key in keys if key in of} for of in (there, here)),
  )


def _read(record: dict[str, Any]) -> dict[str, Any]:
  """Returns a record as it is after it was written and read as JSON."""
  return json.loads(json.dumps(record))


def _word(values: dict[str, Any], key: str) -> str:
  """Returns the value of a key in words."""
  return repr(values[key]) if key in values else "absent"


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


@contextlib.contextmanager
def whole(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """Gives a folder to fill, which takes the place of `path` in the end.

  Where filling it fails, `path` stays as it was.
  """
  draft = path.with_name(f".{path.name}.tmp")
  shutil.rmtree(draft, ignore_errors=True)
  draft.mkdir(parents=True)
  try:
    yield draft
  except BaseException:
    shutil.rmtree(draft, ignore_errors=True)
    raise
  shutil.rmtree(path, ignore_errors=True)
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
    # Elsewhere Python gives no signal to a handler.
    if threading.current_thread() is not threading.main_thread():
      return self
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
