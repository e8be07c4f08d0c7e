"""The arch of the macro space."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class MacroArch(NamedTuple):
  """A network of L layers."""

  ops: jax.Array  # i32[L], the operation of each layer
  # i32[L, L]: [l, i] is 1 where layer l adds tensor i < l, and 0 elsewhere.
  skips: jax.Array


def stretched(arch: MacroArch, times: int) -> MacroArch:
  """Returns an arch with every layer repeated `times` times in a row.

  A skip reads the last copy of the layer that it read before. The arch is of
  numpy or jax, and so is what is returned.
  """
  xp = jnp if isinstance(arch.ops, jax.Array) else np
  # The columns between those of the last copies stay 0.
  last = np.eye(times, dtype=np.int32)[:1]
  return MacroArch(
      xp.repeat(arch.ops, times),
      xp.kron(xp.repeat(arch.skips, times, axis=0), last),
  )
