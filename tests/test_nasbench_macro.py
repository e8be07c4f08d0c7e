"""NAS-Bench-Macro by the builder: its networks are those of the table."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_run import ran

from enas_jax.configs import nasbench_macro
from enas_jax.derive import benchmark, flops

SPACE = nasbench_macro.Layers()
DATA = pathlib.Path(__file__).parents[2] / "shared" / "data"
TABLE = DATA / "nasbench_macro_cifar10.json"
FIRST = (0, 2, 5)  # the first layers of the stages


@pytest.fixture(scope="module")
def table():
  if not TABLE.exists():
    pytest.skip("the benchmark's table is not there")
  return benchmark.read("key", str(TABLE), SPACE)


def built(values):
  """(parameters, multiply-adds of an image) of the benchmark's network."""
  network = SPACE.network(classes=10, final=True)
  images, arch = jnp.ones((1, 32, 32, 3)), SPACE.unflatten(values)
  variables = jax.eval_shape(
      lambda key: network.init(key, images, arch, train=True),
      jax.random.key(0),
  )
  count = flops.count(
      lambda variables: network.apply(variables, images, arch, train=False),
      variables,
  )
  leaves = jax.tree.leaves(variables["params"])
  return sum(leaf.size for leaf in leaves), count / 2


def test_all_networks_are_of_the_tables_size(table):
  # What each operation adds at each layer, by building it there.
  base = np.array(built([0] * 8))
  adds = np.zeros((8, 3, 2))
  for layer in range(8):
    for op in (1, 2):
      adds[layer, op] = np.subtract(
          built([op if n == layer else 0 for n in range(8)]), base
      )
  sums = base + adds[np.arange(8), table.ops].sum(1)
  assert len(sums) == table.architectures == 3**8
  np.testing.assert_array_equal(sums, np.stack([table.params, table.flops], 1))
  # And it is the sum: networks of many choices are built, too.
  rows = np.random.default_rng(0).integers(len(sums), size=5)
  for n in rows:
    assert built(table.ops[n].tolist()) == tuple(sums[n])


def test_a_small_search_ends_with_the_truth(tmp_path):
  rng = np.random.default_rng(0)
  encodings = np.unique(rng.integers(3, size=(4000, 8)), axis=0)
  content = {
      "".join(map(str, values)): {
          "test_acc": [50 + sum(values), 50],
          "params": sum(values),
      }
      for values in encodings.tolist()
  }
  file = tmp_path / "made_up.json"
  file.write_text(json.dumps(content))
  config = nasbench_macro.get_config("smoke")
  config.epochs = 1
  config.benchmark.path = str(file)
  config.derive.update(archs=2, random=4, finalists=0)
  config.retrain.random = 0
  config.retrain.config.epochs = 1
  result = ran(config, tmp_path / "run")
  found = result["benchmark"]
  assert (found["known"], found["architectures"]) == (len(encodings), 3**8)
  assert found["data"] == "up" and not found["same_data"]
  assert found["baselines"]["kendall_params"] == pytest.approx(1)
  largest = found["baselines"]["largest"]
  assert sum(largest["encoding"]) == encodings.sum(1).max()
  assert largest["rank"] == 1
  assert result["test"]["derived"] > 0
  log = (tmp_path / "run" / "log.txt").read_text()
  assert "table is of up; this search is on synthetic." in log
  assert "Programs compiled for all architectures: 1 of the child step" in log
