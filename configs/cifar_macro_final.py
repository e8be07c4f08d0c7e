r"""Final training of a macro architecture on CIFAR-10 (paper §3.2, Table 2).

  python -m enas_jax.main --config=configs/cifar_macro_final.py \
      --config.arch=W/arch.json --workdir=F

96 filters, doubled at each halving, 310 epochs of 500 steps (batch 100) on all
50,000 training images. Without --config.arch it is the published network of 24
layers; users of the reference reach about 3.9 to 4.0 % test error with its
full convolutions (--config.network.plain_convs), 42.6 million parameters.

A searched network of 12 layers trains as it is. --config.network.stretch=2
builds every layer twice in a row, with its operation and its skips; a skip
reads the last copy of the layer it read.

Variants as in cifar_micro.py. The faithful profile sets plain_convs, l2_all and
cutout_corner; the reference has no pools here (defect M3).
"""

import ml_collections
from ml_collections.config_dict import placeholder

from enas_jax.configs import cifar_micro_final
from enas_jax.variants import parse


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  variants = parse(variant)
  faithful = variants.profile == "faithful"
  config = cifar_micro_final.get_config(variant)
  config.epochs = 310
  # A preset (enas_macro_24, enas_macro_12), the path of an arch.json, or the
  # integers themselves; of these, space.layers says how many layers.
  config.arch = "enas_macro_24"
  config.init = ""  # the folder of a trained model to go on from
  config.task = {"name": "classification"}
  config.space = {
      "name": "macro",
      # None is what the arch brings with it; of integers alone, the default.
      "layers": placeholder(int),
      "operations": placeholder(str),
  }
  config.network = {
      "final": True,
      "filters": 96,
      "stem": 0,  # halvings before the first layer: 1 at 64 pixels, 2 at 224
      "widen": 2,
      "concat": True,  # False: skips by a sum, as in the search, M4
      "plain_convs": faithful,  # M2
      # The reference has no depthwise kernel here.
      "channel_fan_in": False,
      "stretch": 1,
      "keep": 0.5,
  }
  config.child.update(batch=100, lr_min=1e-3)
  del config.child.freeze_aux
  if variants.smoke:
    variants.shrink(config)
    config.arch = "smoke_macro"
  return config
