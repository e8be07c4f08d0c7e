"""Runs jobs side by side, each in a process of its own.

submitit starts the processes, on this machine (`Local`) or by SLURM (`Slurm`).
A job is a function without arguments that can be sent to another process; what
it computes, it writes to a folder. One that fails ends in a line, and the
others go on.
"""

from collections.abc import Callable, Iterator, Sequence
import contextlib
import os
import pathlib
import shutil
import signal
import time
import traceback
from typing import Any, NamedTuple, Protocol

from absl import logging
import jax

from enas_jax import folder, process, registry, signals
from enas_jax.errors import ConfigError, one_line, Unwritable
from enas_jax.keeper import Diverged

_TICK = 0.2  # seconds between two looks at the jobs
_AGAIN = 5.0  # seconds until a process that does not end is told so again
_YEARS = 10 * 365 * 24 * 60  # minutes: a job here may take as long as it takes
_NUMBERS = "slurm.json"  # of the jobs in the cluster, by name


class Failed(Exception):
  """Says in one line that some jobs have not done what they should."""


class Job(NamedTuple):
  """What a process of its own does."""

  name: str  # that of a folder
  work: Callable[[], Any]


class Ended(NamedTuple):
  """A job that has ended."""

  name: str
  seconds: float  # since it was started
  failure: str | None  # why it is not done, in a line; None: it is


class Launcher(Protocol):
  """What starts jobs, and ends them.

  A handle is a job of submitit.
  """

  def room(self) -> bool:
    """Says whether another job may start."""

  def start(self, job: Job) -> Any:
    """Starts a job; returns its handle."""

  def over(self, job: Job, handle: Any) -> str | None:
    """Returns why a job that has ended is not done, in a line, or None."""

  def stop(self, handles: Sequence[Any]) -> None:
    """Tells jobs to save what they have, and returns when they have ended."""


def each(
    jobs: Sequence[Job],
    launcher: Launcher,
    stopping: signals.Signals,
    tell: Callable[[Ended], None],
) -> None:
  """Runs jobs until all have ended.

  Args:
    jobs: the first are started first.
    launcher: starts them.
    stopping: says whether a signal came. The jobs are stopped then.
    tell: is told of each job that has ended.

  Raises:
    Interrupted: a signal came.
  """
  waiting, running = [*jobs], {}
  try:
    while waiting or running:
      while waiting and launcher.room() and not stopping.caught:
        job = waiting.pop(0)
        running[job.name] = job, launcher.start(job), time.monotonic()
      for job, handle, begun in [*running.values()]:
        if handle.done():
          del running[job.name]
          spent = time.monotonic() - begun
          tell(Ended(job.name, spent, launcher.over(job, handle)))
      if stopping.caught:
        with stopping.saving:  # the jobs save
          launcher.stop([handle for _, handle, _ in running.values()])
        running.clear()
        stopping.stop_if_caught()
      time.sleep(_TICK)
  finally:
    if running:
      launcher.stop([handle for _, handle, _ in running.values()])


class Local:
  """Starts processes on this machine, in as many slots as there are.

  A slot is the cores of the CPU or the GPUs that no other slot has.
  """

  def __init__(
      self,
      path: pathlib.Path,
      slots: Sequence[process.Slot],
      settings: dict[str, Any] | None = None,
  ):
    """Starts nothing yet.

    Args:
      path: the folder of what submitit writes. That of a job that is done is
        removed; that of another one has its output.
      slots: one for each process at a time.
      settings: of JAX, for the processes.
    """
    self._path, self._settings = path, settings or {}
    self._free, self._taken = [*slots], {}

  def room(self) -> bool:
    """Says whether a slot is free."""
    return bool(self._free)

  def start(self, job: Job) -> Any:
    """Starts a job in a slot that is free."""
    submitit = registry.extra("at_once", "submitit", "sweep")
    place = self._path / job.name
    shutil.rmtree(place, ignore_errors=True)
    slot = self._taken[job.name] = self._free.pop(0)
    executor = submitit.LocalExecutor(place)
    executor.update_parameters(timeout_min=_YEARS)
    with deaf():
      return executor.submit(_Work(job.work, slot, self._settings))

  def over(self, job: Job, handle: Any) -> str | None:
    """Frees the slot of a job that has ended; says why it is not done."""
    self._free.append(self._taken.pop(job.name))
    if handle.paths.result_pickle.exists():  # else submitit waits for it
      return _failure(self._path, job, handle)
    return _killed(handle)

  def stop(self, handles: Sequence[Any]) -> None:
    """Tells processes to save what they have, and waits until they end."""
    due = 0.0
    while handles := [each for each in handles if not each.done()]:
      if time.monotonic() > due:
        due = time.monotonic() + _AGAIN  # one that just begins may not hear
        for handle in handles:
          with contextlib.suppress(ProcessLookupError):
            os.kill(int(handle.job_id), signal.SIGTERM)
      time.sleep(_TICK)


