"""What is still to be measured on a GPU, in order of worth.

  python -m experiments.gpu --minutes=9 --out=F [--data=D]
  python -m experiments.gpu --out=F --smoke

runs one piece after the other, each in a process of its own and under a limit
of its own, and adds a JSON line to F for each. The same command goes on where
it stopped: what has a line is not run again, and the long trainings at the end
go on from their checkpoints. A piece that would not fit into what is left of
the minutes is left to the next time. At the end a line says what is missing.
D is the folder of CIFAR-10, as `enas_jax.data.prepare` leaves it; without it
the pieces that train on CIFAR-10 are left out. --smoke runs the same list in
small, on any machine: what it measures means nothing.

Every form of a choice is timed: `branch` asks the host of a GPU which operation
to run, `graph` has XLA capture branches in a command buffer, and `arithmetic`
needs no branch (`network.arithmetic`). Without a branch, `at_once` rewards ten
architectures in turn and at once (`strategy.at_once`).
"""

from enas_jax import process

if __name__ == "__main__":
  process.start_anew()

import dataclasses
import importlib.util
import json
import pathlib
import signal
import subprocess
import sys
import time

from absl import flags

from enas_jax import command
from enas_jax.errors import ConfigError

_IMAGES = ("nasbench201", "micro", "macro")
_SPEED = "experiments.speed"
_END = 15.0  # seconds in which a piece that is told to end saves

_MINUTES = flags.DEFINE_float(
    "minutes", 9.0, "How long all of it may take.", lower_bound=0.1
)
_OUT = flags.DEFINE_string("out", None, "The file of the JSON lines.")
_DATA = flags.DEFINE_string("data", None, "The folder of CIFAR-10.")
_SMOKE = flags.DEFINE_bool("smoke", False, "Run the list in small.")
_ONLY = flags.DEFINE_list("only", None, "Names of pieces; default: all.")


@dataclasses.dataclass(frozen=True)
class Piece:
  """One measurement.

  Attributes:
    name: Its name in the file.
    words: What Python runs, after `-m`.
    seconds: The most that it may take.
    goes_on: Whether what it has done by the end of its time counts, and the
      next start goes on from there.
    workdir: The folder of a run, whose last metrics are what it found.
  """

  name: str
  words: tuple[str, ...]
  seconds: float
  goes_on: bool = False
  workdir: pathlib.Path | None = None


def pieces(out: pathlib.Path, data: str | None, smoke: bool) -> list[Piece]:
  """Returns all that is to be measured, in order of worth.

  Args:
    out: The file of the lines; runs have their folders beside it.
    data: The folder of CIFAR-10. None: nothing that trains on it.
    smoke: Whether all is small, and trains on noise.
  """
  return [
      *_forms(smoke),
      *_rewards(smoke),
      *_widths(smoke),
      *_trainings(out, data, smoke),
      *_tests(smoke),
  ]


def _forms(smoke: bool) -> list[Piece]:
  """Returns the child step of each space and size, in each form."""
  against = ("--against=forms",) if importlib.util.find_spec("torch") else ()
  found = []
  for size in ("small",) if smoke else ("paper", "small"):
    for space in (*_IMAGES, "recurrent"):
      count = ("--archs=1", "--static=0", "--repeat=1") if smoke else (
          *("--archs=6", "--static=3", "--repeat=5"),
          *(against if size == "paper" else ()),
      )
      words = (_SPEED, "--json", f"--space={space}", f"--size={size}", *count)
      name, limit = f"{space}/{size}", 300.0 if smoke else 90.0
      found.append(Piece(f"{name}/branch", words, limit))
      if space == "recurrent":
        continue  # it has no branch
      plain = tuple(word for word in words if word not in against)
      found.append(Piece(f"{name}/arithmetic", (*plain, "--arithmetic"), limit))
      found.append(Piece(f"{name}/graph", (*plain, "--graph"), limit))
  return found


def _rewards(smoke: bool) -> list[Piece]:
  """Returns rewards of ten architectures in turn and at once, of each space."""
  size = "small" if smoke else "paper"
  count = 2 if smoke else 10
  return [
      Piece(
          f"{space}/{size}/at_once",
          (_SPEED, "--json", f"--space={space}", f"--size={size}",
           *(f"--archs={count}", "--static=0", f"--at_once={count}"),
           *(() if space == "recurrent" else ("--arithmetic",))),
          300.0 if smoke else 60.0,
      )
      for space in (*_IMAGES, "recurrent")
  ]


def _widths(smoke: bool) -> list[Piece]:
  """Returns the child step in bfloat16, of each space at the paper's size."""
  size = "small" if smoke else "paper"
  count = ("--archs=1", "--static=0", "--repeat=1") if smoke else (
      "--archs=4", "--static=0", "--repeat=5"
  )
  return [
      Piece(
          f"{space}/{size}/bfloat16",
          (_SPEED, "--json", f"--space={space}", f"--size={size}", *count,
           "--dtype=bfloat16"),
          300.0 if smoke else 60.0,
      )
      for space in (*_IMAGES, "recurrent")
  ]


