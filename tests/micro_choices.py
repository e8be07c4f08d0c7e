"""The micro search of three nodes, written with `spaces.choices`.

`test_choices.py` compares it with the house's own. A search of it is right, and
slower: the house's cell updates one buffer in place.
"""

from flax import linen as nn

from enas_jax.nn import avg_pool, BatchNorm, max_pool, SeparableConv
from enas_jax.ops import layers
from enas_jax.spaces import choices
from enas_jax.spaces.micro import topology
from enas_jax.spaces.micro.calibrate import Calibrate


class Side(nn.Module):
  """One side of a node, for one state that it may read."""

  source: int

  @nn.compact
  def __call__(self, states, op):
    x = states[self.source]
    return choices.apply(op, {
        "sep_conv_3x3": SeparableConv(x.shape[-1], 3, stacks=2),
        "sep_conv_5x5": SeparableConv(x.shape[-1], 5, stacks=2),
        "avg_pool_3x3": avg_pool,
        "max_pool_3x3": max_pool,
        "identity": lambda x: x,
    }, x)


class Cell(nn.Module):
  channels: int

  @nn.compact
  def __call__(self, before, x, inputs, ops):
    calibrate = Calibrate(self.channels, False, name="_Calibrate_0")
    states = list(calibrate(before, x, train=True))
    for n, node in enumerate(zip(inputs, ops, strict=True)):
      sides = [
          choices.apply(
              source,
              [Side(k, name=f"node{n}_{d}_{k}") for k in range(len(states))],
              states,
              op,
          )
          for d, (source, op) in enumerate(zip(*node, strict=True))
      ]
      states.append(sum(sides))
    mix = [nn.Dense(self.channels, use_bias=False) for _ in states]
    loose = choices.unread(inputs)
    return BatchNorm()(
        sum(loose[k] * mix[k](nn.relu(s)) for k, s in enumerate(states))
    )


class Net(nn.Module):
  classes: int
  cells: int = 1
  filters: int = 4

  @nn.compact
  def __call__(self, images, arch):
    stem = layers.Conv(3 * self.filters, 3, False)
    before = x = stem(images, train=True)
    for cell in topology.cells(self.cells, self.filters, images.shape[1:3]):
      inputs, ops = arch.normal_in, arch.normal
      if cell.reduce:
        shrink = layers.FactorizedReduction(cell.channels, False)
        before, x = x, shrink(x, train=True)
        inputs, ops = arch.reduce_in, arch.reduce
      run = Cell(cell.channels, name=f"cell_{cell.index}")
      before, x = x, run(before, x, inputs, ops)
    return layers.Classifier(self.classes, name="classifier")(nn.relu(x))


OPS = "sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3", "identity"
Micro3 = choices.space(
    Net,
    normal_in=choices.earlier(of="normal", given=2),
    normal=choices.one_of(*OPS, times=(3, 2)),
    reduce_in=choices.earlier(of="reduce", given=2),
    reduce=choices.one_of(*OPS, times=(3, 2)),
)
