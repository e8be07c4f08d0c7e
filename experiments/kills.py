"""Is a run that is killed again and again the uninterrupted run?

  python -m experiments.kills [--kills=100 --each=20 --only=micro,final]

Runs a small search of each of the four spaces, with its retraining or its
finalists, and a final training, once each in peace. Then runs them in turn in
other folders and kills them (SIGKILL, SIGTERM and SIGINT in turn) after random
times, resuming by the same command, until that many kills are done; a run that
ends is compared, and the next one begins. After --each kills a run is left in
peace, so that a slow machine comes to all of them. What must agree: every array
of the last checkpoints, the derived architecture, and all lines without their
clocks. With --root the runs that have ended in peace there are not made again.
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

from absl import app, flags, logging
import jax
import numpy as np
import orbax.checkpoint as ocp

_KILLS = flags.DEFINE_integer("kills", 20, "How many in all.")
_EACH = flags.DEFINE_integer("each", 20, "How many at most in one run.")
_SEED = flags.DEFINE_integer("seed", 0, "Of the random moments.")
_ROOT = flags.DEFINE_string("root", None, "Where the runs are; default: anew.")
_ONLY = flags.DEFINE_list("only", None, "Which of the runs; default: all.")

_MOMENTS = (2.0, 30.0)  # seconds before a kill, from and to
_SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_CLOCKS = ("seconds", "seconds_estimated", "images_per_second",
           "words_per_second")
_OFTEN = "checkpoint_seconds=0.5"
_RETRAINING = (
    "--config.epochs=4",
    "--config.retrain.config.epochs=4",
    f"--config.retrain.config.{_OFTEN}",
)
_RUNS = {
    "micro": ("--config=digits_micro:smoke", *_RETRAINING),
    "macro": ("--config=digits_macro:smoke", *_RETRAINING),
    "recurrent": ("--config=pydoc_recurrent:smoke", *_RETRAINING),
    "nasbench201": (
        *("--config=nasbench201_small:smoke", "--config.derive.finalists=3"),
        f"--config.derive.config.{_OFTEN}",
    ),
    "final": ("--config=cifar_micro_final:smoke", "--config.epochs=6"),
}


def _start(name: str, workdir: pathlib.Path, cache: str) -> subprocess.Popen:
  environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
  command = [sys.executable, "-m", "enas_jax.main", *_RUNS[name]]
  return subprocess.Popen(
      [*command, f"--config.{_OFTEN}", f"--workdir={workdir}"],
      env=environment,
      stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE,
      text=True,
  )


def _fail(process: subprocess.Popen, text: str) -> None:
  if process.returncode:
    print(text, file=sys.stderr)
    raise SystemExit(f"The run ended with code {process.returncode}.")


def _timeless(value: object) -> object:
  """Returns a value of JSON without what a clock says."""
  if isinstance(value, list):
    return [_timeless(each) for each in value]
  if not isinstance(value, dict):
    return value
  kept = {key: its for key, its in value.items() if key not in _CLOCKS}
  return {key: _timeless(its) for key, its in kept.items()}


def outcome(workdir: pathlib.Path) -> dict[str, object]:
  """All that has to agree, by name."""
  found = {}
  for path in sorted(workdir.rglob("*.json*")):
    inner = path.parent.parent.name in ("retrain", "finalists")
    if path.parent == workdir or inner:
      text = path.read_text(encoding="utf-8")
      parts = [text] if path.suffix == ".json" else text.splitlines()
      found[str(path.relative_to(workdir))] = _timeless(
          [json.loads(part) for part in parts]
      )
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  one = ocp.args.StandardRestore(fallback_sharding=device)
  for path in sorted(workdir.rglob("checkpoints")):
    steps = [step for step in path.iterdir() if step.name.isdigit()]
    last = max(steps, key=lambda step: int(step.name))
    state = ocp.Checkpointer(ocp.StandardCheckpointHandler()).restore(
        last.resolve() / "state", args=one
    )
    for leaf, value in ocp.tree.to_flat_dict(state, sep="/").items():
      found[f"{path.relative_to(workdir)}/{leaf}"] = np.asarray(value).tobytes()
  return found


def _killed(
    name: str, workdir: pathlib.Path, cache: str, draw: random.Random, done: int
) -> int:
  """Runs to the end with kills on the way; returns how many are done then."""
  most = min(_KILLS.value, done + _EACH.value)
  while True:
    process = _start(name, workdir, cache)
    number = _SIGNALS[done % len(_SIGNALS)]
    after = draw.uniform(*_MOMENTS) if done < most else None
    try:
      text = process.communicate(timeout=after)[1]
      _fail(process, text)
      return done
    except subprocess.TimeoutExpired:
      process.send_signal(number)
      process.communicate()
      done += 1
      print(
          f"kill {done}: {name}, {number.name} after {after:.1f} s, exit code"
          f" {process.returncode}",
          flush=True,
      )


def main(_) -> None:
  logging.set_verbosity(logging.WARNING)  # Orbax tells every file it opens
  root = pathlib.Path(_ROOT.value or tempfile.mkdtemp())
  cache, whole = str(root / "cache"), {}
  names = _ONLY.value or [*_RUNS]
  for name in names:
    begun = time.monotonic()
    process = _start(name, root / name, cache)
    text = process.communicate()[1]
    _fail(process, text)
    took = time.monotonic() - begun
    print(f"{name} in peace: {took:.0f} s", flush=True)
    whole[name] = outcome(root / name)
  draw, kills, runs, same = random.Random(_SEED.value), 0, 0, True
  while kills < _KILLS.value:
    name = names[runs % len(names)]
    runs += 1
    workdir = root / f"run_{runs}"
    kills = _killed(name, workdir, cache, draw, kills)
    expected, found = whole[name], outcome(workdir)
    keys = {*expected, *found}
    differ = [key for key in keys if expected.get(key) != found.get(key)]
    same = same and not differ
    arrays = sum(isinstance(value, bytes) for value in expected.values())
    verdict = f"differs in {sorted(differ)[:5]}" if differ else "the same bits"
    print(
        f"run {runs}, {name}, finished after {kills} kills in all: {verdict}"
        f" ({arrays} arrays, {len(expected) - arrays} files)",
        flush=True,
    )
  verdict = "all the same" if same else "DIFFERENT"
  print(f"{kills} kills, {runs} runs: {verdict}")
  sys.exit(not same)


if __name__ == "__main__":
  app.run(main)
