"""Computes the size of a micro arch's final network without building it."""

import math

import numpy as np

from enas_jax.ops import size
from enas_jax.ops import stem as stems
from enas_jax.spaces.micro import topology
from enas_jax.spaces.micro.arch import INPUTS, MicroArch, OPERATIONS
from enas_jax.spaces.micro.network import MicroNetwork
from enas_jax.types import Size


def of(
    arch: MicroArch,
    nodes: int,
    network: MicroNetwork,
    image: tuple[int, int, int],
) -> Size:
  """Returns the size of the final network of `arch`; traceable.

  Args:
    arch: An arch of numpy or jax arrays.
    nodes: N, the number of nodes.
    network: The final network.
    image: Height, width and channels.
  """
  base, ends, reads, inputs = _tables(nodes + INPUTS, network, image)
  states = nodes + INPUTS
  terms = []
  for kind, table in enumerate(arch):
    sources, ops = table[:, 0::2], table[:, 1::2]
    loose = ~size.one_hot(sources, states).any((0, 1))
    read = size.one_hot(sources < INPUTS, 2)[..., None]
    chosen = read & size.one_hot(ops, len(OPERATIONS))[..., None, :]
    terms += [
        (ends[kind], size.one_hot(loose.sum(), states + 1)),
        (reads[kind], chosen.sum((0, 1))),
        (inputs[kind], loose[:INPUTS].sum()),
    ]
  return size.total(base, *terms)


def _tables(states: int, network: MicroNetwork, image: tuple[int, int, int]):
  """Returns pairs of parameters and operations (see `ops.size`).

  The first axis of each table is the kind of cell, normal or reduction.

  Returns:
    base: The pair that all archs have.
    ends: i64[2, states + 1, 2], the pair that depends on the number of loose
      ends.
    reads: i64[2, 2, operations, 2], the pair of each side that reads a node, or
      an input, by its operation.
    inputs: i64[2, 2], the pair of each input that is itself a loose end.
  """
  c, sides = network.filters, stems.sides(image, network.stem)
  pixels = math.prod(sides)
  base = stems.counted(3 * c, network.stem, image)
  ends = np.zeros((2, states + 1, 2), int)
  reads = np.zeros((2, 2, len(OPERATIONS), 2), int)
  inputs = np.zeros((2, 2), int)
  # The two tensors that a cell reads. Each has its channels for each number of
  # loose ends, its pixels, and the table of the pairs that depend on that
  # number.
  before = x = [3 * c], pixels, base[None]
  for cell in topology.cells(network.cells, c, sides):
    kind, c = int(cell.reduce), cell.channels
    for widths, own, where in (before, x):
      for number, width in enumerate(widths):
        if own != pixels or width != c:
          where[number] += size.conv(width, c, 1, pixels)
    base += size.conv(c, c, 1, pixels)
    pixels = math.prod(cell.sides)
    if cell.reduce:
      shrink = size.conv(c, c, 1, pixels)
      reads[1, 1, OPERATIONS.index("identity")] += shrink
      inputs[1] += shrink
    for op, name in enumerate(OPERATIONS):
      if name.startswith("sep"):
        reads[kind, :, op] += 2 * size.separable(c, int(name[9]), pixels)
    widths = [c * number for number in range(states + 1)]
    before, x = x, (widths, pixels, ends[kind])
  for number, width in enumerate(widths):
    ends[kind, number] += size.classifier(width, network.classes)
  return base, ends, reads, inputs
