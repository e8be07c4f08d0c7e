"""Troubles that cost hours."""

import errno
import fcntl
import functools
import os
import resource
import signal

from enas_jax import archfile, model, options, settings
from enas_jax.spaces.nasbench201 import NasBench201
from experiments.troubles import house, runs
from experiments.troubles.house import row

TITLE = "Hours lost"
_SOON = 30.0  # seconds


@row(
    "a locale that is not UTF-8",
    "finishes; files are UTF-8 whatever the locale, the terminal gets what it"
    " can show",
)
def locale() -> str:
  ended = runs.search()
  assert ended.code == 0, ended.err[-500:]
  assert "Traceback" not in ended.err + ended.out
  [path] = {line for line in ended.out.splitlines() if "enas_jax 0" in line}
  log = next(house.root().glob("*/caf*/run/log.txt"))
  kept = log.read_bytes().decode("utf-8")
  assert "café" in kept and "│" in kept
  return (
      f"LC_ALL=C: exit {ended.code} with its tables; the terminal is shown"
      f" `{path}`, log.txt has `café` and the lines of its tables in UTF-8"
  )


def _no_locks(number: int) -> None:
  """Stands in for a file system: no lock can be taken."""

  def flock(*unused):
    raise OSError(number, os.strerror(number))

  fcntl.flock = flock


@row(
    "a file system without `flock` (ENOSYS, ENOLCK)",
    "one warning, goes on; the true reason where it is another",
)
def lockless() -> str:
  seen = []
  for number in (errno.ENOSYS, errno.ENOLCK):
    ended = house.command(
        *runs.trains(house.folder() / "run"),
        before=functools.partial(_no_locks, number),
    )
    assert ended.code == 0, ended.err
    seen += [li for li in ended.out.splitlines() if "has no locks" in li]
  assert len(seen) == 2, seen
  ended = house.command(
      *runs.trains(house.folder() / "run"),
      before=functools.partial(_no_locks, errno.EACCES),
  )
  return f"`{seen[0]}` and ends well, so with ENOLCK; EACCES: " + house.refused(
      ended
  )


def _small_files() -> None:
  resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


@row(
    "`ulimit -f`",
    "one line with path and reason, the newest whole checkpoint kept, goes on"
    " later",
)
def limited() -> str:
  run = house.folder() / "run"
  flags = runs.trains(run, "--config.checkpoint_seconds=0.0")
  line = house.stopped(house.command(*flags, before=_small_files))
  assert str(run) in line and "File too large" in line
  ended = house.command(*flags)
  assert ended.code == 0 and (run / "result.json").exists(), ended
  return f"20 kB a file: {line}; without the limit the same command ends well"


@row(
    "`gs://`, `s3://` as workdir",
    "works for what Orbax and etils can write, or one line before anything is"
    " written",
)
def bucket() -> str:
  for address in ("gs://bucket/run", "s3://bucket/run"):
    place = house.folder()
    line = house.refused(house.command(*runs.trains(address), place=place))
    assert not os.listdir(place)
  return f"{line}, nothing written"


@row(
    "`~` in workdir, data.path, arch, benchmark.path, model",
    "the home folder, everywhere a path is taken",
)
def home() -> str:
  run = runs.training()  # with ~ in workdir and data.path
  os_home = os.environ.get("HOME", "")
  os.environ["HOME"] = str(run.path.parent)
  try:
    (run.path.parent / "six.txt").write_text(runs.OTHERS)
    archfile.parse("arch", "~/six.txt", NasBench201())
    hint = settings.Benchmark.__annotations__["path"]
    table = options.checked("path", "~/t.json", hint)
    loaded = model.load("~/run")
  finally:
    os.environ["HOME"] = os_home
  assert table == str(run.path.parent / "t.json") and len(loaded.classes) == 12
  assert not any(each.name == "~" for each in house.root().rglob("~"))
  return "each is found in the home folder; no folder is called `~`"


@row(
    "`tee` into the run's folder before it starts",
    "runs beside files that are not its own, or names the file",
)
def tee() -> str:
  run = runs.training()
  assert {"shell.log", "result.json"} <= {*os.listdir(run.path)}
  place = house.folder()
  (place / "log.txt").touch()
  line = house.refused(house.command(*runs.trains(place)))
  assert os.listdir(place) == ["log.txt"]
  return f"runs beside `shell.log`; beside `log.txt`: {line}"


@row(
    "an interrupted run goes on with another `checkpoint_seconds`, or the data"
    " moved",
    "goes on; only what changes the result is refused",
)
def moved() -> str:
  run = runs.interrupted().path
  old, new = run.parent / "set", run.parent / "moved"
  old.rename(new)
  flags = runs.trains(run, *runs.of_set(new))
  flags = [flag for flag in flags if "checkpoint_seconds" not in flag]
  other = house.refused(house.command(*flags, "--config.child.lr=0.2"))
  assert "another config: child.lr (" in other
  process = house.started(
      [*house.MAIN, *flags, "--config.checkpoint_seconds=7.0"], run.parent
  )
  said = house.until(process, "Going on")
  ended = house.end(process, signal.SIGTERM)
  [line] = [li for li in said.splitlines() if "Going on" in li]
  assert ended.code == -signal.SIGTERM, ended
  return f"`{line}` with both; with another learning rate: {other}"


@row(
    "SIGTERM while it compiles or reads data",
    "ends within 30 s, exit 143, the next start goes on",
)
def terminated() -> str:
  run, cache = house.folder() / "run", str(house.folder())
  flags = runs.trains(run)
  process = house.started(
      [*house.MAIN, *flags], run.parent, JAX_COMPILATION_CACHE_DIR=cache
  )
  house.until(process, "Training this")
  compiling = house.end(process, signal.SIGTERM)
  ended = house.command(*flags)
  assert ended.code == 0, ended.err
  place = house.folder()
  many(place, 60_000)
  reading = [*runs.trains(place / "run"), *runs.of_set(place)]
  process = house.started([*house.MAIN, *reading], place)
  house.until(process, "Reading 60,000")
  read = house.end(process, signal.SIGTERM)
  for each in (compiling, read):
    assert each.code == -signal.SIGTERM and each.seconds < _SOON, each
  assert not (place / "run").exists() and "Traceback" not in read.err
  return (
      f"compiling: ended by SIGTERM (143 in a shell) after"
      f" {compiling.seconds:.1f} s, the next start trained to its end; reading"
      f" 60,000 pictures: after {read.seconds:.1f} s, `{read.err.strip()}`,"
      " nothing written"
  )


def many(place, count: int) -> None:
  """Writes a folder of so many training pictures, all of them one file."""
  house.pictures(place, {"a": 1, "b": 1})
  file = place / "train" / "a" / "000.png"
  for n in range(1, count - 1):
    os.link(file, place / "train" / "ab"[n % 2] / f"{n:05d}.png")
