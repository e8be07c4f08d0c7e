"""An architecture of the macro space."""

from typing import NamedTuple

import jax
import numpy as np


class MacroArch(NamedTuple):
  """A network of L layers."""

  ops: jax.Array  # i32[L]
  skips: jax.Array  # i32[L, L], below the diagonal: 1 where l reads tensor i


def stretched(arch: MacroArch, times: int) -> MacroArch:
  """Returns the numpy architecture with every layer so many times in a row.

  A skip reads the last copy of the layer that it read.
  """
  ops = np.repeat(arch.ops, times)
  skips = np.zeros((len(ops), len(ops)), np.int32)
  skips[:, ::times] = np.repeat(arch.skips, times, axis=0)
  return MacroArch(ops, skips)
