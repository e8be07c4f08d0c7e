"""Sets up a whole process before it computes."""

import ctypes
import io
import os
import pathlib
import platform
import resource
import signal
import sys
from typing import NamedTuple

from enas_jax.errors import ConfigError

# malloc uses pages of 2 MiB, maps no allocation by itself, and returns nothing
# to the system.
_MALLOC = {
    "hugetlb": 1,
    "mmap_max": 0,
    "trim_threshold": 1 << 34,
    "top_pad": 1 << 28,
}

# Where Linux says what a container may take, and has taken: cgroups 2 and 1.
_CGROUPS = (
    ("/sys/fs/cgroup", "memory.max", "memory.current"),
    (
        "/sys/fs/cgroup/memory",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
    ),
)

_STARTED = "ENAS_JAX_STARTED"

# How many threads XLA shares the work of a CPU out among.
_THREADS = "PJRT_NPROC"


class Slot(NamedTuple):
  """What one of several processes at a time takes of this machine."""

  cores: tuple[int, ...]  # (): all
  gpus: tuple[str, ...]  # as CUDA_VISIBLE_DEVICES names them; (): it needs none

  def take(self) -> None:
    """Keeps this process to the slot. Call it before JAX looks for devices.

    XLA adds up by as many threads as it finds cores, so that fewer cores would
    change the last bits of a sum; it is told the number of the whole machine.
    """
    if self.gpus:
      os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)
    if self.cores:
      told = os.environ.get("NPROC") or str(len(_cores()))
      os.environ.setdefault(_THREADS, told)
      os.sched_setaffinity(0, self.cores)


def slots(
    key: str,
    count: int | None,
    *,
    platform: str,
    found: int,
    each: int = 1,
    taken: int = 0,
) -> list[Slot]:
  """Returns a slot for each of so many processes at a time.

  No two share a GPU or a core of the CPU that they compute on.

  Args:
    key: of the option that says how many.
    count: how many; None: as many as there are devices for.
    platform: of the devices, as JAX names it.
    found: devices that JAX finds.
    each: devices that a process needs; those of a CPU are its own.
    taken: of the devices found, the first that are in use meanwhile.

  Raises:
    ConfigError: there is no room for so many.
  """
  if platform == "cpu":
    cores, count = _cores(), count or 1
    if count > len(cores):
      raise ConfigError(
          key, f"{count} is more than the {len(cores)} cores that are here."
      )
    pinned = count > 1 and hasattr(os, "sched_setaffinity")
    return [
        Slot(cores[n::count] if pinned else (), ()) for n in range(count)
    ]
  visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ""
  names = tuple(visible.split(",")) if visible else map(str, range(found))
  free = tuple(names)[taken:found]
  if not count:
    count = max(1, len(free) // each) if platform == "gpu" else 1
  if platform != "gpu":
    if count > 1:
      raise ConfigError(
          key, f"must be 1: processes cannot share the {platform} of a machine."
      )
    return [Slot((), ())]
  if count * each > len(free):
    raise ConfigError(
        key,
        f"{count} at a time need {count * each} GPUs, and {len(free)} are free"
        " here.",
    )
  return [
      Slot((), free[n * each : (n + 1) * each]) for n in range(count)
  ]


def _cores() -> tuple[int, ...]:
  """Returns the cores of the CPU that this process may use."""
  if hasattr(os, "sched_getaffinity"):
    return tuple(sorted(os.sched_getaffinity(0)))
  return tuple(range(os.cpu_count() or 1))


def end_silently() -> None:
  """Lets Ctrl-C end the process while it imports, without a traceback."""
  if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def show_what_can_be() -> None:
  """Lets the output show a question mark for what its encoding lacks."""
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors="replace")


