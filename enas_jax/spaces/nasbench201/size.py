"""Computes the size of a cell's final network without building it."""

import math

import numpy as np

from enas_jax.ops import size
from enas_jax.spaces.nasbench201 import topology
from enas_jax.spaces.nasbench201.arch import NasBench201Arch, OPERATIONS
from enas_jax.spaces.nasbench201.network import NasBench201Network
from enas_jax.types import Size


def of(
    arch: NasBench201Arch,
    network: NasBench201Network,
    image: tuple[int, int, int],
) -> Size:
  """Returns the size of the final network of `arch`; traceable.

  Args:
    arch: An arch of numpy or jax arrays.
    network: The final network.
    image: Height, width and channels.
  """
  *sides, inputs = image
  base = np.zeros(2, int)
  edges = np.zeros((len(OPERATIONS), 2), int)
  for stage, c, own in topology.stages(network.filters, tuple(sides)):
    pixels = math.prod(own)
    base += size.conv(inputs, c, 3, pixels)  # in the first stage, the stem
    if stage:
      base += size.conv(c, c, 3, pixels) + size.pointwise(inputs, c, pixels)
    for op, name in enumerate(OPERATIONS):
      if "conv" in name:
        edges[op] += network.cells * size.conv(c, c, int(name[-1]), pixels)
    inputs = c
  base += size.norm(c) + size.classifier(c, network.classes, bias=True)
  return size.total(base, (edges, size.one_hot(arch.ops, len(edges))))
