"""Computes the size of a macro arch's final network without building it."""

import math

import numpy as np

from enas_jax.ops import size
from enas_jax.ops import stem as stems
from enas_jax.spaces.macro import topology
from enas_jax.spaces.macro.arch import MacroArch
from enas_jax.spaces.macro.network import MacroNetwork
from enas_jax.types import Size


def of(
    arch: MacroArch,
    depth: int,
    network: MacroNetwork,
    image: tuple[int, int, int],
) -> Size:
  """Returns the size of the final network of `arch`; traceable.

  Args:
    arch: An arch of numpy or jax arrays.
    depth: L, the number of layers.
    network: The final network.
    image: Height, width and channels.
  """
  c, names = network.filters, network.names
  sides = stems.sides(image, network.stem)
  base = stems.counted(c, network.stem, image)
  ops = np.zeros((depth, len(names), 2), int)
  skips = np.zeros((depth, 2), int)
  for layer in topology.layers(depth, c, network.widen, sides):
    index, pixels = layer.index, math.prod(layer.sides)
    if layer.halved:  # index + 1 tensors, since the stem makes one too
      base += (index + 1) * size.conv(c, layer.channels, 1, pixels)
    c = layer.channels
    base += size.conv(c, c, 1, pixels)
    for op, name in enumerate(names):
      if name.startswith("sep") and not network.plain_convs:
        ops[index, op] = size.separable(c, int(name[-1]), pixels)
      elif "conv" in name:
        ops[index, op] = size.conv(c, c, int(name[-1]), pixels)
    if index and network.concat:
      base += size.conv(c, c, 1, pixels)
      skips[index] = size.pointwise(c, c, pixels)
    elif index:
      base += size.norm(c)
  base += size.classifier(c, network.classes)
  chosen = size.one_hot(arch.ops, len(names))
  return size.total(base, (ops, chosen), (skips, arch.skips.sum(1)))
