r"""ENAS on the space of NAS-Bench-Macro, small enough for two cores.

  python -m enas_jax.main --config=configs/nasbench_macro.py --workdir=W \
      --config.benchmark.path=T

T is the benchmark's table (Su et al. 2021, arXiv 2103.11922), which has the
true accuracy on CIFAR-10 of all 6,561 networks. Those have 32 filters and read
32 x 32 pixels; here shared weights of a quarter of the filters read 16 x 16.
Variants as in cifar_micro.py, but no profile.
"""

from flax import linen as nn
import ml_collections

from enas_jax.build import recipe
from enas_jax.configs import cifar_micro, cifar_micro_final
from enas_jax.nn import Classifier, ConvNorm, DepthwiseNorm
from enas_jax.options import Count
from enas_jax.spaces import choices
from enas_jax.variants import parse


class Residual(nn.Module):
  """An inverted residual, added to its input where the shapes agree."""

  channels: int
  expand: int
  size: int
  stride: int

  @nn.compact
  def __call__(self, x):
    y = ConvNorm(self.expand * x.shape[-1], 1, relu=False)(x)
    y = DepthwiseNorm(self.size, self.stride)(y)
    y = ConvNorm(self.channels, 1)(y)
    return x + y if x.shape == y.shape else y


class Net(nn.Module):
  """A stem of `filters` channels, eight layers in three stages, and a head."""

  classes: Count
  filters: Count = 32
  head: Count = 1280

  @nn.compact
  def __call__(self, images, arch):
    x = nn.relu(ConvNorm(self.filters, 3, relu=False)(images))
    for op, times in zip(arch.op, (2, 2, 4, 4, 4, 8, 8, 8), strict=True):
      c = times * self.filters
      stride = 1 if x.shape[-1] == c else 2
      fit = ConvNorm(c, 1, stride, relu=False)
      x = choices.apply(op, {
          "identity": (lambda x: x) if stride == 1 else fit,
          "MB3_K3": Residual(c, 3, 3, stride),
          "MB6_K5": Residual(c, 6, 5, stride),
      }, x)
    return Classifier(self.classes)(ConvNorm(self.head, 1, relu=False)(x))


Layers = choices.space(
    Net, op=choices.one_of("identity", "MB3_K3", "MB6_K5", times=8)
)


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  smoke = parse(variant, profiles=False).smoke
  config = cifar_micro.get_config(variant)
  final = cifar_micro_final.get_config(variant)
  for each in (config, final):
    each.task = {"name": "classification"}
    each.space = {"name": f"{__file__}:Layers"}
    each.network = {"filters": 4 if smoke else 8, "head": 16 if smoke else 320}
  final.network.final = True
  config.task.score = "likelihood"
  config.benchmark = {
      "path": "",
      "data": "",
      # FLOPs of one of its trainings: three passes over 50,000 images in 50
      # epochs (the authors' train.py); the table counts multiplications, and we
      # two operations for each.
      "training": 3 * 50_000 * 50 * 2 * 5.554e7,
  }
  config.derive.update(by="policy", finalists=2 if smoke else 25)
  if not smoke:
    config.epochs, final.epochs = 40, 1
    config.data.update(eval_batch=500, size=16)
    config.augment.pad = 1
    config.child.update(batch=64, lr=0.1, lr_first=40, clip=5.0)
    config.strategy.update(steps=100, archs=5, warmup=38, children="random")
    config.reinforce.update(lr=0.03, baseline_decay=0.9)
    final.child.update(batch=64, lr=0.1, lr_first=1)
  config.derive.config = recipe(final)
  final.epochs = final.child.lr_first = 2 if smoke else 10
  config.retrain.update(command="", random=1, config=recipe(final))
  return config
