"""What the speed experiment compares is the same, and it compiles for TPUs."""

import importlib.util
import json
import os
import subprocess
import sys

import jax
import pytest

import enas_jax
from experiments import latency
from experiments.speed import children


@pytest.mark.parametrize("space", children.SIZES)
def test_eager_children_have_as_many_weights(space):
  pytest.importorskip("torch")
  from experiments.speed import eager

  _, arguments, sizes = children.SIZES[space]["small"]
  if space == "recurrent":
    arguments = {**arguments, "vocabulary": children.VOCABULARY}
  parts = children.build(space, "small", "float32", 1)
  params = jax.eval_shape(lambda: children.start(parts)).params
  ours = sum(leaf.size for leaf in jax.tree.leaves(params))
  other = eager.SPACES[space](**arguments, **sizes)
  assert ours == sum(weight.numel() for weight in other.parameters())


def test_pytorch_runs_in_a_process_of_its_own():
  pytest.importorskip("torch")
  from experiments.speed import apart

  forms = "torch", "torch_tuned", "torch_half"
  rows, *sizes = children.SIZES["nasbench201"]["small"]
  made = apart.programs(
      "eager", "cpu", "nasbench201", *sizes, rows, 0, 0, forms
  )
  assert tuple(made) == forms
  arch = children.build("nasbench201", "small", "float32", 1).archs[0]
  for prepare in made.values():
    for run in prepare(arch):
      run()


@pytest.mark.parametrize("size", latency.SIZES)
def test_an_eager_final_network_has_as_many_weights(size):
  pytest.importorskip("torch")
  from experiments.speed import final

  preset, cells, filters, shape = latency.SIZES[size]
  net = enas_jax.network(
      preset, classes=10, cells=cells, filters=filters, aux=False
  )
  image = jax.ShapeDtypeStruct((1, *shape), "float32")
  params = jax.eval_shape(
      lambda key: net.lazy_init(key, image, train=False), jax.random.key(0)
  )["params"]
  tables = [table.tolist() for table in net.arch]
  other = final.FinalMicro(tables, cells, filters, shape[-1])
  ours = sorted(leaf.size for leaf in jax.tree.leaves(params))
  assert ours == sorted(weight.numel() for weight in other.parameters())

def test_a_prediction_is_timed(monkeypatch):
  small = "digits_micro", 1, 2, (8, 8, 1)
  monkeypatch.setitem(latency.SIZES, "small", small)
  found = latency.measured("small", 2, others=False)
  assert found["ours_ms_1"] > 0 and found["ours_images_per_second_64"] > 0


@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="needs libtpu"
)
def test_every_step_compiles_for_tpus():
  """Of the smallest network; takes minutes."""
  command = [sys.executable, "-m", "experiments.speed", "--aot=v5e:2x2"]
  command += ["--space=nasbench201", "--json"]
  environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
  done = subprocess.run(
      command, env=environment, stdout=subprocess.PIPE, text=True, check=True
  )
  found = json.loads(done.stdout.splitlines()[-1])
  assert found["chips"] == 4
  for name in ("child", "child_alone", "reward", "controller"):
    assert not any(found[f"{name}_collectives"].values())
    assert found[f"{name}_temporary_mb"] < 1000
  for name in ("child_all", "controller_all"):
    assert found[f"{name}_collectives"]["all-reduce"]
    assert not found[f"{name}_collectives"]["all-gather"]
