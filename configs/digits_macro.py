r"""ENAS macro search on scikit-learn's digits: search, derive and retrain.

  python -m enas_jax.main --config=configs/digits_macro.py \
      --workdir=runs/digits_macro

1,797 real 8 x 8 images, no download; 2 min 13 s on 2 slow CPU cores
(experiments/results/images.md). Six layers of 16 filters; then the derived and
two random architectures are trained from scratch alike
(configs/digits_macro_final.py) and compared on the test images.

Variants as in cifar_macro.py.
"""

import ml_collections

from enas_jax.build import recipe
from enas_jax.configs import cifar_macro, digits_macro_final
from enas_jax.variants import parse


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  config = cifar_macro.get_config(variant)
  if parse(variant).smoke:
    config.retrain.random = 1
  else:
    config.epochs = 20
    config.data.update(name="digits", valid=287)
    config.augment.pad = 1
    config.space.layers = 6
    config.network.filters = 16
    config.child.update(batch=32, lr_first=20)
    config.strategy.update(steps=10, archs=10)
    config.derive.update(archs=50, random=50)
    config.retrain.random = 2
  config.retrain.command = ""  # the next retrains
  config.retrain.config = recipe(digits_macro_final.get_config(variant))
  return config