class Slurm:
  """Starts jobs by SLURM, whose queue they wait in.

  Its jobs go on when this process ends. The next one finds them by their
  numbers, and waits for them.
  """

  def __init__(
      self,
      path: pathlib.Path,
      options: dict[str, Any],
      at_once: int | None,
      say: Callable[[str], None],
  ):
    """Starts and writes nothing yet.

    Args:
      path: the folder of what submitit writes, which the cluster has, too.
      options: of sbatch, by their names in submitit.
      at_once: jobs that are queued or run at a time; None: all.
      say: is told what becomes of the jobs when this process ends.

    Raises:
      ConfigError: there is no SLURM here, or it has no such option.
    """
    submitit = registry.extra("--launch", "submitit", "sweep")
    self._path, self._options, self._say = path, options, say
    self._most, self._running = at_once, 0
    if not {"time", "timeout_min"} & {*options}:
      raise ConfigError("--slurm", "must say time=MINUTES of a job.")
    try:
      executor = submitit.SlurmExecutor(path)
    except RuntimeError:
      raise ConfigError(
          "--launch", "there is no command srun here, which SLURM has."
      ) from None
    try:
      executor.update_parameters(**options)
    except Exception as error:
      raise ConfigError("--slurm", f"{one_line(error)}.") from None

  def room(self) -> bool:
    """Says whether another job may be queued."""
    return self._most is None or self._running < self._most

  def start(self, job: Job) -> Any:
    """Queues a job, unless the cluster has it already."""
    submitit = registry.extra("--launch", "submitit", "sweep")
    place, file = self._path / job.name, self._path / _NUMBERS
    numbers = folder.read_json(file) if file.exists() else {}
    self._running += 1
    if job.name in numbers:
      handle = submitit.SlurmJob(place, numbers[job.name])
      if not handle.done(force_check=True) and handle.state != "UNKNOWN":
        return handle
    shutil.rmtree(place, ignore_errors=True)
    executor = submitit.SlurmExecutor(place)
    executor.update_parameters(**{"job_name": job.name, **self._options})
    try:
      handle = executor.submit(_Work(job.work, None, {}))
    except submitit.core.utils.FailedJobError as error:
      raise Failed(f"sbatch queues no job: {one_line(error)}") from None
    folder.write_json(file, {**numbers, job.name: handle.job_id})
    return handle

  def over(self, job: Job, handle: Any) -> str | None:
    """Says why a job that has ended is not done."""
    self._running -= 1
    return _failure(self._path, job, handle)

  def stop(self, handles: Sequence[Any]) -> None:
    """Leaves the jobs to the cluster."""
    names = ", ".join(str(handle.job_id) for handle in handles)
    if names:
      self._say(
          f"The cluster goes on with {names}; the same command waits for them."
      )


def _failure(path: pathlib.Path, job: Job, handle: Any) -> str | None:
  """Returns why a job that has ended is not done; removes what is of no use.

  Args:
    path: of the launcher.
    job: the job.
    handle: of submitit, which waits a while for a slow file system.
  """
  error = handle.exception()
  if error is None:
    failure = handle.result()
    if failure is None:
      shutil.rmtree(path / job.name, ignore_errors=True)
      with contextlib.suppress(OSError):  # there is more in it
        path.rmdir()
    return failure
  if type(error).__name__ == "UncompletedJobError":
    return _killed(handle)
  return f"it could not begin; {handle.paths.stderr} says why."


def _killed(handle: Any) -> str:
  return (
      "it ended without a word, as a process does that is killed or finds no"
      f" memory; its output is in {handle.paths.folder}."
  )


@contextlib.contextmanager
def deaf() -> Iterator[None]:
  """Lets no Ctrl-C come to the processes that are started meanwhile.

  A terminal sends it to all of them. submitit gives its processes a second
  then, in which none can save; so they are told to end by SIGTERM alone.
  """
  before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
  try:
    yield
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Work(NamedTuple):
  """Does the work of a job in its process; returns why it failed, or None."""

  work: Callable[[], Any]
  slot: process.Slot | None
  settings: dict[str, Any]  # of JAX

  def __call__(self) -> str | None:
    heard = []

    def stop(number, frame):
      if not heard:
        heard.append(number)
        raise signals.Interrupted(number)

    try:
      with signals.caught(stop), _requeued():
        self._prepare()
        self.work()
    except signals.Interrupted as error:
      return f"{error}."
    except (ConfigError, Diverged, Unwritable) as error:
      return str(error)
    except Exception as error:
      traceback.print_exc()
      return one_line(error)
    return None

  def _prepare(self) -> None:
    """Sets up the process as that of a command is."""
    if self.slot:
      self.slot.take()
    logging.set_verbosity(logging.WARNING)
    process.run_in_place()
    process.keep_programs()
    for key, value in self.settings.items():
      if jax.config.values.get(key) != value:
        jax.config.update(key, value)

  def checkpoint(self) -> Any:
    """Returns what submitit queues again when SLURM's time is up: the same."""
    from submitit.helpers import DelayedSubmission

    return DelayedSubmission(self)


@contextlib.contextmanager
def _requeued() -> Iterator[None]:
  """Lets a run save what it has before submitit queues it again.

  SLURM sends SIGUSR2 a while before the time of a job is up or its place is
  taken; submitit's handler of it queues the job again and ends the process.
  """
  queue_again = signal.getsignal(signal.SIGUSR2)
  if not callable(queue_again):
    yield
    return
  came = []

  def save(number, frame):
    came.append((number, frame))
    os.kill(os.getpid(), signal.SIGTERM)

  signal.signal(signal.SIGUSR2, save)
  try:
    yield
  except signals.Interrupted:
    if came:
      queue_again(*came[0])
    raise
  finally:
    signal.signal(signal.SIGUSR2, queue_again)


def settings() -> dict[str, Any]:
  """Returns the settings of JAX in this process, to be sent to another one."""
  plain = (bool, int, float, str, type(None))
  return {
      key: value
      for key, value in jax.config.values.items()
      if isinstance(value, plain)
  }
