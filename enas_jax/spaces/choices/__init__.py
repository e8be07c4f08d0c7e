"""Makes a search space of choices that are declared beside a flax module.

  from flax import linen as nn
  from enas_jax.nn import avg_pool, Classifier, ConvNorm, SeparableConv
  from enas_jax.spaces import choices

  class Net(nn.Module):
    classes: int
    filters: int = 16

    @nn.compact
    def __call__(self, images, arch):
      x, seen = ConvNorm(self.filters, relu=False)(images), []
      for op, inputs in zip(arch.op, arch.inputs):
        x = choices.apply(op, {
            "conv": ConvNorm(self.filters),
            "sep": SeparableConv(self.filters, 5),
            "pool": avg_pool,
        }, x)
        x += choices.total(inputs, seen)
        seen.append(x)
      x = choices.narrow(arch.width, ConvNorm(64), x)
      return Classifier(self.classes)(x)

  Layers = choices.space(
      Net,
      op=choices.one_of("conv", "sep", "pool", times=6),
      inputs=choices.subset(of="op", target=0.4),
      width=choices.one_of(0.5, 1.0),
  )

`Layers` is a class of spaces like `spaces.Micro`. Its schedule, its integers
and its drawing follow from the declaration. Every field of the declaration is a
field of `arch`, and each function below takes such a field, or one of its
items. In a search a choice is a traced number and one program serves all; in a
final network it is a number of Python, and only what it names is built.

  apply   runs the flax module, or function, that was chosen
  number  the number that was chosen
  narrow  runs a layer with the number of channels that was chosen
  pick    the earlier result that was chosen
  total   the sum of the earlier results that were chosen
  unread  the results that no node reads

  declare.py  what a space is declared of
  space.py    the schedule, the integers and the drawing of a declaration
  chosen.py   a choice of an arch, and the functions above
  network.py  a module of the user's as the network of a space
"""

from enas_jax.spaces.choices.chosen import (
    apply,
    Choice,
    kept,
    Misuse,
    narrow,
    number,
    pick,
    total,
    unread,
)
from enas_jax.spaces.choices.declare import earlier, one_of, subset
from enas_jax.spaces.choices.space import Choices, space

__all__ = [
    "Choice",
    "Choices",
    "Misuse",
    "apply",
    "earlier",
    "kept",
    "narrow",
    "number",
    "one_of",
    "pick",
    "space",
    "subset",
    "total",
    "unread",
]
