"""Lists the stages of the NAS-Bench-201 network, and how wide each is."""

from typing import NamedTuple

from enas_jax.ops import size

_STAGES = 3


class Stage(NamedTuple):
  """A row of cells; all stages but the first begin with a reduction."""

  index: int
  channels: int
  sides: tuple[int, int]  # height and width of its cells


def stages(filters: int, sides: tuple[int, int]) -> list[Stage]:
  """Returns the stages of a network from first to last.

  Args:
    filters: The channels of the first stage; each next stage has twice the
      channels of the one before.
    sides: Height and width of the image; each next stage halves them.
  """
  out = [Stage(0, filters, sides)]
  for index in range(1, _STAGES):
    filters, sides = 2 * filters, size.halved(*sides)
    out.append(Stage(index, filters, sides))
  return out