def start_anew() -> None:
  """Starts the process anew, set up as it cannot be while it runs.

  Call it before anything costly. Its file names are UTF-8 then, which is all
  that Orbax can write to, whatever the locale says; the output stays in the
  encoding of the locale. And its malloc keeps what it was given.

  XLA takes the memory of a step from malloc and frees it after the step. By
  default glibc returns that much memory to the system, and the next step waits
  for fresh pages: a quarter of the time of a micro step on the CPU. This is not
  done where the user has set GLIBC_TUNABLES, or on systems other than Linux.
  The settings hold for the thread on which `run_in_place` keeps programs.
  """
  wanted = {}
  if sys.getfilesystemencoding() != "utf-8":
    wanted["PYTHONUTF8"] = "1"
    wanted["PYTHONIOENCODING"] = sys.stdout.encoding
  if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
    wanted["GLIBC_TUNABLES"] = ":".join(
        f"glibc.malloc.{name}={value}" for name, value in _MALLOC.items()
    )
  # Some processes do not see GLIBC_TUNABLES.
  if not wanted or _STARTED in os.environ or not sys.executable:
    return
  os.environ.update(wanted, **{_STARTED: "1"})
  sys.stdout.flush()
  sys.stderr.flush()
  os.execv(sys.executable, sys.orig_argv)


def run_in_place() -> None:
  """Lets the CPU run a program on the thread that calls it.

  By default JAX runs a larger program on a thread of its own. XLA asks for all
  temporaries of a step as one piece. For such a thread glibc keeps no piece
  above 64 MB, so each step would fetch it anew; for the first thread of a
  process, the settings of `start_anew` do keep it. Nothing changes on other
  devices, or where several CPU devices share a program.
  """
  import jax  # imported here because `start_anew` must come first

  jax.config.update("jax_cpu_enable_async_dispatch", False)


def keep_programs() -> None:
  """Keeps compiled programs, so that a second start compiles nothing.

  They lie in the user's cache folder, in a folder for each machine because a
  program is compiled for one processor; JAX_COMPILATION_CACHE_DIR names another
  folder. JAX by itself would not keep programs that compile in a moment; a
  search has some two hundred of them, which take six seconds in all. The folder
  may be deleted at any time.
  """
  import jax  # imported here because `start_anew` must come first

  if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  if jax.config.jax_compilation_cache_dir is None:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = pathlib.Path(cache) / "enas_jax" / platform.node()
    jax.config.update("jax_compilation_cache_dir", str(folder))


def set_handler(number: int, handler: int | None) -> None:
  """Sets the C function that handles a signal, from whichever thread.

  Args:
    number: The signal.
    handler: The address of the function; None: what the system does.
  """
  # `signal.signal` is for the main thread alone.
  change = ctypes.pythonapi.PyOS_setsig
  change.argtypes = [ctypes.c_int, ctypes.c_void_p]
  change.restype = ctypes.c_void_p
  change(number, handler)


def free_memory() -> int:
  """Returns the bytes of memory that this process may still take.

  It is what the system says is available, or what a limit of the container
  (cgroup) or of the process (ulimit -v) leaves, whichever is less. A system
  that says nothing is taken to have all of its memory free.
  """
  free = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
  available = _number("/proc/meminfo", "MemAvailable:")
  if available is not None:
    free.append(available * 1024)
  for folder, most, used in _CGROUPS:
    most, used = _number(f"{folder}/{most}"), _number(f"{folder}/{used}")
    if most is not None and used is not None:
      # Pages of files that the system gives back are not counted in.
      spare = _number(f"{folder}/memory.stat", "inactive_file") or 0
      free.append(most - used + spare)
  addresses, _ = resource.getrlimit(resource.RLIMIT_AS)
  taken = _number("/proc/self/status", "VmSize:")
  if addresses != resource.RLIM_INFINITY and taken is not None:
    free.append(addresses - taken * 1024)
  return max(0, min(free))


def _number(path: str, name: str = "") -> int | None:
  """Returns the number that a file says, or its line of that name; or None."""
  try:
    lines = pathlib.Path(path).read_text(encoding="utf-8").splitlines()
    line = next(line for line in lines if line.startswith(name))
    return int(line.removeprefix(name).split()[0])
  except (OSError, StopIteration, ValueError, IndexError):
    return None  # "max" of a container without a limit
