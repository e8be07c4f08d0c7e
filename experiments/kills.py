"""Is a run that is killed again and again the uninterrupted run?

  python -m experiments.kills [--kills=20 --seed=0]

Runs a small search with its retraining once in peace. Then runs it in another
folder and kills it (SIGKILL and SIGTERM in turn) after random times, resuming
by the same command, until that many kills are done; a run that ends sooner is
compared, and another one begins. What must agree: every array of the last
checkpoints, the derived architecture, and all lines without their clocks.
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from absl import app, flags
import numpy as np
import orbax.checkpoint as ocp

_KILLS = flags.DEFINE_integer("kills", 20, "How many in all.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the random moments.")

_MOMENTS = (2.0, 30.0)  # seconds before a kill, from and to
_CLOCKS = ("seconds", "seconds_estimated", "images_per_second")
_COMMAND = (
    sys.executable,
    *("-m", "enas_jax.main", "--config=configs/digits_micro.py:smoke"),
    *("--config.epochs=6", "--config.checkpoint_seconds=0.5"),
    *("--config.retrain.config.epochs=6",),
    "--config.retrain.config.checkpoint_seconds=0.5",
)


def _start(workdir: pathlib.Path, cache: str) -> subprocess.Popen:
  environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
  return subprocess.Popen(
      [*_COMMAND, f"--workdir={workdir}"],
      env=environment,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
  )


def _fail(process: subprocess.Popen, text: str) -> None:
  if process.returncode:
    print(text, file=sys.stderr)
    raise SystemExit(f"The run ended with code {process.returncode}.")


def _outcome(workdir: pathlib.Path) -> dict[str, object]:
  """All that has to agree, by name."""
  found = {}
  for path in sorted(workdir.rglob("*.json*")):
    if path.parent == workdir or path.parent.parent.name == "retrain":
      lines = [json.loads(path.read_text())] if path.suffix == ".json" else [
          json.loads(line) for line in path.read_text().splitlines()
      ]
      for line in lines:
        cost = line.get("cost", {})
        for part in (line, cost, cost.get("alone", {})):
          for clock in _CLOCKS:
            part.pop(clock, None)
      found[str(path.relative_to(workdir))] = lines
  for path in sorted(workdir.rglob("checkpoints")):
    last = max(path.iterdir(), key=lambda step: int(step.name))
    state = ocp.StandardCheckpointer().restore(last.resolve() / "state")
    for leaf, value in ocp.tree.to_flat_dict(state, sep="/").items():
      found[f"{path.relative_to(workdir)}/{leaf}"] = np.asarray(value).tobytes()
  return found


def main(_) -> None:
  root = pathlib.Path(tempfile.mkdtemp())
  cache = str(root / "cache")
  begun = time.monotonic()
  process = _start(root / "whole", cache)
  text = process.communicate()[1]
  _fail(process, text)
  print(f"in peace: {time.monotonic() - begun:.0f} s, cold", flush=True)
  whole = _outcome(root / "whole")
  arrays = sum(isinstance(value, bytes) for value in whole.values())
  draw = random.Random(_SEED.value)
  kills = runs = 0
  same = True
  while kills < _KILLS.value:
    runs += 1
    workdir = root / f"run_{runs}"
    while True:
      process = _start(workdir, cache)
      number = (signal.SIGKILL, signal.SIGTERM)[kills % 2]
      after = draw.uniform(*_MOMENTS)
      try:
        if kills == _KILLS.value:
          after = None
        text = process.communicate(timeout=after)[1]
        _fail(process, text)
        break
      except subprocess.TimeoutExpired:
        process.send_signal(number)
        process.communicate()
        kills += 1
        print(
            f"kill {kills}: {number.name} after {after:.1f} s, exit code"
            f" {process.returncode}",
            flush=True,
        )
    found = _outcome(workdir)
    differ = [k for k in {*whole, *found} if whole.get(k) != found.get(k)]
    same = same and not differ
    verdict = f"differs in {sorted(differ)[:5]}" if differ else "the same bits"
    print(
        f"run {runs} finished after {kills} kills in all: {verdict}"
        f" ({arrays} arrays, {len(whole) - arrays} files)",
        flush=True,
    )
  verdict = "all the same" if same else "DIFFERENT"
  print(f"{kills} kills, {runs} runs: {verdict}")
  sys.exit(not same)


if __name__ == "__main__":
  app.run(main)
