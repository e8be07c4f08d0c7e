"""The arch of the macro space."""

from typing import NamedTuple

import jax
import numpy as np


class MacroArch(NamedTuple):
  """A network of L layers."""

  ops: jax.Array  # i32[L], the operation of each layer
  # i32[L, L]: [l, i] is 1 where layer l adds tensor i < l, and 0 elsewhere.
  skips: jax.Array


def stretched(arch: MacroArch, times: int) -> MacroArch:
  """Returns a numpy arch with every layer repeated `times` times in a row.

  A skip reads the last copy of the layer that it read before.
  """
  ops = np.repeat(arch.ops, times)
  skips = np.zeros((len(ops), len(ops)), np.int32)
  skips[:, ::times] = np.repeat(arch.skips, times, axis=0)
  return MacroArch(ops, skips)
