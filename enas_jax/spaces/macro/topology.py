"""Says where a macro network halves the image, and how wide its layers are."""

from typing import NamedTuple

from enas_jax.ops import size


class Layer(NamedTuple):
  """One layer of a network."""

  index: int
  halved: bool  # whether every tensor so far is halved before this layer
  channels: int  # of the tensors that it reads and returns
  sides: tuple[int, int]  # their height and width


def layers(
    depth: int, filters: int, widen: int, sides: tuple[int, int]
) -> list[Layer]:
  """Returns the layers of a network from first to last.

  The image is halved after a third and two thirds of them.

  Args:
    depth: The number of layers.
    filters: The channels of the first layer.
    widen: The factor on the channels where the image is halved.
    sides: Height and width of what the stem makes of the image.
  """
  out = []
  for index in range(depth):
    halved = index > 0 and index in (depth // 3, 2 * (depth // 3))
    if halved:
      filters, sides = filters * widen, size.halved(*sides)
    out.append(Layer(index, halved, filters, sides))
  return out
