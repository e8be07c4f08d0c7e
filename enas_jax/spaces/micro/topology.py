"""Says where a micro network has reduction cells, and how wide its cells are.
"""

from typing import NamedTuple

from enas_jax.ops import size


class Cell(NamedTuple):
  """One cell of a network."""

  index: int
  reduce: bool  # whether it halves the image and doubles the channels
  channels: int  # of each of its nodes
  sides: tuple[int, int]  # height and width of its result
  heads: bool  # whether the auxiliary head reads its result


def cells(count: int, filters: int, sides: tuple[int, int]) -> list[Cell]:
  """Returns the cells of a network from first to last.

  The reduction cells stand after a third and two thirds of the normal ones.

  Args:
    count: The number of normal cells; the two reduction cells come on top.
    filters: The channels of the first cells.
    sides: Height and width of what the stem makes of the image.
  """
  reductions = count // 3, 2 * (count // 3) + 1
  out = []
  for index in range(count + len(reductions)):
    reduce = index in reductions
    if reduce:
      filters, sides = 2 * filters, size.halved(*sides)
    heads = index == reductions[1] + 1
    out.append(Cell(index, reduce, filters, sides, heads))
  return out
