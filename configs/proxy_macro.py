"""ENAS macro search on a proxy whose truth is known.

  python -m enas_jax.main --config=configs/proxy_macro.py --workdir=W \
      --config.benchmark.path=experiments/tables/macro_digits.jsonl

Networks of 6 layers on scikit-learn's digits. The table has random networks
that `python -m experiments.truth` trained alone by the recipe in
`retrain.config` (experiments/tables/README.md). With it the search ends with
what the derived network is worth in trainings. A network that the table lacks
is retrained by that recipe, and judged by its place among those of the table.
This proxy is too noisy yet: two seeds rank 61 networks with Kendall's tau 0.37,
and the means of two seeds with 0.49. Longer trainings rank worse, since
the digits saturate.

Variants as in digits_macro.py.
"""

import ml_collections

from enas_jax.build import recipe
from enas_jax.configs import digits_macro, digits_macro_final
from enas_jax.variants import parse


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  config = digits_macro.get_config(variant)
  config.benchmark = {"path": "", "data": "", "training": 0.0}
  config.task.score = "likelihood"
  if parse(variant).smoke:
    return config
  final = digits_macro_final.get_config(variant)
  final.epochs = final.child.lr_first = 3
  final.eval_every = 1
  # Skips are summed, as in the search, so that the table's program may choose
  # them. So short a training overfits nothing, and dropout is noise.
  final.network.update(filters=8, concat=False, keep=1.0)
  final.child.batch = 32
  config.retrain.random = 0
  config.retrain.config = recipe(final)
  return config
