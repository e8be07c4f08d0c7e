"""A cell of the micro space's final network that is chosen at run time.

One program trains any arch alone, so that many can be trained without compiling
each (experiments/truth.py). The cell is `final.FinalCell` but for two things:

  - All states go on side by side, and those that are no loose ends are zeros.
    The convolution that reads them next is drawn for the fan-in of all states,
    not of the loose ends. A batch norm follows it, save in the classifier.
  - A side has one pointwise matrix and one batch norm for each stack, whichever
    kernel it has, and every operation's weights. Weights that the arch does not
    read do nothing.
"""

import functools

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp

from enas_jax.ops import choose, conv, drop, layers, norm, pool
from enas_jax.spaces.micro.arch import INPUTS, OPERATIONS
from enas_jax.spaces.micro.calibrate import Calibrate

_MOMENTUM = 0.9  # of the moving averages, as in ops/layers.py
_STACKS = 2


class ChosenCell(nn.Module):
  """A cell of the final network, of any arch; the fields are `FinalCell`'s."""

  channels: int
  stride: int
  keep: jax.Array | float
  drop_path: bool
  channel_fan_in: bool = False

  @nn.compact
  def __call__(
      self, before: jax.Array, x: jax.Array, table: jax.Array, *, train: bool
  ) -> jax.Array:
    """Runs the cell on two states and its table i32[N, 4].

    Returns:
      [B, H, W, (2 + N) * C], the loose ends, with zeros for other states.
    """
    c = self.channels
    before, x = Calibrate(c, True, name="_Calibrate_0")(
        before, x, train=train
    )
    x = layers.Conv(c, 1, True)(jax.nn.relu(x), train=train)
    inputs, nodes = [before, x], []
    for n in range(len(table)):
      nodes.append(sum(
          self._side(
              f"node{n}_{d}",
              inputs,
              nodes,
              table[n, 2 * d],
              table[n, 2 * d + 1],
              train,
          )
          for d in range(2)
      ))
    read = jnp.zeros(INPUTS + len(nodes), bool)
    read = read.at[table[:, 0::2].ravel()].set(True)
    if self.stride == 2:
      shrink = layers.FactorizedReduction
      inputs = [shrink(c, True)(each, train=train) for each in inputs]
    states = [*inputs, *nodes]
    loose = [jnp.where(read[i], 0.0, s) for i, s in enumerate(states)]
    return jnp.concatenate(loose, -1)

  def _side(self, name, inputs, nodes, source, op, train) -> jax.Array:
    """Returns the result of one side of a node."""
    apart = self.stride == 2 and nodes  # then they differ in size
    if apart:
      read = (
          choose.value(jnp.minimum(source, INPUTS - 1), inputs),
          choose.value(jnp.maximum(source - INPUTS, 0), nodes),
      )
      op_of_kind = op + len(OPERATIONS) * (source >= INPUTS)
    else:
      read, op_of_kind = (choose.value(source, [*inputs, *nodes]),), op
    branches = tuple(
        functools.partial(_branch, each, stride, kind, train)
        for kind, stride in enumerate((self.stride, 1)[: len(read)])
        for each in OPERATIONS
    )
    weights = self._weights(name)
    averages = self._averages(name)
    weights["moments"] = averages.value
    y, moments = choose.choose(op_of_kind, branches, read, weights)
    if train and not self.is_initializing():
      averages.value += (1 - _MOMENTUM) * (moments - averages.value)
    if self.drop_path:
      dropped = drop.drop_path(self.make_rng("dropout"), y, self.keep)
      y = jnp.where(op == OPERATIONS.index("identity"), y, dropped)
    return y

  def _weights(self, name: str) -> dict[str, jax.Array]:
    """Makes the weights of a side."""
    c = self.channels

    def own(what, init, *shape):
      return self.param(f"{name}_{what}", init, shape)

    out = {
        f"depthwise_{k}": own(
            f"depthwise_{k}",
            layers.depthwise_normal(k, c, self.channel_fan_in),
            _STACKS, k, k, c,
        )
        for k in (3, 5)
    }
    out["pointwise"] = own("pointwise", layers.he_normal(c), _STACKS, c, c)
    out["scale"] = own("scale", nn.initializers.ones, _STACKS, c)
    out["offset"] = own("offset", nn.initializers.zeros, _STACKS, c)
    if self.stride == 2:
      half = c // 2
      out["even"] = own("even", layers.he_normal(c), c, half)
      out["odd"] = own("odd", layers.he_normal(c), c, c - half)
    return out

  def _averages(self, name: str) -> nn.Variable:
    """Returns the moving mean and variance of each stack, f32[2, 2, C]."""

    def start():
      shape = (_STACKS, self.channels)
      return jnp.stack([jnp.zeros(shape), jnp.ones(shape)], 1)

    return self.variable("averages", name, start)


def _branch(name: str, stride: int, kind: int, train: bool, states, weights):
  """Applies an operation to states[kind].

  Returns:
    The result, and the moments f32[2, 2, C] of its batch norms; where it has
    none these are the moving ones, which then stay.
  """
  x, moments = states[kind], weights["moments"]

  def normed(y, stack):
    scale, offset = weights["scale"][stack], weights["offset"][stack]
    if not train:
      return norm.normalize(y, *moments[stack], scale, offset), moments[stack]
    y, mean, var = norm.batch_norm(y, scale, offset)
    return y, jnp.stack([mean, var])

  match name:
    case "avg_pool_3x3":
      return pool.avg_pool(x, stride), moments
    case "max_pool_3x3":
      return pool.max_pool(x, stride), moments
    case "identity":
      if stride == 1:
        return x, moments
      y = conv.factorized_reduction(x, weights["even"], weights["odd"])
      y, own = normed(y, 0)
      return y, jnp.stack([own, moments[1]])
  found, depthwise = [], weights[f"depthwise_{name[-1]}"]
  for stack in range(_STACKS):
    y = conv.depthwise(
        jax.nn.relu(x), depthwise[stack], 1 if stack else stride
    )
    x, own = normed(conv.pointwise(y, weights["pointwise"][stack]), stack)
    found.append(own)
  return x, lax.stop_gradient(jnp.stack(found))
