"""ENAS micro search on a proxy whose truth is known.

  python -m enas_jax.main --config=configs/proxy_micro.py --workdir=W \
      --config.benchmark.path=experiments/tables/micro_cifar10.jsonl

Cells of 3 nodes on 5,000 images of CIFAR-10, at 12 x 12 pixels. The table has
random cells that `python -m experiments.truth` trained alone by the recipe in
`retrain.config` (experiments/tables/README.md). With it the search ends with
what the derived cells are worth in trainings. Cells that the table lacks are
retrained by that recipe, and judged by their place among those of the table.

Variants as in digits_micro.py.
"""

import ml_collections

from enas_jax.build import recipe
from enas_jax.configs import digits_micro, digits_micro_final, proxy_macro
from enas_jax.variants import parse


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  config = digits_micro.get_config(variant)
  final = digits_micro_final.get_config(variant)
  if not parse(variant).smoke:
    proxy_macro.shrink(config, final)
    config.child.lr = 0.3  # shared weights rank better than at 0.1
    # So wide that the policy can become sure.
    config.space.update(index_scale=2.5, op_scale=2.5)
    final.network.update(keep=1.0, drop_path_keep=1.0, aux=False)
    config.retrain.config = recipe(final)
  return config
