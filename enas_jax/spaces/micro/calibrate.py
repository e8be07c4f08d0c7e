"""The layer with which both kinds of micro cells begin."""

from flax import linen as nn
import jax

from enas_jax.ops import layers


class Calibrate(nn.Module):
  """Brings the two inputs of a cell to one size and to `channels`.

  Its name in the parameters is "_Calibrate_0", as in the runs stored so far.

  Attributes:
    channels: The channels of both results.
    track: Whether batch norms track moving averages.
  """

  channels: int
  track: bool

  @nn.compact
  def __call__(
      self, before: jax.Array, x: jax.Array, *, train: bool
  ) -> tuple[jax.Array, jax.Array]:
    c = self.channels
    if before.shape[1:3] != x.shape[1:3]:
      shrink = layers.FactorizedReduction(c, self.track)
      before = shrink(jax.nn.relu(before), train=train)
    elif before.shape[-1] != c:
      before = layers.Conv(c, 1, self.track)(jax.nn.relu(before), train=train)
    if x.shape[-1] != c:
      x = layers.Conv(c, 1, self.track)(jax.nn.relu(x), train=train)
    return before, x
