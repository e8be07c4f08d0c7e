"""Final training of a micro architecture on scikit-learn's digits.

  python -m enas_jax.main --config=configs/digits_micro_final.py \\
      --config.arch=runs/digits_micro/arch.json --workdir=runs/digits_final

3 + 2 cells, 12 filters, 30 epochs on 1,437 images; tested on 360.

Variants as in cifar_micro.py.
"""

import ml_collections

from configs import cifar_micro_final
from enas_jax.variants import parse


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  config = cifar_micro_final.get_config(variant)
  if not parse(variant).smoke:
    config.epochs = 30
    config.eval_every = 10
    config.data.update(name="digits")
    config.augment.pad = 1
    config.network.update(cells=3, filters=12, drop_path_keep=0.9)
    config.child.update(batch=64)
  return config
