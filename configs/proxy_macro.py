"""ENAS macro search on a proxy whose truth is known.

  python -m enas_jax.main --config=configs/proxy_macro.py --workdir=W \
      --config.benchmark.path=experiments/tables/macro_cifar10.jsonl

Networks of 6 layers on 5,000 images of CIFAR-10, at 12 x 12 pixels. The table
has random networks that `python -m experiments.truth` trained alone by the
recipe in `retrain.config` (experiments/tables/README.md). With it the search
ends with what the derived network is worth in trainings. A network that the
table lacks is retrained by that recipe, and judged by its place among those of
the table.

Variants as in digits_macro.py.
"""

import ml_collections

from enas_jax.build import recipe
from enas_jax.configs import digits_macro, digits_macro_final
from enas_jax.variants import parse


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  config = digits_macro.get_config(variant)
  final = digits_macro_final.get_config(variant)
  if not parse(variant).smoke:
    shrink(config, final)
    # Skips are summed, as in the search, so that the table's program may choose
    # them.
    final.network.update(concat=False, keep=1.0)
    config.retrain.config = recipe(final)
  return config


def shrink(
    config: ml_collections.ConfigDict, final: ml_collections.ConfigDict
) -> None:
  """Makes a search and its recipe as small as those of the tables."""
  config.benchmark = {"path": "", "data": "", "training": 0.0}
  config.task.score = "likelihood"
  config.data.update(name="cifar10", size=12, limit=5000, valid=1000)
  config.data.eval_batch = 100
  config.network.filters = 8
  # Random children train the shared weights; then the policy is trained on
  # rewards that can be compared, those of one batch.
  config.epochs = config.child.lr_first = 22
  config.strategy.update(
      steps=50, archs=10, warmup=20, children="random", same_batch=True
  )
  # Likelihoods differ by less than a percent, so that Adam's usual epsilon
  # would leave no step.
  # In so few steps the factorised policy learns more than the LSTM.
  config.reinforce.update(lr=0.03, eps=1e-8, step_baseline=True, hidden=0)
  config.derive.update(archs=50, random=50)
  config.retrain.random = 0
  # So short a training overfits nothing, and dropout is noise.
  final.epochs = final.child.lr_first = final.eval_every = 4
  final.data.eval_batch = 500
  final.network.filters = 8
  final.child.batch = 32
