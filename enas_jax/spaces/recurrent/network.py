"""The recurrent space's network, a language model of one searched cell."""

import functools
from typing import Literal

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.ops import reader, recurrent
from enas_jax.options import Count
from enas_jax.spaces.recurrent.arch import OPERATIONS, RecurrentArch


class RecurrentNetwork(reader.Reader):
  """A language model of one searched cell.

  Attributes:
    later: The number of nodes after the first.
    final: Whether there are only the weights that an architecture reads.
    loose: Whether the output is the mean of the nodes that no other node reads,
      which may include the first one. Off: of all nodes but the first. None: as
      the reference of the dialect has it, on in 2018 and off in lm.
    dialect: The dialect of the space.
  """

  later: Count = 8
  final: bool = False
  loose: bool | None = None
  dialect: Literal["lm", "2018"] = "lm"

  arithmetic = True  # no field: every activation is made, and none is a branch

  def reads(self, arch: RecurrentArch) -> dict[str, jax.Array]:
    """Returns the rows of the shared weights that `arch` reads, by table."""
    if self.final:
      return {}
    # Node n with activation f and source j has row start[n] + f n + j.
    sources = np.arange(1, self.later + 1)
    start = len(OPERATIONS) * (np.cumsum(sources) - sources)
    return {"nodes": start + arch.ops[1:] * sources + arch.sources}

  @property
  def child(self) -> nn.Module:
    """Returns the network of the weights that one arch reads."""
    return self.clone(final=True)

  def read(
      self,
      x: jax.Array,
      arch: RecurrentArch,
      carry: jax.Array,
      *,
      train: bool,
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Runs the cell on x[S, B, H]; returns (states, carries, squares)."""
    h, batch, later = self.hidden, x.shape[1], self.later
    first = self.weight("first", 2 * h, 2 * h)
    if self.final:
      nodes = self.weight("nodes", later, h, 2 * h)
    else:
      count = len(OPERATIONS) * later * (later + 1) // 2
      table = self.weight("nodes", count, h, 2 * h)
      nodes = reader.take(table, self.reads(arch)["nodes"])
    keep = functools.partial(self.mask, train, self.weight_keep)
    states = recurrent.run(
        x,
        carry.astype(x.dtype),
        self.mask(train, self.state_keep, batch, h).astype(x.dtype),
        first.at[h:].multiply(keep(h, 2 * h)),
        nodes * keep(later, h, 2 * h),
        arch.sources,
        arch.ops,
        self._mix(arch),
    )
    return states, states, (first**2).sum() + (nodes**2).sum()

  def _mix(self, arch: RecurrentArch) -> jax.Array:
    """Returns the share of each node in the output, f32[N]."""
    count = self.later + 1
    loose = self.dialect == "2018" if self.loose is None else self.loose
    if not loose:
      return jnp.where(jnp.arange(count) > 0, 1 / self.later, 0.0)
    read = jnp.zeros(count, bool).at[jnp.asarray(arch.sources)].set(True)
    return ~read / (~read).sum()
