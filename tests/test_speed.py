"""What the speed experiment compares is the same, and it compiles for TPUs."""

import importlib.util
import json
import os
import subprocess
import sys

import jax
import pytest

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

  rows, *sizes = children.SIZES["nasbench201"]["small"]
  made = apart.programs("cpu", "nasbench201", *sizes, rows, 0, 0)
  assert list(made) == ["torch", "torch_tuned"]
  arch = children.build("nasbench201", "small", "float32", 1).archs[0]
  for prepare in made.values():
    for run in prepare(arch):
      run()


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
