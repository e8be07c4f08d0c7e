"""Are two processes that are killed and go on the same run, and one run?

  python -m experiments.hosts [--searches=text,images]

Starts a small search of text and one of images, with finalists and retraining.
Their data are streamed. Each search is two processes of two CPU devices each,
that meet on this machine as they would on two hosts. It is run once in peace;
then once more, where one of the processes is killed, told to end by SIGTERM and
by SIGINT in turn, and resumed by the same command. What must agree: every array
of the last checkpoints and all lines without their clocks. Then one process of
four devices runs the same, which has to agree to rounding. Another run goes
from four devices to two, to one and back; it must end and note where it ran,
and its weights are others, since each device trains a child of its own. Exits
with 1 where something is not as it must be.
"""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

from absl import app, flags, logging
import numpy as np

from experiments import kills

_SEARCHES = flags.DEFINE_list(
    "searches", ["text", "images"], "Which of the searches."
)

_WORDS = 1920  # of each text
_CLOSE = 1e-4  # between weights of about 1 that were summed up in other orders
_RUNS = {
    "text": (
        "--config=ptb_recurrent:smoke",
        "--config.data.stream=True",
        "--config.space.nodes=2",
        "--config.data.name=ptb",
        "--config.epochs=3",
    ),
    "images": (
        "--config=digits_macro:smoke",
        "--config.data.stream=True",
        "--config.space.layers=2",
        "--config.space.operations=avg_pool_3x3,max_pool_3x3",
        "--config.derive.finalists=2",
    ),
}
_OFTEN = "checkpoint_seconds=0"
_FLAGS = "--xla_force_host_platform_device_count={}"


class Run:
  """The processes of one search in one folder."""

  def __init__(self, root: pathlib.Path, name: str, folder: str):
    self.path, self._root = root / folder, root
    self._words = [*_RUNS[name], f"--workdir={self.path}"]
    if name == "text":
      self._words.append(f"--config.data.path={root / 'texts'}")

  def start(self, devices: int, processes: int = 1) -> None:
    """Starts processes of so many devices each."""
    with socket.create_server(("localhost", 0)) as server:
      place = f"localhost:{server.getsockname()[1]}"
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(self._root / "cache"),
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} "
        + _FLAGS.format(devices),
    }
    words = [*self._words, "--config.devices=0", f"--config.{_OFTEN}"]
    self.processes = []
    for rank in range(processes):
      own = (f"--coordinator={place}", f"--processes={processes}")
      own = (*own, f"--process={rank}") if processes > 1 else ()
      self.processes.append(
          subprocess.Popen(
              [sys.executable, "-m", "enas_jax.main", *words, *own],
              env=environment,
              stdout=subprocess.PIPE,
              stderr=subprocess.PIPE,
              text=True,
          )
      )

  def step(self) -> int:
    """Returns the step of the newest checkpoint of the search."""
    names = (path.name for path in self.path.glob("checkpoints/*"))
    return max((int(name) for name in names if name.isdigit()), default=-1)

  def send(self, number: int, rank: int, step: int) -> None:
    """Sends a signal to one process when a step is saved; tells what ends."""
    while self.step() < step and self.processes[0].poll() is None:
      time.sleep(0.02)
    print(f"  {signal.Signals(number).name} to process {rank} at {self.step()}")
    begun = time.monotonic()
    self.processes[rank].send_signal(number)
    for each, process in enumerate(self.processes):
      text, wrong = process.communicate()
      took = time.monotonic() - begun
      said = (wrong if "error: " in wrong else text).strip().splitlines()[-1:]
      print(
          f"  process {each} ended after {took:.0f} s, exit code"
          f" {process.returncode}: {' '.join(said)}",
          flush=True,
      )

  def end(self) -> list[str]:
    """Waits for the end; returns the lines on what it goes on from."""
    for process in self.processes:
      text, wrong = process.communicate()
      if process.returncode:
        raise SystemExit(f"{wrong}\nended with code {process.returncode}")
      if process is self.processes[0]:
        found = text
    return [
        line
        for line in found.splitlines()
        if line.startswith(("Going on", "It ran on"))
    ]


def _compared(one: Run, other: Run) -> bool:
  """Tells whether two runs are the same bits; returns it."""
  first, second = kills.outcome(one.path), kills.outcome(other.path)
  keys = sorted({*first, *second})
  differ = [key for key in keys if first.get(key) != second.get(key)]
  arrays = sum(isinstance(value, bytes) for value in first.values())
  verdict = f"differs in {differ[:5]}" if differ else "the same bits"
  print(f"  {verdict} ({arrays} arrays, {len(first) - arrays} files)")
  return not differ


def _apart(one: Run, other: Run) -> float:
  """Tells how far the weights of two searches are apart; returns it."""
  first, second = kills.outcome(one.path), kills.outcome(other.path)
  apart = 0.0
  for key, value in first.items():
    if key.startswith("checkpoints/params/"):
      a, b = (np.frombuffer(of, np.float32) for of in (value, second[key]))
      apart = max(apart, np.abs(a - b).max())
  print(f"  weights are at most {apart:.1e} apart", flush=True)
  return apart


def _searched(root: pathlib.Path, name: str) -> bool:
  """Shows one search; returns whether all is as it must be."""
  print(f"{name}, two processes of two devices, in peace", flush=True)
  whole = Run(root, name, f"{name}_whole")
  whole.start(2, 2)
  whole.end()
  print(f"{name}, stopped on the way", flush=True)
  cut = Run(root, name, f"{name}_cut")
  signals = (signal.SIGKILL, 1), (signal.SIGTERM, 1), (signal.SIGINT, 0)
  for step, (number, rank) in zip((3, 6, 9), signals, strict=True):
    cut.start(2, 2)
    cut.send(number, rank, step)
  cut.start(2, 2)
  cut.send(signal.SIGKILL, 0, 11)
  cut.start(2, 2)
  print("  " + "\n  ".join(cut.end()))
  fine = _compared(whole, cut)
  print(f"{name}, one process of four devices", flush=True)
  alone = Run(root, name, f"{name}_alone")
  alone.start(4)
  alone.end()
  fine = _apart(whole, alone) < _CLOSE and fine
  print(f"{name}, from four devices to two, to one and back", flush=True)
  moved = Run(root, name, f"{name}_moved")
  for step, devices in ((3, 4), (6, 2), (9, 1)):
    moved.start(devices)
    moved.send(signal.SIGTERM, 0, step)
  moved.start(2, 2)
  print("  " + "\n  ".join(moved.end()))
  record = json.loads((moved.path / "config.json").read_text())
  print(f"  config.json: {record['run_on']}")
  _apart(whole, moved)
  places = [(on["devices"], on["processes"]) for on in record["run_on"]]
  return places == [(4, 1), (2, 1), (1, 1), (4, 2)] and fine


def main(_) -> None:
  logging.set_verbosity(logging.WARNING)  # Orbax tells every file it opens
  root = pathlib.Path(tempfile.mkdtemp())
  (root / "texts").mkdir()
  for part in ("train", "valid", "test"):
    text = " ".join("abcdefg"[n * n % 7] for n in range(_WORDS))
    (root / "texts" / f"{part}.txt").write_text(text, encoding="utf-8")
  fine = [_searched(root, name) for name in _SEARCHES.value]
  print("all as it must be" if all(fine) else "DIFFERENT")
  sys.exit(not all(fine))


if __name__ == "__main__":
  app.run(main)
