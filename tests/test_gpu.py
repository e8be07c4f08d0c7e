"""The list of what is measured on a GPU is run, gone on with and told."""

import json
import textwrap

import jax
import pytest

from experiments import gpu
from experiments.gpu import Piece
from experiments.speed import children


@pytest.fixture
def modules(tmp_path, monkeypatch):
  """Modules that are fast, slow and broken, each told by its name."""
  for name, body in {
      "fast": "print('words')\nprint('{\"ms\": 3}')",
      "slow": "import time\nprint('begun', flush=True)\ntime.sleep(60)",
      "broken": "raise ValueError('no card')",
  }.items():
    tmp_path.joinpath(f"{name}.py").write_text(textwrap.dedent(body))
  monkeypatch.setenv("PYTHONPATH", str(tmp_path))


def lines(out):
  return [json.loads(line) for line in out.read_text().splitlines()]


def test_each_piece_has_a_line_and_is_measured_once(modules, tmp_path, capsys):
  out = tmp_path / "out.jsonl"
  todo = [
      Piece("a", ("fast",), 30),
      Piece("b", ("broken",), 30),
      Piece("c", ("slow",), 1),
  ]
  assert gpu.run(todo, out, 1) == ["c"]
  first, second = lines(out)
  assert first["found"] == {"ms": 3} and first["ended"]
  assert second["failed"] == ["ValueError: no card"]
  assert gpu.run(todo[:2], out, 1) == []
  assert len(lines(out)) == 2
  assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_training_goes_on_and_tells_how_far_it_came(modules, tmp_path):
  out, folder = tmp_path / "out.jsonl", tmp_path / "run"
  folder.mkdir()
  folder.joinpath("metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2}\n')
  todo = [Piece("t", ("slow",), 1, goes_on=True, workdir=folder)]
  for count in (1, 2):
    assert gpu.run(todo, out, 1) == ["t"]
    assert [each["found"] for each in lines(out)] == [{"epoch": 2}] * count
  folder.joinpath("result.json").write_text('{"test": 0.9}')
  todo = [Piece("t", ("fast",), 30, goes_on=True, workdir=folder)]
  assert gpu.run(todo, out, 1) == []
  assert lines(out)[-1]["found"] == {"test": 0.9}


def test_what_does_not_fit_is_left_to_the_next_time(modules, tmp_path):
  out = tmp_path / "out.jsonl"
  assert gpu.run([Piece("a", ("fast",), 30)], out, 0.1) == ["a"]
  assert not out.exists()


def test_the_list_names_every_form_once(tmp_path):
  out = tmp_path / "out.jsonl"
  for smoke, data in ((False, "D"), (True, None)):
    names = [piece.name for piece in gpu.pieces(out, data, smoke)]
    assert len(set(names)) == len(names)
    size = "small" if smoke else "paper"
    for space in ("micro", "macro", "nasbench201"):
      for form in ("branch", "arithmetic", "graph", "at_once", "bfloat16"):
        assert f"{space}/{size}/{form}" in names
    assert {"parity", "macro_search", "micro_search", "tests"} <= {*names}
  assert "parity" not in [p.name for p in gpu.pieces(out, None, False)]


def test_branches_are_captured_by_options_of_the_compiler():
  """XLA of any platform refuses an option or a value that it does not know."""
  double = jax.jit(lambda x: 2 * x, compiler_options=children.GRAPH)
  assert double(2.0) == 4.0
  key = "xla_gpu_enable_command_buffer"
  wrong = {**children.GRAPH, key: "+CONDITIONAL"}
  with pytest.raises(jax.errors.JaxRuntimeError, match=key):
    jax.jit(lambda x: 2 * x, compiler_options=wrong)(2.0)
