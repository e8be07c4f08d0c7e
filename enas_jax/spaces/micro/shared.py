"""The cells of the micro space's shared network, which a search runs."""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.ops import cell as ops_cell
from enas_jax.ops import choose, conv, layers, norm, pool
from enas_jax.spaces.micro import topology
from enas_jax.spaces.micro.arch import INPUTS, OPERATIONS
from enas_jax.spaces.micro.calibrate import Calibrate


def step(
    cell: topology.Cell,
    states: tuple[jax.Array, jax.Array],
    table: jax.Array,
    row_fan_in: bool,
    channel_fan_in: bool,
    arithmetic: bool,
    *,
    train: bool,
) -> tuple[jax.Array, jax.Array]:
  """Runs one cell of the network; halves the image before a reduction cell.

  Args:
    cell: The place of the cell in the network.
    states: The results of the two cells before it.
    table: i32[N, 4], the cell's table of the arch.
    row_fan_in: As in `MicroNetwork`.
    channel_fan_in: As in `MicroNetwork`.
    arithmetic: As in `MicroNetwork`.
    train: Is passed on to the layers.

  Returns:
    The states for the next cell.
  """
  before, x = states
  if cell.reduce:
    shrink = layers.FactorizedReduction(cell.channels, False)
    before, x = x, shrink(x, train=train)
  name = f"cell_{cell.index}"
  run = SharedCell(
      cell.channels, row_fan_in, channel_fan_in, arithmetic, name=name
  )
  return x, run(before, x, table, train=train)


class SharedCell(nn.Module):
  """A cell of the shared network; one program serves every arch.

  Its weights are tables with a row for each node and each state that the node
  may read, which makes k + 2 rows for node k. The two sides of a node have
  weights of their own.

  Attributes:
    channels: The channels of every node.
    row_fan_in: As in `MicroNetwork`.
    channel_fan_in: As in `MicroNetwork`.
    arithmetic: As in `MicroNetwork`.
  """

  channels: int
  row_fan_in: bool
  channel_fan_in: bool
  arithmetic: bool = False

  @nn.compact
  def __call__(
      self, before: jax.Array, x: jax.Array, table: jax.Array, *, train: bool
  ) -> jax.Array:
    """Runs the cell on two states and its table i32[N, 4].

    Returns:
      [B, H, W, C], the mix of the loose ends.
    """
    c, nodes = self.channels, table.shape[0]
    states = nodes + INPUTS
    before, x = Calibrate(c, False, name="_Calibrate_0")(
        before, x, train=train
    )
    sources, ops = table[:, 0::2], table[:, 1::2]  # i32[N, 2] each

    counts = np.arange(nodes) + INPUTS
    row = (np.cumsum(counts) - counts)[:, None] + sources
    # For each row the number of rows of its node's table, which the reference's
    # initialiser counts in.
    per_row = np.repeat(counts, counts)[:, None, None]

    def tables(name, init, fan_in, shape):
      """Makes [rows, 2 sides, 2 stacks, *shape]; returns the chosen rows."""
      if init is None:
        fan_in = per_row if self.row_fan_in else np.full((1, 1, 1), fan_in)
        trailing = [1] * len(shape)
        init = layers.he_normal(fan_in.reshape(*fan_in.shape, *trailing))
      full = self.param(name, init, (counts.sum(), 2, 2, *shape))
      return full[row, np.arange(2)]

    counted = c if self.channel_fan_in else 1
    weights = {
        f"conv{k}": {
            "depthwise": tables(
                f"depthwise_{k}", None, k * k * counted, (k, k, c)
            ),
            "pointwise": tables(f"pointwise_{k}", None, c, (c, c)),
            "scale": tables(f"scale_{k}", nn.initializers.ones, 1, (c,)),
            "offset": tables(f"offset_{k}", nn.initializers.zeros, 1, (c,)),
        }
        for k in (3, 5)
    }
    # The fan-in is that of one loose end, c, since their number is not known
    # here.
    mix_init = layers.he_normal(states if self.row_fan_in else c)
    mix = self.param("mix", mix_init, (states, c, c))
    together = self.arithmetic and isinstance(table, jax.Array)
    branches = _TOGETHER if together else _BRANCHES
    out = ops_cell.cell(branches, weights, mix, (before, x), sources, ops)
    return layers.BatchNorm(False)(out, train=train)


def _separable(name: str, x: jax.Array, weights) -> jax.Array:
  """Applies two stacks of a separable convolution, with batch norms."""
  w = weights[name]
  for stack in range(2):
    x = conv.depthwise(jax.nn.relu(x), w["depthwise"][stack])
    x = conv.pointwise(x, w["pointwise"][stack])
    x, _, _ = norm.batch_norm(x, w["scale"][stack], w["offset"][stack])
  return x


# The branches in the order of OPERATIONS; see `ops.cell`. The backward pass
# runs the separable convolutions again: a step that kept all their results took
# 1.12 times as long on the CPU, and 2.4 times the memory.
_BRANCHES = (
    functools.partial(_separable, "conv3"),
    functools.partial(_separable, "conv5"),
    lambda x, weights: pool.avg_pool(x),
    lambda x, weights: pool.max_pool(x),
    lambda x, weights: x,
)


def _together(op: jax.Array, x: jax.Array, weights) -> jax.Array:
  """Computes every operation on x, and returns operation `op`.

  A depthwise 3 x 3 kernel is a 5 x 5 one with a rim of zeros, so that one pair
  of stacks serves both separable convolutions.
  """
  is_op = {name: op == n for n, name in enumerate(OPERATIONS)}
  three, five = is_op["sep_conv_3x3"], is_op["sep_conv_5x5"]
  small, large = weights["conv3"], weights["conv5"]
  rim = ((0, 0), (1, 1), (1, 1), (0, 0))
  small = small | {"depthwise": jnp.pad(small["depthwise"], rim)}
  both = jax.tree.map(
      lambda a, b: jnp.where(three, a, jnp.where(five, b, 0)), small, large
  )
  y = _separable("both", x, {"both": both})
  others = {
      "avg_pool_3x3": pool.avg_pool(x),
      "max_pool_3x3": pool.max_pool(x),
      "identity": x,
  }
  return y + sum(jnp.where(is_op[name], z, 0) for name, z in others.items())


_TOGETHER = choose.Together(_together)
