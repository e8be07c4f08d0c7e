"""The parts that a config names: ours, a package's, or a user's own.

A name is one of these, wherever a config names a part:

  micro                    a part of enas_jax, or of an installed package that
                           has `space.micro` among its entry points of the
                           group `enas_jax`
  my_package.module:Mine   a name in a module that Python can import
  folder/own.py:Mine       a name in a file; the path is relative to the config
                           file that says it, or to the current folder

`find` is the one way from a name to a part. It runs code, so a name that comes
with somebody else's file is never given to it.
"""

from collections.abc import Iterable, Iterator
import contextlib
import contextvars
import difflib
import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import inspect
import os
import pathlib
import pkgutil
import sys
import traceback
import types
from typing import Any

from enas_jax.errors import ConfigError, one_line, suggest

GROUP = "enas_jax"  # of entry points
OWN = "Or one of your own: file.py:Name."
_HOUSE = os.path.dirname(os.path.abspath(__file__))
_WORDS = {"space": "search space", "data": "data set"}
# Where the config file lies that is being run.
_FOLDER = contextvars.ContextVar[pathlib.Path | None]("folder", default=None)


def find(key: str, name: Any, kind: str, ours: dict[str, Any]) -> Any:
  """Returns the part of that name.

  Args:
    key: The place of the name in the config, for the error.
    name: What the user wrote.
    kind: "space", "data", "strategy", "task", "optimiser" or "network".
    ours: The parts of enas_jax by name.

  Raises:
    ConfigError: There is no such part, or its file fails.
  """
  part = named(key, name, kind, ours)
  if part is not None:
    return part
  what, choices = _WORDS.get(kind, kind), [*ours, *_installed(kind)]
  raise ConfigError(
      key, f"unknown {what} {name!r}. {suggest(name, choices)} {OWN}"
  )


def named(key: str, name: Any, kind: str, ours: dict[str, Any]) -> Any:
  """Returns the part of that name as `find` does, or None."""
  if not isinstance(name, str):
    return None
  if name in ours:
    return ours[name]
  if is_own(name):
    return _own(key, name)
  entry = _installed(kind).get(name)
  return entry and _own(key, f"{entry.module}:{entry.attr}")


def is_own(name: str) -> bool:
  """Says whether a name is that of something in a file or a module.

  "cifar10:1.0.0", a set of TFDS and its version, is none.
  """
  where, colon, word = name.rpartition(":")
  return bool(colon) and (_is_file(where) or word.isidentifier())


def foreign(name: str) -> str:
  """Returns the name with a colon of a part that is none of ours, else ""."""
  if is_own(name):
    return name
  for entry in importlib.metadata.entry_points(group=GROUP):
    if entry.name.partition(".")[2] == name:
      return f"{entry.module}:{entry.attr}"
  return ""


def short(name: str) -> str:
  """Returns the last word of a name: `Mine` of `folder/own.py:Mine`."""
  return name.rpartition(":")[2]


def recorded(name: str) -> str:
  """Returns a name without the folder of its file, as a run records it."""
  where, colon, word = name.rpartition(":")
  return f"{os.path.basename(where)}:{word}" if _is_file(where) else (
      f"{where}{colon}{word}"
  )


def absolute(name: str, folder: pathlib.Path) -> str:
  """Returns a name with the path of its file made absolute, from `folder`."""
  where, _, word = name.rpartition(":")
  return f"{_path(where, folder)}:{word}" if _is_file(where) else name


@contextlib.contextmanager
def beside(folder: pathlib.Path) -> Iterator[None]:
  """Makes relative paths in names relative to a folder."""
  token = _FOLDER.set(folder)
  try:
    yield
  finally:
    _FOLDER.reset(token)


def run_file(
    key: str, path: pathlib.Path, shown: str
) -> types.ModuleType:
  """Runs a Python file, once in a process, and returns its module.

  The file can import its neighbours.

  Args:
    key: The key of the error.
    path: The file, which exists.
    shown: What the user calls it.

  Raises:
    ConfigError: The file fails; says in which line.
  """
  path = path.resolve()
  # A dataclass and its annotations are looked up under the module's name.
  name = str(path)
  if name in sys.modules:
    return sys.modules[name]
  loader = importlib.machinery.SourceFileLoader(name, name)
  spec = importlib.util.spec_from_file_location(name, name, loader=loader)
  module = importlib.util.module_from_spec(spec)
  if str(path.parent) not in sys.path:  # last, so that it hides no package
    sys.path.append(str(path.parent))
  sys.modules[name] = module
  try:
    with failing(key, shown, name):
      loader.exec_module(module)
  except BaseException:
    del sys.modules[name]
    raise
  return module


@contextlib.contextmanager
def failing(key: str, shown: str, file: str = "") -> Iterator[None]:
  """Turns any error of a user's code into one line that says where it is.

  Args:
    key: The key of the error.
    shown: What the user calls the file.
    file: Its path. "": the line is that of whichever file failed.

  Raises:
    ConfigError: The code failed.
  """
  try:
    yield
  except ConfigError:
    raise
  except Exception as error:
    raise ConfigError(key, _fault(error, shown, file)) from error


