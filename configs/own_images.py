r"""A convolutional network of one's own on scikit-learn's digits.

  python -m enas_jax.main --config=configs/own_images.py \
      --workdir=runs/own_images

Six layers choose an operation and which earlier layers to add, and the network
chooses its width. It is searched, derived, and trained from scratch beside two
random ones. Copy this file to search a network of your own.

Variants as in cifar_micro.py, but no profile.
"""

from flax import linen as nn
import ml_collections

from enas_jax.build import recipe
from enas_jax.configs import cifar_micro, cifar_micro_final
from enas_jax.nn import Classifier, ConvNorm, max_pool, SeparableConv
from enas_jax.options import Count
from enas_jax.spaces import choices
from enas_jax.variants import parse


class Net(nn.Module):
  """Six layers on one image size, after a stem that halves it.

  Attributes:
    classes: The number of classes.
    filters: The channels of a layer.
  """

  classes: Count
  filters: Count = 32

  @nn.compact
  def __call__(self, images, arch):
    x, seen = ConvNorm(self.filters, stride=2, relu=False)(images), []
    for op, inputs in zip(arch.op, arch.inputs, strict=True):
      seen.append(x)
      x = choices.apply(op, {
          "conv3": ConvNorm(self.filters, 3),
          "conv5": ConvNorm(self.filters, 5),
          "separable": SeparableConv(self.filters, 5),
          "pool": max_pool,
          "skip": lambda x: x,
      }, x)
      x += choices.total(inputs, seen)
    x = choices.narrow(arch.width, ConvNorm(2 * self.filters, 1), x)
    return Classifier(self.classes)(x)


Layers = choices.space(
    Net,
    op=choices.one_of("conv3", "conv5", "separable", "pool", "skip", times=6),
    inputs=choices.subset(of="op", target=0.3, given=1),
    width=choices.one_of(0.5, 1.0),
)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  config = cifar_micro.get_config(variant)
  final = cifar_micro_final.get_config(variant)
  for each in (config, final):
    each.task = {"name": "classification"}
    each.space = {"name": f"{__file__}:Layers"}
    each.network = {"filters": 32}
  if parse(variant, profiles=False).smoke:
    config.network.filters = final.network.filters = 4
    config.retrain.random = 1
  else:
    config.epochs, final.epochs, final.eval_every = 25, 15, 5
    config.data.update(name="digits", valid=287)
    config.augment.pad = final.augment.pad = 1
    config.child.update(batch=32, lr=0.1, lr_first=25)
    final.child.update(batch=64, lr_first=15)
    config.strategy.steps = 10
    config.reinforce.skip_weight = 0.8
    config.derive.update(archs=50, random=50)
    config.retrain.random = 2
  config.retrain.command = ""
  config.retrain.config = recipe(final)
  return config
