"""The cells of the micro space's final network, with chosen branches only."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.ops import drop, layers, pool
from enas_jax.spaces.micro import topology
from enas_jax.spaces.micro.arch import INPUTS, OPERATIONS
from enas_jax.spaces.micro.calibrate import Calibrate
from enas_jax.spaces.micro.chosen import ChosenCell


def step(
    cell: topology.Cell,
    states: tuple[jax.Array, jax.Array],
    table: np.ndarray,
    keep: jax.Array | float,
    drop_path: bool,
    channel_fan_in: bool,
    *,
    train: bool,
) -> tuple[jax.Array, jax.Array]:
  """Runs one cell of the network.

  Args:
    cell: The place of the cell in the network.
    states: The results of the two cells before it.
    table: i32[N, 4], the cell's table of the arch; of jax, it is chosen at run
      time.
    keep: The keep probability of a path.
    drop_path: Whether paths are dropped.
    channel_fan_in: As in `MicroNetwork`.
    train: Whether moving averages move.

  Returns:
    The states for the next cell.
  """
  before, x = states
  kind = ChosenCell if isinstance(table, jax.Array) else FinalCell
  run = kind(
      cell.channels,
      stride=2 if cell.reduce else 1,
      keep=keep,
      drop_path=drop_path,
      channel_fan_in=channel_fan_in,
      name=f"cell_{cell.index}",
  )
  return x, run(before, x, table, train=train)


class FinalCell(nn.Module):
  """A cell of the final network, which builds only the chosen operations.

  Attributes:
    channels: The channels of every node.
    stride: The stride of the operations that read an input, 2 in a reduction
      cell.
    keep: The keep probability of a path.
    drop_path: Whether paths are dropped; identities never are.
    channel_fan_in: As in `MicroNetwork`.
  """

  channels: int
  stride: int
  keep: jax.Array | float
  drop_path: bool
  channel_fan_in: bool = False

  @nn.compact
  def __call__(
      self, before: jax.Array, x: jax.Array, table: np.ndarray, *, train: bool
  ) -> jax.Array:
    """Runs the cell on two states and its table i32[N, 4].

    Returns:
      [B, H, W, ends * C], the loose ends side by side.
    """
    c = self.channels
    before, x = Calibrate(c, True, name="_Calibrate_0")(
        before, x, train=train
    )
    # As a counterpart of the mixing of loose ends in the search, the reference
    # always projects input 1, although it has the right channels by now.
    x = layers.Conv(c, 1, True)(jax.nn.relu(x), train=train)
    states = [before, x]
    for node in np.asarray(table).tolist():
      sides = zip(node[0::2], node[1::2], strict=True)
      states.append(sum(
          self._apply(states[source], op, source, train) for source, op in sides
      ))
    used = set(np.asarray(table)[:, 0::2].ravel().tolist())
    ends = [s for i, s in enumerate(states) if i not in used]
    height = min(end.shape[1] for end in ends)
    ends = [
        end
        if end.shape[1] == height
        else layers.FactorizedReduction(c, True)(end, train=train)
        for end in ends
    ]
    return jnp.concatenate(ends, -1)

  def _apply(self, x, op: int, source: int, train: bool) -> jax.Array:
    stride = self.stride if source < INPUTS else 1
    match OPERATIONS[op]:
      case "identity":
        if stride == 1:
          return x
        return layers.FactorizedReduction(self.channels, True)(x, train=train)
      case "sep_conv_3x3" | "sep_conv_5x5" as name:
        y = layers.SeparableConv(
            self.channels,
            int(name[-1]),
            stride,
            True,
            channel_fan_in=self.channel_fan_in,
        )(x, train=train)
      case "avg_pool_3x3":
        y = pool.avg_pool(x, stride)
      case "max_pool_3x3":
        y = pool.max_pool(x, stride)
    if self.drop_path:
      y = drop.drop_path(self.make_rng("dropout"), y, self.keep)
    return y
