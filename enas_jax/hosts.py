"""Several processes that are one run, on one host or on several.

Each process runs the same program on its own devices, as JAX has it. What only
one of them may know or decide, as a clock, a file or a signal, goes through
here: `first` and `together` are called by all at the same place, and all go on
with the same result. In a plain process they do no more than to call.
"""

from collections.abc import Callable
import contextlib
import ctypes
import importlib.util
import os
import pickle
import platform
import signal
import sys
import threading
import time
from typing import Any, NoReturn

import jax
from jax._src import clusters, distributed  # has no other door
from jax.experimental import multihost_utils
import numpy as np

from enas_jax import process as own
from enas_jax.errors import ConfigError, one_line, Unwritable

_WAIT = 300  # seconds for all processes to come
_LEAVE = 30  # seconds for all processes to go
_BEAT = 3.0  # seconds between two signs of life
_SILENT = 30.0  # seconds without one, after which a process has ended
_LOST = 60  # the same, when JAX itself ends the others
_KEY = "enas_jax/"
_JOINED = threading.Event()  # this process has found the others
_ENDED = threading.Event()  # and has left them
_LOOK = 2.0  # seconds between two questions to all processes
# What the launchers of MPI say, and how many processes they started.
_MPI = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
_AGAIN = (
    "Start the same command on every host again: it goes on from what was"
    " saved."
)


def join(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
) -> None:
  """Joins the processes of a run; call it before JAX looks for devices.

  Without arguments the processes are those that a cluster has started, where
  JAX knows it: TPU, SLURM, Kubernetes, MPI. A plain process stays alone.

  Args:
    coordinator: "HOST:PORT", where the first process listens.
    processes: how many there are; 1: it is alone, whatever the cluster says.
    process: which this one is, from 0.

  Raises:
    ConfigError: one of them is missing or wrong, or not all have come.
  """
  given = {"coordinator": coordinator, "processes": processes}
  given["process"] = process
  if processes == 1 and not process:
    return
  missing = [name for name, value in given.items() if value is None]
  if len(missing) == len(given):
    if (method := _detected()) is None:
      return
  elif missing:
    raise ConfigError(
        f"--{missing[0]}",
        "is required: --coordinator=HOST:PORT, --processes=N and --process=I"
        " go together.",
    )
  else:
    method = "deactivate"
    _check(**given)
  # A signal is told by `Watch`. JAX would take SIGTERM for itself.
  jax.config.update("jax_enable_preemption_service", False)
  # JAX aborts a process that does not find the others, or loses the first.
  own.set_handler(signal.SIGABRT, ctypes.cast(_aborted, ctypes.c_void_p))
  print(f"Waiting for the other processes, {_WAIT} s at most.", file=sys.stderr)
  try:
    jax.distributed.initialize(
        coordinator,
        processes,
        process,
        cluster_detection_method=method or None,
        initialization_timeout=_WAIT,
        heartbeat_timeout_seconds=_LOST,
        shutdown_timeout_seconds=_LEAVE,
    )
  except Exception as error:  # of gRPC, of a cluster's own service
    raise ConfigError(
        "--coordinator",
        f"the processes do not come together ({one_line(error):.200}).",
    ) from None
  _JOINED.set()
  threading.Thread(target=_live, daemon=True).start()


def _check(coordinator: str, processes: int, process: int) -> None:
  host, _, port = coordinator.rpartition(":")
  if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
    raise ConfigError(
        "--coordinator", f"must be HOST:PORT, got {coordinator!r}."
    )
  if not 0 <= process < processes:
    raise ConfigError(
        "--process",
        f"must be 0 to {processes - 1}, got {process} of --processes="
        f"{processes}.",
    )


def _detected() -> str | None:
  """Returns how JAX detects the cluster ("": by itself); None: there is none.
  """
  # Kubernetes is asked only in a job whose pods are numbered; else a plain pod
  # would be told to install a package.
  pod = "KUBERNETES_SERVICE_HOST" in os.environ
  plain = pod and "JOB_COMPLETION_INDEX" not in os.environ
  for env in clusters.ClusterEnv._cluster_types:
    if env.opt_in_only_method or (plain and env.name == "k8s"):
      continue
    if env.is_env_present():
      return "" if env.get_process_count() > 1 else None
  count = max(int(os.environ.get(name, "1")) for name in _MPI)
  if count == 1:
    return None
  if importlib.util.find_spec("mpi4py"):
    return "mpi4py"
  raise ConfigError(
      "--coordinator",
      f"is required: MPI has started {count} processes, and JAX cannot tell how"
      " they find one another. Give --coordinator=HOST:PORT, --processes=N and"
      " --process=I, or install mpi4py; --processes=1 runs each alone.",
  )


def several() -> bool:
  """Says whether this process is one of several."""
  return jax.distributed.is_initialized() and jax.process_count() > 1


def count() -> int:
  """Returns how many processes the run has."""
  return jax.process_count() if several() else 1


def writes() -> bool:
  """Says whether this process writes the files of the run.

  One of them does; the checkpoints are written by all.
  """
  return not several() or jax.process_index() == 0


def first(function: Callable[[], Any]) -> Any:
  """Returns what `function` returns in the first process, to all of them.

  Raises:
    ConfigError, Unwritable: it did so there.
  """
  if not several():
    return function()
  found, error = _tried(function) if writes() else (None, None)
  found, error = _told(0, (found, error))
  if error:
    raise error
  return found


