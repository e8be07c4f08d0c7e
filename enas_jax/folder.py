"""Claims, locks and writes the folder of a run."""

from collections.abc import Callable, Iterator
import contextlib
import errno
import fcntl
import json
import os
import pathlib
import re
import shutil
from typing import Any

from enas_jax.errors import ConfigError, one_line
from enas_jax.plan import effective

_SHOWN = 6  # differing keys in a refusal
_LOG = "log.txt"
_RUN_ON = "run_on"  # of config.json
# Changes the last bits of what comes out; a run goes on all the same.
_DEVICES = "devices"
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EINVAL)


class OtherConfig(ConfigError):
  """Says that a folder holds the run of another config.

  Attributes:
    there: its values that differ, by dotted key.
    here: those of the config that was given.
  """

  def __init__(self, message: str, there: dict, here: dict):
    super().__init__("--workdir", message)
    self.there, self.here = there, here

  def __reduce__(self) -> tuple:
    """Says how another process makes it again."""
    return type(self), (self.message, self.there, self.here)


# What a shell or a batch system puts into the folder of a run, by their ends.
_BESIDE = (".err", ".log", ".out", ".tmp", ".txt")


def path_of(workdir: str | os.PathLike) -> pathlib.Path:
  """Returns the folder of a run; "~" is the home folder.

  Raises:
    ConfigError: It is the address of a bucket, or of something else that is no
      folder.
  """
  text = os.fspath(workdir)
  if not text:
    raise ConfigError("--workdir", "is empty.")
  if re.match(r"\w[\w+.-]*://", text):
    raise ConfigError(
        "--workdir",
        f"{text} is no folder. A run writes to a folder of this machine; mount"
        " the bucket as one, or copy the run when it has ended.",
    )
  try:
    os.fsencode(text).decode("utf-8")
    text.encode("utf-8")
  except UnicodeError:
    raise ConfigError(
        "--workdir",
        f"{text!r} is not UTF-8 here, and Orbax can write to no other name. The"
        " environment variable PYTHONUTF8=1 may help.",
    ) from None
  return pathlib.Path(text).expanduser()


def claim(workdir: str | pathlib.Path, record: dict[str, Any]) -> pathlib.Path:
  """Makes the folder of a run, or finds the folder of a run that goes on.

  Args:
    workdir: The path of the folder.
    record: The config of the run.

  Raises:
    ConfigError: The folder cannot be made, belongs to another config, or holds
      something that is no run.
  """
  path = path_of(workdir)
  try:
    if (path / "config.json").exists():
      _agree(path, record)
    else:
      if path.is_dir():
        _check_free(path)
      path.mkdir(parents=True, exist_ok=True)
      write_json(path / "config.json", record)
    (path / _LOG).touch()
  except OSError as error:
    raise ConfigError(
        "--workdir", f"cannot write to {path}: {error.strerror}."
    ) from None
  return path


def _check_free(path: pathlib.Path) -> None:
  """Raises ConfigError where a folder without a run holds anything of note.

  What a shell or a batch system writes, such as the file of `tee`, may lie
  there, and so may hidden files.
  """
  for entry in sorted(path.iterdir()):
    name = entry.name
    beside = name.endswith(_BESIDE) or name.startswith(".")
    if name == _LOG or not beside or entry.is_dir():
      what = "which a run writes itself" if name == _LOG else (
          "and is not the folder of a run"
      )
      raise ConfigError(
          "--workdir", f"{path} holds {name}, {what}. Name another folder."
      )


def run_on(
    path: pathlib.Path, step: int, devices: int, processes: int
) -> dict[str, int] | None:
  """Notes in a run's config.json on what it goes on from a step.

  Args:
    path: The folder.
    step: The step; what was noted of later ones was lost with them.
    devices: All devices of the run.
    processes: Which these belong to.

  Returns:
    On what the steps before were run, where that was something else.
  """
  record = read_json(path / "config.json")
  noted = [each for each in record.get(_RUN_ON, ()) if each["step"] < step]
  now = {"step": step, "devices": devices, "processes": processes}
  before = noted[-1] if noted else None
  if before and {**before, "step": step} == now:
    before = None
  else:
    noted.append(now)
  write_json(path / "config.json", {**record, _RUN_ON: noted})
  return before


def note(path: pathlib.Path, record: dict[str, Any]) -> None:
  """Writes the record of a run, and keeps on what it ran.

  What changes no result may have changed.
  """
  file = path / "config.json"
  there = read_json(file) if file.exists() else {}
  kept = {key: there[key] for key in (_RUN_ON,) if key in there}
  write_json(file, {**record, **kept})


@contextlib.contextmanager
def locked(
    path: pathlib.Path, say: Callable[[str], None]
) -> Iterator[None]:
  """Keeps other processes out of the folder.

  Args:
    path: The folder.
    say: Is told where its file system has no locks. Then nothing is kept out.

  Raises:
    ConfigError: Another process is at work in the folder, or it cannot be
      locked for another reason.
  """
  with (path / _LOG).open("a", encoding="utf-8") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise ConfigError(
          "--workdir", f"another process is at work in {path}."
      ) from None
    except OSError as error:
      if error.errno not in _NO_LOCKS:
        raise ConfigError(
            "--workdir", f"{path} cannot be locked: {error.strerror}."
        ) from None
      say(
          f"The file system of {path} has no locks ({error.strerror}): nothing"
          " keeps a second process out of it."
      )
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
  path = path_of(workdir)
  if not (path / "config.json").exists():
    return None
  _agree(path, record)
  result = path / "result.json"
  return read_json(result) if result.exists() else None


def _agree(path: pathlib.Path, record: dict[str, Any]) -> None:
  """Raises an error unless a folder is that of a run of this record.

  Raises:
    OtherConfig: they differ in a value that changes what comes out.
    ConfigError: the record there cannot be read.
  """
  found = read_json(path / "config.json")
  if not isinstance(found, dict):
    raise ConfigError("--workdir", f"{path / 'config.json'} is not of a run.")
  found.pop(_RUN_ON, None)
  there = effective(found)
  here, absent = effective(_read(record)), object()
  keys = [
      key
      for key in sorted({*here, *there})
      if here.get(key, absent) != there.get(key, absent)
      and key != _DEVICES
  ]
  if not keys:
    return
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
  whole = file.read_text(encoding="utf-8").split("\n")[:-1]
  return [json.loads(line) for line in whole]


def read_json(file: pathlib.Path) -> Any:
  """Returns what a file of JSON holds.

  Raises:
    ConfigError: The file cannot be read.
  """
  try:
    return json.loads(file.read_text(encoding="utf-8"))
  except (OSError, ValueError, RecursionError) as error:
    raise ConfigError(
        "--workdir", f"{file} cannot be read ({one_line(error):.200})."
    ) from None


def write_json(path: pathlib.Path, content: Any) -> None:
  """Writes the whole file, or nothing where the process is killed."""
  write(path, json.dumps(content, indent=2) + "\n")


def write(path: pathlib.Path, text: str) -> None:
  """Writes the whole file or nothing, whenever the process is killed."""
  draft = path.with_name(path.name + ".tmp")
  draft.write_text(text, encoding="utf-8", errors="surrogateescape")
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
