"""The tests compile far longer than they compute."""

import jax
import pytest

jax.config.update("jax_disable_most_optimizations", True)
jax.config.update("jax_num_cpu_devices", 2)  # tests/test_parallel.py


@pytest.fixture(scope="session", autouse=True)
def compile_cache(tmp_path_factory):
  """The tests compile the same few programs again and again."""
  values = {
      "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("xla")),
      "jax_persistent_cache_min_compile_time_secs": 0.1,
      "jax_persistent_cache_min_entry_size_bytes": -1,
  }
  for key, value in values.items():
    jax.config.update(key, value)
