r"""Final training of a micro architecture on scikit-learn's digits.

  python -m enas_jax.main --config=configs/digits_micro_final.py \
      --config.arch=runs/digits_micro/arch.json --workdir=runs/digits_final

Cells of 3 nodes, 1 + 2 of them, 16 filters, 15 epochs on 1,437 images; tested
on 360.

Variants as in cifar_micro_final.py.
"""

import ml_collections

from enas_jax.configs import cifar_micro_final
from enas_jax.variants import parse


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  config = cifar_micro_final.get_config(variant)
  if not parse(variant).smoke:
    config.epochs = 15
    config.eval_every = 5
    config.data.update(name="digits", valid=287)
    config.augment.pad = 1
    # What an earlier digits_micro.py derived with seed 0.
    config.arch = "digits_micro"
    config.network.update(cells=1, filters=16, drop_path_keep=0.9)
    config.child.update(batch=64, lr_first=15)
  return config
