r"""ENAS micro search on scikit-learn's digits: search, derive and retrain.

  python -m enas_jax.main --config=configs/digits_micro.py \
      --workdir=runs/digits_micro

1,797 real 8 x 8 images, no download; about three minutes on 2 CPU cores. Cells
of 3 nodes in a shared network of 1 + 2 cells, small enough for a search of
minutes: the fewer wirings share a weight, and the wider the network, the
sooner shared weights learn. Then the derived and two random architectures are
trained from scratch alike (configs/digits_micro_final.py) and compared on the
test images.

Variants as in cifar_micro.py.
"""

import ml_collections

from enas_jax.build import recipe
from enas_jax.configs import cifar_micro, digits_micro_final
from enas_jax.variants import parse


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  config = cifar_micro.get_config(variant)
  if parse(variant).smoke:
    config.retrain.random = 1
  else:
    config.epochs = 25
    config.data.update(name="digits", valid=287)
    config.augment.pad = 1
    config.space.nodes = 3
    config.network.update(cells=1, filters=32)
    config.child.update(batch=32, lr=0.1, lr_first=25)
    config.strategy.steps = 10
    config.derive.update(archs=50, random=50)
    config.retrain.random = 2
  config.retrain.command = ""  # the next retrains
  config.retrain.config = recipe(digits_micro_final.get_config(variant))
  return config
