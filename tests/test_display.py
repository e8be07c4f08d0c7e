"""The time that is left, and what is said at a start."""

import contextlib
import time
import types

import pytest

from enas_jax import keeper
from enas_jax.report import display


def test_what_is_left_is_of_the_kinds_that_were_seen(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(time, "monotonic", lambda: now[0])
  pace = display.Pace()

  def run(kind, seconds):
    now[0] += seconds
    pace.step(kind)

  assert pace.left({"child": 5, "strategy": 1}) == "?"
  for seconds in (100.0, 2.0, 4.0):  # the first call compiles
    run("child", seconds)
  assert pace.seconds("child") == pytest.approx(3.0)
  assert pace.left({"child": 5, "strategy": 1}) == "at least 0:00:15"
  assert pace.left({"child": 5, "strategy": 0}) == "0:00:15"
  run("strategy", 50.0)
  run("strategy", 10.0)
  assert pace.left({"child": 5, "strategy": 6}) == "0:01:15"
  assert pace.left({"child": 0, "strategy": 0}) == "0:00:00"


@pytest.mark.parametrize("restored, told", [(None, 1), (0, 1), (7, 0)])
def test_a_second_start_without_a_step_says_so(
    restored, told, tmp_path, monkeypatch
):
  state = types.SimpleNamespace(step=restored or 0)
  plan = types.SimpleNamespace(experiment=types.SimpleNamespace(steps=9))
  monkeypatch.setattr(keeper, "_digest", lambda plan: 0)
  monkeypatch.setattr(keeper.loop, "start", lambda experiment: state)
  monkeypatch.setattr(keeper.checkpoint, "shapes", lambda state: None)
  for start in range(2):
    log = tmp_path / "log.txt"
    with contextlib.closing(display.Display(log, show=False)) as shown:
      signals = types.SimpleNamespace(compiling=False)
      own = keeper.Keeper(plan, tmp_path, tmp_path, shown, signals)
      own._restored = lambda: None if restored is None else state
      own._save_now = lambda state: None
      with own:
        assert own.state() is state
      shown.say("Compiling.")
      line = f"No step is saved in {tmp_path} yet: it begins from the start."
      assert log.read_text().count(line) == told * start
