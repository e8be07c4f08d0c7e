"""The rows of experiments/troubles that take no run."""

import pytest

from experiments.troubles import __main__ as troubles
from experiments.troubles import answers, house, silent

CHEAP = (
    silent.transparent,
    silent.sideways,
    silent.left_behind,
    silent.marked,
    silent.counted,
    answers.tiny_imagenet,
    answers.lacking,
    answers.printed,
)


@pytest.mark.parametrize("row", CHEAP, ids=lambda row: row.show.__name__)
def test_a_row_is_as_it_should_be(row):
  right, now = troubles.tried(row)
  assert right, now
  assert str(house.root()) not in now and "\n" not in now


def test_every_row_is_tried_and_a_wrong_one_is_told(monkeypatch, capsys):
  rows = [row for table in troubles.TABLES for row in house.rows(table)]
  names = [row.show.__name__ for row in rows]
  assert len(names) == len(set(names)) == 10 + 8 + 8 + 3

  def wrong():
    raise AssertionError("it | went wrong")

  def absent():
    raise house.Skipped("no such disk")

  table = type("Table", (), {"TITLE": "T"})
  table.one = house.row("a", "b")(wrong)
  table.two = house.row("c", "d")(absent)
  monkeypatch.setattr(troubles, "TABLES", (table,))
  assert troubles.main([]) == 1
  shown = capsys.readouterr().out
  assert "| a | b | **WRONG**: it \\| went wrong |" in shown
  assert "| c | d | *not tried: no such disk* |" in shown
  assert shown.endswith("1 not as they should be.\n")
  assert troubles.main(["absent"]) == 0