def together(function: Callable[[], Any]) -> Any:
  """Calls `function` in all processes, and returns what it returns here.

  Raises:
    ConfigError, Unwritable: it did so in any of them.
  """
  if not several():
    return function()
  found, error = _tried(function)
  failed = np.flatnonzero(gathered(int(error is not None)))
  if len(failed):
    told = _told(failed[0], error)
    raise error or told
  return found


def gathered(value: Any) -> np.ndarray:
  """Returns the values of all processes, whole numbers of 32 bits, by rank."""
  mine = np.asarray(value, np.int32)
  return multihost_utils.process_allgather(mine) if several() else mine[None]


def alike(number: int) -> bool:
  """Says whether all processes give the same number of 32 bits."""
  return len(set(gathered(np.uint32(number).view(np.int32)).tolist())) == 1


def _tried(function: Callable[[], Any]) -> tuple[Any, Exception | None]:
  try:
    return function(), None
  except (ConfigError, Unwritable) as error:
    return None, error


def _told(source: int, content: Any) -> Any:
  """Returns the content of one process to all."""
  own = jax.process_index() == source
  told = pickle.dumps(content) if own else b""
  size = int(gathered(len(told)).max())
  buffer = np.zeros(1 << size.bit_length(), np.uint8)  # few programs serve all
  buffer[: len(told)] = np.frombuffer(told, np.uint8)
  buffer = multihost_utils.broadcast_one_to_all(buffer, is_source=own)
  return content if own else pickle.loads(buffer[:size].tobytes())


class Watch:
  """A clock and a signal that all processes see alike.

  All of them call `look` equally often. They ask one another only now and then,
  at calls that follow from their common clock.
  """

  def __init__(self):
    self.time = 0.0  # seconds; of the first process
    self.caught = 0  # the largest number of a signal that came to any process
    self._begun = time.monotonic()
    self._calls = self._seen = 0
    self._next = 1

  def look(self, caught: int) -> None:
    """Brings time and signal up to date.

    Args:
      caught: the number of the signal that came to this process, or 0.
    """
    now = time.monotonic() - self._begun
    if not several():
      self.time, self.caught = now, caught
      return
    self._calls += 1
    if self._calls < self._next:
      return
    # Tenths of a second fit into 32 bits for years.
    numbers, clocks = gathered([caught, int(10 * now)]).T
    passed, calls = clocks[0] / 10 - self.time, self._calls - self._seen
    ahead = calls * _LOOK / passed if passed else 2 * calls
    self._next = self._calls + max(1, min(int(ahead), 2 * calls))
    self._seen, self.time = self._calls, clocks[0] / 10
    self.caught = int(numbers.max())


def part() -> None:
  """Ends the run of several processes in order; all of them call it."""
  _ENDED.set()
  with contextlib.suppress(Exception):  # all is saved, whoever does not come
    jax.distributed.shutdown()


def leave(why: str) -> None:
  """Tells the other processes why this one ends alone; they end, too."""
  if not jax.distributed.is_initialized():
    return
  _ENDED.set()
  with contextlib.suppress(Exception):  # without a coordinator nobody hears it
    _tell("ended", why)
    if distributed.global_state.process_id == 0:
      time.sleep(2 * _BEAT)  # it takes along what the others hear it by


def verdict() -> None:
  """Waits until it is clear whether another process has ended.

  Where one has, this process ends with the line that says which.
  """
  if several():
    time.sleep(_SILENT + 2 * _BEAT)


def _live() -> None:
  """Tells the others that this process lives, and ends it where one does not.

  It would wait for that one in vain in whatever they compute together.
  """
  state, seen, beats = distributed.global_state, {}, 0
  while not _ENDED.wait(_BEAT):
    beats += 1
    try:
      _tell("alive", f"{beats} {platform.node()}")
      told = dict(state.client.key_value_dir_get(_KEY))
    except Exception:  # the coordinator has gone: JAX ends this process
      continue
    now = time.monotonic()
    for rank in range(state.num_processes):
      sign = told.get(f"{_KEY}alive/{rank}", "0 no host known yet")
      host = sign.split(" ", 1)[1]
      who = f"process {rank} of {state.num_processes} ({host})"
      if (why := told.get(f"{_KEY}ended/{rank}")) and not _ENDED.is_set():
        _end(f"{who} has ended: {why} {_AGAIN}")
      if rank not in seen or seen[rank][0] != sign:
        seen[rank] = sign, now
      elif now - seen[rank][1] > _SILENT:
        _end(
            f"{who} has ended or cannot be reached: it has said nothing for"
            f" {_SILENT:.0f} s. {_AGAIN}"
        )


def _tell(what: str, text: str) -> None:
  """Tells all processes something of this one."""
  state = distributed.global_state
  key = f"{_KEY}{what}/{state.process_id}"
  state.client.key_value_set(key, text, allow_overwrite=True)


def _end(why: str, code: int = 1) -> NoReturn:
  """Ends this process at once, from whichever thread."""
  os.write(2, f"error: {why}\n".encode(errors="replace"))
  os._exit(code)


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _aborted(number: int) -> None:
  """Says what it means that JAX has aborted this process."""
  del number
  if _JOINED.is_set():
    _end(
        "JAX has ended this process; see the lines above. Most likely process"
        f" 0, the coordinator, has ended or cannot be reached. {_AGAIN}"
    )
  _end(
      f"--coordinator: not all processes have come together in {_WAIT} s. Is"
      " the command the same on all hosts, and can they reach process 0?",
      code=2,
  )
