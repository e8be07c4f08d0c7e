"""ENAS on the space of NAS-Bench-201, small enough for two cores.

  python -m enas_jax.main --config=configs/nasbench201_small.py --workdir=W \
      --config.benchmark.path=T

Images of 16 x 16 pixels, a shared network of three stages of one cell, 8
filters; 5,000 training images are held out. 60 epochs of 704 child steps on
random children; in the last two also 100 controller steps of 5 architectures
an epoch, each rewarded by its likelihood of 500 validation images. Then 100
architectures of the policy and 100 random ones are ranked by their likelihood
of all 5,000. The policy's likeliest one and its 24 neighbours, which differ in
one operation, are then trained alone for an epoch, in three cells a stage, and
the best of them is derived (`--config.derive.finalists=0`: the likeliest one).
What each of these choices is worth, and what the search finds, stands in
experiments/results/nasbench201.md; T as in nasbench201.py.

Variants as in nasbench201.py.
"""

import ml_collections

from enas_jax.build import recipe
from enas_jax.configs import nasbench201, nasbench201_final
from enas_jax.variants import parse


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  config, variants = nasbench201.get_config(variant), parse(variant)
  config.task.score = "likelihood"
  config.derive.finalists = 2
  final = nasbench201_final.get_config(variants.unprofiled)
  config.derive.config = recipe(final)
  if variants.smoke:
    return config
  config.epochs = 60
  config.data.update(valid=5000, eval_batch=500, size=16)
  config.augment.pad = 1
  config.network.update(cells=1, filters=8)
  config.child.update(lr=0.1, lr_first=60)
  config.strategy.update(steps=100, warmup=58)
  config.derive.finalists = 25
  alone = config.derive.config
  alone.epochs = 1
  # Depth is what shared weights of one cell a stage know nothing of.
  alone.network.update(cells=3, filters=8)
  alone.child.update(batch=64, lr_first=1)
  return config
