"""The wheel, installed where no clone is: it has all that a user needs."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import venv

import jax
import pytest

ROOT = pathlib.Path(__file__).parents[1]
_SOURCE = ("enas_jax", "configs", "setup.cfg", "pyproject.toml", "README.md")

_OWN = """
from enas_jax.configs import cifar_macro

def get_config(variant=""):
  config = cifar_macro.get_config(variant)
  config.space.layers = 1
  config.update(epochs=1, data={"valid": 32, "eval_batch": 32})
  config.derive.update(archs=1, random=1)
  return config
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
  """The interpreter of an environment that has the wheel and no clone.

  Of the tests' environment it sees all packages but this one: a path in a .pth
  file is searched last, and .pth files there, as of an editable install, are
  not read.
  """
  root = tmp_path_factory.mktemp("wheel")
  for name in _SOURCE:  # so that a build leaves nothing in the clone
    copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
    more = {"symlinks": True} if copy is shutil.copytree else {}
    copy(ROOT / name, root / name, **more)
  build = "from setuptools import build_meta as b; b.build_wheel('dist')"
  ran([sys.executable, "-c", build], root, os.environ)
  [wheel] = (root / "dist").glob("*.whl")
  venv.create(root / "env", symlinks=True)
  [packages] = (root / "env").glob("lib/python*/site-packages")
  install = ["pip", "install", "--quiet", "--no-deps", "--no-index"]
  target = ["--no-compile", "--target", str(packages), str(wheel)]
  ran([sys.executable, "-m", *install, *target], root, os.environ)
  seen = [each for each in sys.path if each.endswith("-packages")]
  (packages / "others.pth").write_text("\n".join(seen))
  return root / "env" / "bin" / "python"


def ran(words, folder, env):
  """What a command says; it has to end well."""
  done = subprocess.run(
      words, cwd=folder, env=env, capture_output=True, text=True
  )
  assert not done.returncode, done.stdout + done.stderr
  return done.stdout


def test_a_search_runs_where_only_the_wheel_is(python, tmp_path):
  cache = jax.config.jax_compilation_cache_dir
  env = {
      **os.environ,
      "JAX_COMPILATION_CACHE_DIR": cache,
      "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
  }
  env.pop("PYTHONPATH", None)
  find = "import importlib.util as u; print(u.find_spec('enas_jax').origin)"
  where = ran([python, "-c", find], tmp_path, env)
  assert where.startswith(str(python.parents[1]))
  (tmp_path / "mine").mkdir()
  (tmp_path / "mine" / "own.py").write_text(_OWN)
  main = [python, "-m", "enas_jax.main"]
  said = ran(
      [*main, "--config=mine/own.py:smoke", "--workdir=W"], tmp_path, env
  )
  # The command at the end can be run where the search was.
  command = re.search(r"^  python (-m enas_jax\.main .*)", said, re.MULTILINE)
  words = shlex.split(command[1])
  assert "--config=cifar_macro_final:smoke" in words
  ran([python, *words, "--config.epochs=1"], tmp_path, env)
  assert (tmp_path / "W_final" / "model" / "model.json").exists()
