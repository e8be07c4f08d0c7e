"""The tests compile far longer than they compute."""

import importlib.metadata
import os

# XLA's older emitters for the CPU take half the time for a small program and
# two thirds for a large one. It reads this once, before the first program; the
# processes that tests start inherit it. An XLA that does not know a flag ends
# the process: only versions that were tried get it.
if importlib.metadata.version("jaxlib").startswith("0.10."):
  flags = os.environ.get("XLA_FLAGS", "")
  flags += " --xla_cpu_use_fusion_emitters=false"
  os.environ["XLA_FLAGS"] = flags.strip()

import jax
import pytest

jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_num_cpu_devices", 2)  # tests/test_parallel.py


def pytest_configure(config):
  # Of two processes one may read what the other has not written to its end; it
  # compiles then.
  config.addinivalue_line(
      "filterwarnings", "ignore:Error reading persistent compilation cache"
  )


# The files that take longest, the longest first: two processes that take a file
# each in turn end together then.
_LONG = (
    "test_run",
    "test_spaces",
    "test_configs",
    "test_finalists",
    "test_trained_weights",
    "test_parallel",
    "test_macro",
    "test_nasbench201",
    "test_strategies",
    "test_recurrent",
    "test_benchmark",
    "test_nasbench_macro",
    "test_shared_weights",
    "test_ops_cell",
    "test_testing",
)


def pytest_collection_modifyitems(items):
  def place(item):
    name = item.path.stem
    return _LONG.index(name) if name in _LONG else len(_LONG)

  items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def compile_cache(tmp_path_factory, request):
  """The tests compile the same few programs again and again."""
  folder = tmp_path_factory.getbasetemp()
  if hasattr(request.config, "workerinput"):  # all processes share one
    folder = folder.parent
  values = {
      "jax_compilation_cache_dir": str(folder / "xla"),
      "jax_persistent_cache_min_compile_time_secs": 0.1,
      "jax_persistent_cache_min_entry_size_bytes": -1,
  }
  for key, value in values.items():
    jax.config.update(key, value)