def _trainings(
    out: pathlib.Path, data: str | None, smoke: bool
) -> list[Piece]:
  """Returns the parity with NAS-Bench-201, and the paper's searches.

  The best cell of the benchmark has 94.37 % in its table, after 200 epochs by
  the recipe of `nasbench201_final`.
  """
  if not smoke and data is None:
    return []
  found = []
  for name, config, seconds in (
      ("parity", "nasbench201_final", 420.0),
      ("macro_search", "cifar_macro", 120.0),
      ("micro_search", "cifar_micro", 120.0),
  ):
    workdir = out.with_name(f"{out.stem}_{name}")
    words = (
        *("enas_jax.main", f"--workdir={workdir}"),
        f"--config={config}{':smoke' if smoke else ''}",
        *(() if smoke else (f"--config.data.path={data}",)),
        *(() if smoke else ("--config.steps_per_call=10",)),
    )
    found.append(Piece(
        name, words, 300.0 if smoke else seconds, goes_on=True, workdir=workdir
    ))
  return found


def _tests(smoke: bool) -> list[Piece]:
  """Returns the tests of the kernels and the cells, on this Python and jax."""
  files = ("tests/test_ops_recurrent.py",) if smoke else (
      *("tests/test_arithmetic.py", "tests/test_ops.py"),
      *("tests/test_ops_cell.py", "tests/test_ops_recurrent.py"),
  )
  return [Piece("tests", ("pytest", "-q", "-x", *files), 180.0)]


def measured(piece: Piece, seconds: float) -> dict[str, object] | None:
  """Runs a piece for some seconds at most; returns its line.

  Args:
    piece: What to run.
    seconds: The most that it may take; a run is then told to save and end.

  Returns:
    The line, with `ended` for whether there is nothing left to do. None: it
    took too long, so nothing is known.
  """
  start = time.monotonic()
  child = subprocess.Popen(
      [sys.executable, "-m", *piece.words],
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
  )
  late = False
  try:
    output, _ = child.communicate(timeout=max(1.0, seconds))
  except subprocess.TimeoutExpired:
    late = True
    output = _told_to_end(child)
  except BaseException:  # Ctrl-C: it saves by itself, or is left undone
    _told_to_end(child)
    raise
  line = {
      "piece": piece.name,
      "ended": not late,
      "seconds": round(time.monotonic() - start, 1),
  }
  if late and not piece.goes_on:
    return None
  if child.returncode and not late:
    return {**line, "failed": output.strip().splitlines()[-1:]}
  if piece.workdir:
    return {**line, "found": _last(piece.workdir)}
  last = output.strip().splitlines()[-1]
  return {**line, "found": json.loads(last) if last[0] == "{" else last}


def _told_to_end(child: subprocess.Popen) -> str:
  child.send_signal(signal.SIGTERM)
  try:
    return child.communicate(timeout=_END)[0]
  except subprocess.TimeoutExpired:
    child.kill()
    return child.communicate()[0]


def _last(workdir: pathlib.Path) -> dict[str, object]:
  """Returns the result of a run, or the last line of its metrics."""
  result = workdir / "result.json"
  if result.exists():
    return json.loads(result.read_text(encoding="utf-8"))
  metrics = workdir / "metrics.jsonl"
  lines = metrics.read_text(encoding="utf-8").splitlines() if (
      metrics.exists()
  ) else []
  return json.loads(lines[-1]) if lines else {}


def run(
    todo: list[Piece], out: pathlib.Path, minutes: float
) -> list[str]:
  """Measures what has no line yet, and adds the lines to the file.

  Args:
    todo: The pieces, in order.
    out: The file.
    minutes: How long all of it may take.

  Returns:
    The names of what is missing.
  """
  end, done = time.monotonic() + 60 * minutes, set()
  if out.exists():
    lines = out.read_text(encoding="utf-8").splitlines()
    done = {each["piece"] for each in map(json.loads, lines) if each["ended"]}
  missing = []
  for piece in todo:
    if piece.name in done:
      continue
    left = end - time.monotonic() - _END
    if left <= 0 or (not piece.goes_on and left < piece.seconds / 3):
      missing.append(piece.name)
      continue
    line = measured(piece, min(left, piece.seconds))
    if line is None or not line["ended"]:
      missing.append(piece.name)
    if line is not None:
      text = json.dumps(line)
      print(text, flush=True)
      with out.open("a", encoding="utf-8") as file:
        file.write(text + "\n")
  return missing


def main() -> None:
  if not _OUT.value:
    raise ConfigError("--out", "the file of the JSON lines is needed.")
  out = pathlib.Path(_OUT.value).expanduser()
  todo = pieces(out, _DATA.value, _SMOKE.value)
  names = [piece.name for piece in todo]
  unknown = set(_ONLY.value or ()) - set(names)
  if unknown:
    raise ConfigError(
        "--only", f"no piece {min(unknown)!r}; there are {', '.join(names)}."
    )
  if _ONLY.value:
    todo = [piece for piece in todo if piece.name in _ONLY.value]
  minutes = _MINUTES.value
  if _SMOKE.value and not flags.FLAGS["minutes"].present:
    minutes = 60.0
  missing = run(todo, out, minutes)
  print(
      f"Missing: {', '.join(missing)}. The same command goes on."
      if missing
      else f"All {len(todo)} pieces are in {out}."
  )


if __name__ == "__main__":
  command.cli(main, _MINUTES, _OUT, _DATA, _SMOKE, _ONLY)
