"""What is set for a whole process."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parent.parent


def run(code, environment):
  done = subprocess.run(
      [sys.executable, "-c", code],
      env=environment,
      cwd=ROOT,
      stdout=subprocess.PIPE,
      text=True,
      check=True,
  )
  return done.stdout.split()


_MEMORY = """
import os, sys
from enas_jax import process
before = os.environ.get("GLIBC_TUNABLES")
print("jax" in sys.modules)
process.start_anew()
print(before, os.getpid())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's.")
@pytest.mark.parametrize("given", [None, "glibc.malloc.perturb=0"])
def test_a_process_starts_anew_once_and_a_users_choice_stays(given):
  environment = {**os.environ, "GLIBC_TUNABLES": given or ""}
  if given is None:
    del environment["GLIBC_TUNABLES"]
  *light, before, _ = run(_MEMORY, environment)
  assert light == ["False"] * (1 if given else 2)
  assert before.startswith("glibc.malloc.") and (not given or before == given)


_FAULTS = """
import resource
from enas_jax import process
process.start_anew()
process.run_in_place()
import jax, jax.numpy as jnp

@jax.jit
def step(x):  # 200 MB for a moment
  return jnp.sum(jnp.flip(jnp.cumsum(jnp.broadcast_to(x, (50, 1_000_000)), 1)))

x = jnp.ones(1_000_000)
for _ in range(7):
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  step(x).block_until_ready()
  print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc is Linux's.")
def test_the_memory_of_a_step_is_fetched_once():
  environment = {**os.environ}
  environment.pop("GLIBC_TUNABLES", None)
  environment.pop("ENAS_JAX_STARTED", None)
  environment["JAX_PLATFORMS"] = "cpu"
  first, *later = map(int, run(_FAULTS, environment))
  if not first:
    pytest.skip("This system does not count the pages that it fetches.")
  # One of the first steps may still come before the last one's memory is back.
  assert first > 10 * np.median(later)


_PROGRAMS = """
import jax
from enas_jax import process
process.keep_programs()
compiled, served = [], []
jax.monitoring.register_event_listener(
    lambda name, **_: (
        compiled.append(name) if name.endswith("cache_misses") else
        served.append(name) if name.endswith("cache_hits") else None
    )
)
jax.block_until_ready(jax.jit(lambda x: x + 1)(1.0))
print(jax.config.jax_compilation_cache_dir, len(compiled), len(served))
"""


@pytest.mark.parametrize(
    "name", ["XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR"]
)
def test_a_second_start_compiles_nothing(tmp_path, name):
  environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "user")}
  environment.pop("JAX_COMPILATION_CACHE_DIR", None)
  environment[name] = str(tmp_path / "here")
  environment.pop("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", None)
  found = [run(_PROGRAMS, environment) for _ in range(2)]
  (folder, first, _), (_, second, served) = found
  assert pathlib.Path(folder).is_relative_to(tmp_path / "here")
  assert int(first) and not int(second) and int(served)
  # A user who wants to keep fewer programs does.
  environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "100"
  environment[name] = str(tmp_path / "else")
  assert [run(_PROGRAMS, environment)[2] for _ in range(2)] == ["0", "0"]


_LOCALE = r"""
import pathlib, sys
from enas_jax import process
process.start_anew()
from enas_jax import folder, process
from enas_jax.report import display
process.show_what_can_be()
path = pathlib.Path(sys.argv[1])
shown = display.Display(path / "log.txt")
shown.say("sch\u00f6n \u2013 \u4e2d " + str(path))
shown.table("m\u00fcde", ["\u4e2d"], [["\u00e9"]])
shown.close()
folder.write(path / "own.txt", "\u4e2d")
print(sys.getfilesystemencoding())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="It sets a locale.")
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_files_are_utf_8_and_the_output_is_what_it_can_be(tmp_path, encoding):
  path = tmp_path / "caf\u00e9"
  path.mkdir()
  locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
  environment = {**os.environ, **locale, "PYTHONIOENCODING": encoding}
  environment.pop("ENAS_JAX_STARTED", None)
  done = subprocess.run(
      [sys.executable, "-c", _LOCALE, str(path)],
      env=environment,
      cwd=ROOT,
      capture_output=True,
      check=True,
  )
  text = done.stdout.decode(encoding)
  seen = {"ascii": "sch?n ? ?", "latin-1": "sch\u00f6n ? ?"}
  line = seen.get(encoding, "sch\u00f6n \u2013 \u4e2d")
  assert text.splitlines()[0].startswith(line)
  assert ("\u2502" in text) == (encoding == "utf-8")  # a table in ASCII
  log = (path / "log.txt").read_text(encoding="utf-8")
  assert log.startswith(f"sch\u00f6n \u2013 \u4e2d {path}\n")
  assert (path / "own.txt").read_bytes() == "\u4e2d".encode()
  assert text.endswith("utf-8\n")
