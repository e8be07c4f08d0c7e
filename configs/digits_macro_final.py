r"""Final training of a macro architecture on scikit-learn's digits.

  python -m enas_jax.main --config=configs/digits_macro_final.py \
      --config.arch=runs/digits_macro/arch.json --workdir=runs/digits_final

Six layers, 16 filters, 15 epochs on 1,437 images; tested on 360.

Variants as in cifar_macro_final.py.
"""

import ml_collections

from enas_jax.configs import cifar_macro_final
from enas_jax.variants import parse


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  config = cifar_macro_final.get_config(variant)
  if not parse(variant).smoke:
    config.epochs = 15
    config.eval_every = 5
    config.data.update(name="digits", valid=287)
    config.augment.pad = 1
    config.arch = "digits_macro"
    config.network.filters = 16
    config.child.update(batch=64, lr_first=15)
  return config