@contextlib.contextmanager
def calling(key: str, name: str) -> Iterator[None]:
  """Does what `failing` does while a part is used, if it is none of ours."""
  where = foreign(name).rpartition(":")[0]
  if not where:
    yield
    return
  if _is_file(where):
    file = str(_path(where, _FOLDER.get() or pathlib.Path()))
  else:
    file = getattr(sys.modules.get(where), "__file__", None) or ""
  with failing(key, where, file):
    yield


def demand(
    key: str, name: str, made: Any, members: Iterable[str], what: str
) -> None:
  """Raises ConfigError unless `made` has all members of what it should be.

  Args:
    key: The place of the name in the config.
    name: What the user wrote.
    made: What the part of that name made.
    members: The names of the members.
    what: The noun, with the module where it is explained.
  """
  lacking = [
      each
      for each in members
      if inspect.getattr_static(made, each, None) is None
  ]
  if lacking:
    raise ConfigError(
        key,
        f"{name!r} must make {what}; {type(made).__name__!r} lacks"
        f" {', '.join(lacking)}.",
    )


def _own(key: str, name: str) -> Any:
  """Returns what a name with a colon stands for."""
  where, _, word = name.rpartition(":")
  if _is_file(where):
    path = _path(where, _FOLDER.get() or pathlib.Path())
    if not path.is_file():
      near = [each.name for each in path.parent.glob("*.py")]
      raise ConfigError(
          key, f"there is no file {str(path)!r}. {suggest(path.name, near)}"
      )
    module = run_file(key, path, where)
  else:
    module = _imported(key, where)
  if not word or not hasattr(module, word):
    near = [
        each
        for each, value in vars(module).items()
        if not each.startswith("_")
        and not inspect.ismodule(value)
        and getattr(value, "__module__", module.__name__) == module.__name__
    ]
    raise ConfigError(
        key, f"{where} has no name {word!r}. {suggest(word, near)}"
    )
  return getattr(module, word)


def _imported(key: str, where: str) -> types.ModuleType:
  """Returns a module that Python finds by itself."""
  parent, _, last = where.rpartition(".")
  if all(map(str.isidentifier, where.split("."))):
    try:
      with failing(key, where):
        return importlib.import_module(where)
    except ConfigError as error:
      cause = error.__cause__
      lacking = isinstance(cause, ModuleNotFoundError) and cause.name
      # Else it fails, or a module that it imports is missing.
      if not lacking or not f"{where}.".startswith(f"{lacking}."):
        raise
  try:
    places = importlib.import_module(parent).__path__ if parent else None
  except Exception:
    places = ()
  names = [each.name for each in pkgutil.iter_modules(places)]
  near = difflib.get_close_matches(last, names, n=1)
  whole = ".".join([*filter(None, [parent]), *near])
  hint = f"Did you mean {whole!r}? " if near else ""
  raise ConfigError(
      key,
      f"there is no module {where!r}. {hint}It must be installed, or lie in"
      " the current folder; a file is named file.py:Name.",
  )


def extra(key: str, name: str, group: str) -> types.ModuleType:
  """Returns a package that only those have who asked for it.

  Args:
    key: of the value that needs it.
    name: of the package.
    group: of the extras of this package that brings it.

  Raises:
    ConfigError: it is not installed.
  """
  try:
    return importlib.import_module(name)
  except ImportError:
    raise ConfigError(
        key, f"needs {name}: pip install enas_jax[{group}]"
    ) from None


def _installed(kind: str) -> dict[str, importlib.metadata.EntryPoint]:
  """Returns the parts of installed packages, by name."""
  prefix = f"{kind}."
  return {
      entry.name.removeprefix(prefix): entry
      for entry in importlib.metadata.entry_points(group=GROUP)
      if entry.name.startswith(prefix)
  }


def _is_file(where: str) -> bool:
  return where.endswith(".py")


def _path(where: str, folder: pathlib.Path) -> pathlib.Path:
  return (folder / pathlib.Path(where).expanduser()).resolve()


def _fault(error: Exception, shown: str, file: str) -> str:
  """Returns `own.py:12: NameError: ...`."""
  if isinstance(error, SyntaxError) and error.lineno:
    place = shown if error.filename == file else error.filename
    words = f"{type(error).__name__}: {error.msg}"
    return f"{place}:{error.lineno}: {words}."
  frames = [
      frame
      for frame in traceback.extract_tb(error.__traceback__)
      if frame.filename == file
      or (not file
      and not frame.filename.startswith(("<frozen", _HOUSE + os.sep)))
  ]
  if not frames:
    return f"{shown}: {one_line(error)}"
  place = shown if file else frames[-1].filename
  return f"{place}:{frames[-1].lineno}: {one_line(error)}"
