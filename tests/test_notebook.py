"""The notebooks run from a clean kernel, without an error."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# A process of its own, whose kernel nobody else has.
_RUN = """
import sys
import nbclient
import nbformat

notebook = nbformat.read(sys.argv[1], 4)
nbclient.NotebookClient(notebook, timeout=300).execute()
for cell in notebook.cells:
  for out in cell.get("outputs", ()):
    print(out.get("text", ""))
"""


@pytest.mark.parametrize("name", ["search", "how_enas_works"])
def test_a_notebook_runs(name, tmp_path):
  file = ROOT / "experiments" / "colab" / f"{name}.ipynb"
  done = subprocess.run(
      [sys.executable, "-c", _RUN, file],
      cwd=ROOT,
      env={
          **os.environ,
          "PATH": f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}",
          "PYTHONPATH": str(ROOT),
          "ENAS_JAX_VARIANT": ":smoke",
          "ENAS_JAX_RUNS": str(tmp_path),
      },
      capture_output=True,
      text=True,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  # A command of a cell may fail while its cell does not.
  for word in ("error:", "Traceback"):
    assert word not in done.stdout, done.stdout[-2000:]
