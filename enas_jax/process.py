"""What is set for a whole process before it computes."""

import os
import pathlib
import platform
import sys

# Pages of 2 MiB, no allocation of its own pages, and nothing given back.
_MALLOC = {
    "hugetlb": 1,
    "mmap_max": 0,
    "trim_threshold": 1 << 34,
    "top_pad": 1 << 28,
}


_STARTED = "ENAS_JAX_STARTED"


def keep_memory() -> None:
  """Starts the process anew with a malloc that keeps what it was given.

  XLA takes the memory of a step from malloc and returns it after the step. By
  default glibc gives so much back to the system, and the next step waits for
  fresh pages: a quarter of the time of a micro step on the CPU. These settings
  are read when a process starts, so call this before anything costly. A user's
  own GLIBC_TUNABLES are left alone; on other systems nothing happens. They hold
  for the thread that `run_in_place` keeps to.
  """
  given = "GLIBC_TUNABLES" in os.environ or _STARTED in os.environ
  if sys.platform != "linux" or given or not sys.executable:
    return
  os.environ[_STARTED] = "1"  # glibc hides its own from some processes
  os.environ["GLIBC_TUNABLES"] = ":".join(
      f"glibc.malloc.{name}={value}" for name, value in _MALLOC.items()
  )
  sys.stdout.flush()
  sys.stderr.flush()
  os.execv(sys.executable, sys.orig_argv)


def run_in_place() -> None:
  """Lets the CPU run a program on the thread that asks for it.

  By default JAX runs a larger one on a thread of its own. XLA asks for all
  temporaries of a step as one piece, and of a piece above 64 MB glibc keeps
  nothing for such a thread: it is fetched anew at each step. For the first
  thread of a process `keep_memory` does keep it. Nothing changes on other
  devices, or where several CPU devices share a program.
  """
  import jax  # here, as `keep_memory` comes first

  jax.config.update("jax_cpu_enable_async_dispatch", False)


def keep_programs() -> None:
  """Keeps compiled programs, so that a second start compiles nothing.

  In the user's cache folder, one for each machine since a program is compiled
  for its processor; JAX_COMPILATION_CACHE_DIR names another one. Programs of a
  moment are kept too, which JAX would not: a search has some two hundred, six
  seconds in all. Nothing in the folder is lost when it is deleted.
  """
  import jax  # here too

  if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  if jax.config.jax_compilation_cache_dir is None:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = pathlib.Path(cache) / "enas_jax" / platform.node()
    jax.config.update("jax_compilation_cache_dir", str(folder))
