"""What a row of the tables is, and what its function is made with."""

import atexit
from collections.abc import Callable
import contextlib
import dataclasses
import functools
import multiprocessing
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
from typing import NamedTuple

import numpy as np
from PIL import Image

REPOSITORY = pathlib.Path(__file__).parents[2]
_LIMIT = 240  # seconds of a process


class Skipped(Exception):
  """Says why this machine cannot show a row."""


@dataclasses.dataclass(frozen=True)
class Row:
  """A row of a table.

  Attributes:
    has: What a user has.
    right: What is right.
    show: Makes it happen and returns what was seen; raises AssertionError where
      that is not right, and Skipped where it cannot be tried here.
  """

  has: str
  right: str
  show: Callable[[], str]


def row(has: str, right: str) -> Callable[[Callable[[], str]], Row]:
  """Makes a row of a function without arguments."""
  return lambda show: Row(has, right, show)


def rows(module: types.ModuleType) -> list[Row]:
  """Returns the rows of a module, in their order."""
  return [each for each in vars(module).values() if isinstance(each, Row)]


@functools.cache
def root() -> pathlib.Path:
  """Returns the folder of all files of this process, gone when it ends."""
  path = pathlib.Path(tempfile.mkdtemp(prefix="troubles_"))
  owner = os.getpid()
  # A forked process must not take it away.
  atexit.register(
      lambda: os.getpid() == owner and shutil.rmtree(path, ignore_errors=True)
  )
  return path


def folder(name: str = "") -> pathlib.Path:
  """Returns a new folder."""
  path = pathlib.Path(tempfile.mkdtemp(dir=root()))
  if name:
    path /= name
    path.mkdir()
  return path


def short(text: str) -> str:
  """Returns a text in which the folders of this process are "...", as told."""
  for each in sorted(root().glob("*"), reverse=True):
    text = text.replace(str(each), "...")
  return text.replace(sys.executable, "python")


class Ended(NamedTuple):
  """What became of a process."""

  code: int  # as Python tells it: -15 where SIGTERM ended it
  out: str
  err: str
  seconds: float


def refused(ended: Ended) -> str:
  """Returns the one line of a mistake; raises AssertionError if it is none."""
  return _line(ended, 2)


def stopped(ended: Ended) -> str:
  """Returns the one line of what is no mistake of the config's."""
  return _line(ended, 1)


def _line(ended: Ended, code: int) -> str:
  lines = ended.err.splitlines()
  assert ended.code == code, f"exit code {ended.code}: {ended.err[-500:]}"
  assert len(lines) == 1, f"{len(lines)} lines: {ended.err[:2000]}"
  assert lines[0].startswith("error: "), lines[0]
  return f"`{lines[0].removeprefix('error: ')}` (exit {code})"


def environment(**more: str) -> dict[str, str]:
  """Returns the environment of a process that finds the package."""
  programs = {"JAX_COMPILATION_CACHE_DIR": str(root() / "programs")}
  return {**programs, **os.environ, "PYTHONPATH": str(REPOSITORY), **more}


def command(
    *args: str,
    place: pathlib.Path | None = None,
    before: Callable[[], None] | None = None,
    **more: str,
) -> Ended:
  """Runs `python -m enas_jax.main`, in a fork of one that has imported it.

  Args:
    *args: The flags.
    place: The folder where it runs; None: a new one.
    before: A function of a module that the process calls first.
    **more: Variables of its environment.
  """
  return forked(functools.partial(_main, args, before), place, **more)


def _main(args: tuple[str, ...], before: Callable[[], None] | None) -> None:
  """Is the process of a command."""
  from enas_jax import main

  if before:
    before()
  sys.argv = ["main", *args]
  main.cli()


def forked(
    call: Callable[[], None], place: pathlib.Path | None = None, **more: str
) -> Ended:
  """Calls a function of a module in a fork; the arguments are `command`'s."""
  context = multiprocessing.get_context("forkserver")
  context.set_forkserver_preload(["enas_jax.main"])
  log, begun = folder(), time.monotonic()
  given = (call, place or folder(), log, environment(**more))
  process = context.Process(target=_served, args=given)
  process.start()
  process.join(_LIMIT)
  if process.exitcode is None:
    process.kill()
    process.join()
  texts = ((log / name).read_text(errors="replace") for name in ("out", "err"))
  return Ended(process.exitcode, *texts, time.monotonic() - begun)


def _served(call, place, log, variables) -> None:
  """Is the forked process."""
  for number, name in ((1, "out"), (2, "err")):
    with (log / name).open("w") as file:
      os.dup2(file.fileno(), number)
  os.environ.clear()
  os.environ.update(variables)
  os.chdir(place)
  try:
    call()
  finally:
    for stream in (sys.stdout, sys.stderr):
      with contextlib.suppress(OSError):
        stream.flush()


def started(
    words: list[str], place: pathlib.Path, **more: str
) -> subprocess.Popen:
  """Starts a process of its own that takes Ctrl-C, as one of a terminal."""
  if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
  return subprocess.Popen(
      words,
      cwd=place,
      env=environment(**more),
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      encoding="utf-8",
      errors="replace",
      start_new_session=True,
  )


MAIN = [sys.executable, "-m", "enas_jax.main"]


def until(process: subprocess.Popen, word: str) -> str:
  """Returns what a process says, up to the line that has the word."""
  said = ""
  for line in process.stdout:
    said += line
    if word in line:
      return said
  raise AssertionError(f"It never said {word!r}: {said[-500:]}")


def end(process: subprocess.Popen, number: int, group: bool = False) -> Ended:
  """Sends a signal, and waits for the end; a second one is not sent."""
  begun = time.monotonic()
  (os.killpg if group else os.kill)(process.pid, number)
  try:
    out, err = process.communicate(timeout=_LIMIT)
  finally:
    with contextlib.suppress(ProcessLookupError):
      os.killpg(process.pid, signal.SIGKILL)
  return Ended(process.returncode, out, err, time.monotonic() - begun)


def picture(seed: int, side: int = 8) -> Image.Image:
  """Returns a grey picture of noise."""
  random = np.random.RandomState(seed)
  return Image.fromarray(random.randint(0, 256, (side, side), np.uint8))


def pictures(
    place: pathlib.Path, train: dict[str, int], test: int = 2
) -> pathlib.Path:
  """Writes a folder of pictures for `data.name=folder`, and returns it.

  Args:
    place: The folder.
    train: The number of training pictures of each class.
    test: The number of test pictures of each class.
  """
  for name, count in train.items():
    for split, number in (("train", count), ("test", test)):
      inner = place / split / name
      inner.mkdir(parents=True, exist_ok=True)
      for n in range(number):
        picture(n).save(inner / f"{n:03d}.png")
  return place


def texts(place: pathlib.Path, train: str, valid: str, test: str):
  """Writes the three texts of a corpus, and returns their folder."""
  for name, content in (("train", train), ("valid", valid), ("test", test)):
    (place / f"{name}.txt").write_text(content, encoding="utf-8")
  return place
