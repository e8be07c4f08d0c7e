"""What a run does around the steps of its loop: the hooks, and their files."""

import contextlib
import pathlib
import time
import zlib

import jax
import numpy as np

from enas_jax import checkpoint, evaluate, feeds, folder, hosts, loop
from enas_jax.errors import ConfigError
from enas_jax.plan import Plan
from enas_jax.report import metrics, words
from enas_jax.report.display import Display, Pace
from enas_jax.signals import Signals
from enas_jax.types import NEVER, SearchState


class Diverged(RuntimeError):
  """A loss or reward was not finite at the same step twice."""


class Keeper:
  """Checkpoints, metrics and the live bar of one run of the loop.

  Entered, it holds its files open.
  """

  def __init__(
      self,
      plan: Plan,
      home: pathlib.Path,
      path: pathlib.Path,
      display: Display,
      signals: Signals,
  ):
    """Makes it.

    Args:
      plan: of the run.
      home: the folder of the run, where all processes write checkpoints.
      path: where this process writes all else.
      display: shows lines and the bar.
      signals: of the run.
    """
    self._plan, self._home, self._path = plan, home, path
    self._display, self._signals = display, signals
    self._pace = Pace()
    self._seen = {}  # the newest numbers, for the live bar
    self._failed_at = NEVER
    self._data = _digest(plan)
    self._writer = self._bar = None
    self._open = contextlib.ExitStack()

  def __enter__(self) -> "Keeper":
    self._checkpoints = self._open.enter_context(
        contextlib.closing(checkpoint.Checkpoints(self._home / "checkpoints"))
    )
    self._open.callback(lambda: self._writer and self._writer.close())
    return self

  def __exit__(self, *unused) -> None:
    self._signals.compiling = False
    self._open.close()

  def hooks(self) -> loop.Hooks:
    """Returns what the loop calls."""
    return loop.Hooks(
        self._step,
        self._epoch,
        self._due,
        self._save,
        self._compiled,
        self._back,
    )

  def state(self) -> SearchState:
    """Returns the state to begin with: the newest checkpoint, or the first."""
    if not hosts.alike(self._data):
      raise ConfigError("config.data", "is not the same data on all hosts.")
    self._signals.compiling = True  # the first state is made by a program, too
    first = loop.start(self._plan.experiment)
    self._like = checkpoint.shapes(first)
    state = self._restored()
    if self._display.again and not (state and int(state.step)):
      self._display.say(
          f"No step is saved in {self._home} yet: it begins from the start."
      )
    if state is None:
      state = first
      self._save_now(state)
    steps = self._plan.experiment.steps
    self._bar = self._open.enter_context(
        self._display.bar(steps, int(state.step))
    )
    return state

  def _restored(self) -> SearchState | None:
    """Returns the newest checkpoint; opens the metrics at its place."""
    if self._writer:
      self._writer.close()
    experiment = self._plan.experiment
    found = self._checkpoints.restore(self._like, self._display.say)
    if found and found[1]["data"] != self._data:
      raise ConfigError(
          "--workdir",
          f"the run in {self._home} began on other data than config.data reads"
          " now. Bring them back, or name another folder.",
      )
    state, facts = found or (None, {"metrics_size": 0, "seconds": 0.0})
    step = int(state.step) if found else 0
    self._signals.saved |= step > 0
    self._signals.came()  # brings the time up to date
    self._saved = self._signals.time
    # The epoch's, in whichever process its time was spent.
    self._begun = time.monotonic() - facts["seconds"]
    epoch = experiment.place(step)[0]
    self._writer = metrics.Writer(
        self._path, facts["metrics_size"], epoch + 1
    )
    if step:
      self._display.say(
          f"Going on from the checkpoint of step {step} of {experiment.steps}."
      )
    now = experiment.devices, hosts.count()
    if before := folder.run_on(self._path, step, *now):
      self._display.say(words.other_devices(before, *now))
    self._pace.skip()
    return state

  def _step(self, seen: loop.Seen) -> None:
    self._signals.compiling = False
    self._pace.step(seen.kind, seen.count)
    if self._bar.live:
      self._bar.show(seen.step, self._status(seen))

  def _status(self, seen: loop.Seen) -> str:
    """Returns a line on what is going on, with the newest numbers."""
    experiment = self._plan.experiment
    if seen.records is not None:
      child, controller = jax.device_get(seen.records)
      self._seen.update(evaluate.summarize(child, "child/"))
      self._seen.update(evaluate.summarize(controller, "controller/"))
    epoch, at = experiment.place(seen.step - 1)
    left = self._pace.left(experiment.left(seen.step))
    each = self._pace.seconds("child")
    speed = experiment.train.items / each if each else 0.0
    phase = "child" if at < experiment.child_steps else "controller"
    return (
        f"epoch {epoch + 1}/{experiment.epochs} {phase} step {at + 1}"
        f"/{experiment.length(epoch)}"
        f"  {words.numbers(self._seen)}"
        f"  {speed:,.0f} {experiment.train.unit}/s  {left} left"
    )

  def _epoch(self, epoch: int, values: dict[str, float]) -> None:
    experiment = self._plan.experiment
    each = self._pace.seconds("child")
    if each:
      unit = experiment.train.unit
      values[f"{unit}_per_second"] = experiment.train.items / each
    now = time.monotonic()
    values["seconds"], self._begun = now - self._begun, now
    self._writer.write(epoch + 1, values)
    done = sum(experiment.length(n) for n in range(epoch + 1))
    left = self._pace.left(experiment.left(done))
    self._display.say(
        f"epoch {epoch + 1}/{experiment.epochs}  {words.numbers(values)}"
        f"  {left} left"
    )
    self._pace.skip()

  def _due(self, step: int) -> bool:
    del step
    stop = self._signals.came()
    passed = self._signals.time - self._saved
    return stop or passed >= self._plan.checkpoint_seconds

  def _save(self, state: SearchState) -> None:
    self._save_now(state)
    self._signals.stop_if_caught()

  def _save_now(self, state: SearchState) -> None:
    self._saved = self._signals.time
    with self._signals.saving:
      facts = {
          "metrics_size": self._writer.flush(),
          "seconds": time.monotonic() - self._begun,
          "data": self._data,
      }
      self._checkpoints.save(state, facts)
    self._signals.saved |= int(state.step) > 0
    self._pace.skip()

  def _compiled(self, counts: dict[str, int]) -> None:
    if self._plan.derive:
      self._display.say(words.compiled(counts))

  def _back(self, step: int) -> SearchState:
    """Returns the newest checkpoint after a number was not finite."""
    if step == self._failed_at:
      raise Diverged(words.diverged(self._plan, step))
    self._failed_at = step
    state = self._restored()
    self._display.say(
        f"A number was not finite at step {step}. Rolled back to the"
        f" checkpoint of step {int(state.step)}."
    )
    return state


def _digest(plan: Plan) -> int:
  """Returns a number that changes with any of the data of a run."""
  experiment = plan.experiment
  splits = (experiment.train, experiment.held, experiment.watched)
  found = 0
  for split in filter(None, splits):
    for leaf in jax.tree.leaves(feeds.mark(split)):
      found = zlib.crc32(np.ascontiguousarray(leaf).data.cast("B"), found)
  return found
