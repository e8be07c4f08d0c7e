"""What does a training take in memory and time whose pictures are streamed?

  python -m experiments.streaming --pictures=200000

makes so many pictures of 64 x 64 in a temporary folder, which it removes at the
end, and starts the same search twice: with the pictures in memory, and with
`config.data.stream`. The two train in turn, some steps each, while the other
one waits, and the memory of each and of the processes that read for it is
looked at five times a second. A page that several processes share counts in
parts (PSS). Printed is a table.
"""

from enas_jax import process

if __name__ == "__main__":
  process.start_anew()  # before the imports that take a second

from collections.abc import Iterator
import concurrent.futures
import contextlib
import functools
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any

from absl import flags
import jax
from ml_collections import ConfigDict
import numpy as np
from PIL import Image

from enas_jax import build, command, loop
from enas_jax.configs import cifar_micro

_PAUSE = 0.2  # seconds between two looks at the memory
_CLASSES = 10
_PATHS = ("memory", "stream")
_DISTINCT = 2000  # files of a class; further ones are links to them
_WARM = 5  # steps of each turn that are not timed


def config(values: flags.FlagValues, folder: str, stream: bool) -> ConfigDict:
  """Returns the search that is run: a small one, whose steps are short."""
  found = cifar_micro.get_config()
  found.data.update(
      name="folder",
      path=folder,
      valid=max(values.pictures // 20, 2 * values.batch),
      stream=stream,
      workers=values.workers,
  )
  found.space.nodes = 2
  found.network.update(cells=1, filters=values.filters)
  found.child.batch = values.batch
  found.steps_per_call = 1
  return found


def make(folder: pathlib.Path, pictures: int, side: int) -> None:
  """Writes JPEG files of coarse noise to train on, and 1,000 to test."""
  jobs = []
  for split, count in (("train", pictures), ("test", 1000)):
    for number in range(_CLASSES):
      path = folder / split / str(number)
      path.mkdir(parents=True)
      share = count // _CLASSES + (number < count % _CLASSES)
      jobs.append((path, share, side))
  spawn = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(2, spawn) as pool:
    list(pool.map(_write, *zip(*jobs, strict=True)))


def _write(path: pathlib.Path, count: int, side: int) -> None:
  random = np.random.default_rng([int(path.name), len(path.parent.name)])
  for n in range(count):
    if n >= _DISTINCT:
      os.link(path / f"{n % _DISTINCT}.jpg", path / f"{n}.jpg")
      continue
    coarse = random.integers(0, 256, (side // 4, side // 4, 3), np.uint8)
    picture = Image.fromarray(coarse).resize((side, side))
    picture.save(path / f"{n}.jpg", quality=90)


def train(values: flags.FlagValues) -> None:
  """Trains in turns: a number on the input is how many steps the next has.

  A line on the output says how long the last took, or that it is ready.
  """
  begun = time.monotonic()
  stream = values.path == "stream"
  plan = build.plan(config(values, values.folder, stream))
  _say(read=time.monotonic() - begun)
  left, since = _next_turn(), None

  def step(seen: loop.Seen) -> None:
    nonlocal left, since
    jax.block_until_ready(seen.records)
    left -= 1
    if since is None and left <= values.steps:
      since = time.monotonic()
    if left == 0:
      _say(seconds=time.monotonic() - since)
      left, since = _next_turn(), None

  experiment = plan.experiment
  loop.fit(experiment, loop.start(experiment), loop.Hooks(step=step))


def _next_turn() -> int:
  line = sys.stdin.readline()
  if not line:  # there is none
    sys.exit()
  return int(line)


def _say(**values: float) -> None:
  print(json.dumps(values), flush=True)


class Trainer:
  """A process that trains, and what is seen of it."""

  def __init__(self, path: str, folder: pathlib.Path, argv: list[str]):
    line = [sys.executable, "-m", "experiments.streaming", *argv]
    line += [f"--path={path}", f"--folder={folder}"]
    self._process = subprocess.Popen(
        line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    self.peak, self._done = 0, threading.Event()
    self._watch = threading.Thread(target=self._look)
    self._watch.start()

  def told(self) -> dict[str, float]:
    """Waits for the next line of the process."""
    return json.loads(self._process.stdout.readline())

  def turn(self, steps: int) -> float:
    """Lets it train; returns the seconds of all steps but the first ones."""
    print(steps + _WARM, file=self._process.stdin, flush=True)
    return self.told()["seconds"]

  def close(self) -> None:
    """Ends the process."""
    self._process.stdin.close()
    self._process.wait()
    self._done.set()
    self._watch.join()

  def _look(self) -> None:
    while not self._done.wait(_PAUSE):
      self.peak = max(self.peak, sum(map(_pss, _family(self._process.pid))))


def _family(pid: int) -> Iterator[int]:
  """Yields a process and all that it has started."""
  yield pid
  with contextlib.suppress(OSError):
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
      for child in (task / "children").read_text().split():
        yield from _family(int(child))


def _pss(pid: int) -> int:
  """Returns the bytes of memory that a process takes."""
  with contextlib.suppress(OSError):
    found = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
    for line in found.splitlines():
      if line.startswith("Pss:"):
        return int(line.split()[1]) * 1024
  return 0


def measure(values: flags.FlagValues, folder: pathlib.Path) -> dict[str, Any]:
  """Returns what is seen of both, by their paths."""
  names = ("pictures", "batch", "steps", "workers", "filters")
  argv = [f"--{name}={values[name].value}" for name in names]
  found = {}
  with contextlib.ExitStack() as stack:
    trainers = {}
    for path in _PATHS:  # one after the other, for the times of reading
      trainer = Trainer(path, folder, argv)
      stack.callback(trainer.close)
      trainers[path] = trainer
      found[path] = {"read": trainer.told()["read"], "seconds": []}
    for trainer in trainers.values():  # compiles
      trainer.turn(1)
    for _ in range(values.rounds):
      for path, trainer in trainers.items():
        found[path]["seconds"].append(trainer.turn(values.steps))
    for path, trainer in trainers.items():
      found[path]["peak"] = trainer.peak
  return found


def main() -> None:
  """Makes the pictures, measures, and prints the table."""
  values = flags.FLAGS
  if values.path:
    train(values)
    return
  with tempfile.TemporaryDirectory() as name:
    folder, begun = pathlib.Path(name), time.monotonic()
    make(folder, values.pictures, values.side)
    print(f"Made in {time.monotonic() - begun:.0f} s.", flush=True)
    found = measure(values, folder)
  count = values.steps * values.batch
  print("| | peak memory, GB | seconds before step 1 | images a second |")
  print("|---|---|---|---|")
  rates = {}
  for path, seen in found.items():
    rates[path] = [count / seconds for seconds in seen["seconds"]]
    print(
        f"| {path} | {seen['peak'] / 1e9:.2f} | {seen['read']:.0f} |"
        f" {np.median(rates[path]):.0f}"
        f" ({min(rates[path]):.0f} to {max(rates[path]):.0f}) |"
    )
  pairs = zip(rates["stream"], rates["memory"], strict=True)
  ratios = [one / other for one, other in pairs]
  print(f"Stream over memory, median of the rounds: {np.median(ratios):.2f}.")


def cli() -> None:
  """Defines the flags, and runs `main`."""
  number = functools.partial(flags.DEFINE_integer, lower_bound=1)
  defined = (
      number("pictures", 200_000, "Pictures to train on."),
      number("side", 64, "Pixels of a side."),
      number("batch", 64, "Pictures of a step."),
      number("steps", 20, "Steps of a turn."),
      number("rounds", 4, "Turns of each."),
      number("filters", 8, "Of the network."),
      flags.DEFINE_integer("workers", 2, "Processes that read."),
      flags.DEFINE_string("path", "", "Of a process that trains."),
      flags.DEFINE_string("folder", "", "Likewise."),
  )
  command.cli(main, *defined)


if __name__ == "__main__":
  cli()
