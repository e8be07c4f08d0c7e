"""NAS-Bench-Macro by the builder: its networks are those of the table."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import nasbench_macro
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
