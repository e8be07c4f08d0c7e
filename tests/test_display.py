"""The time that is left."""

import time

import pytest

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
