"""ENAS macro search on CIFAR-10 (paper §3.2, Table 2).

  python -m enas_jax.main --config=configs/cifar_macro.py --workdir=W

Shared network of 12 layers, 36 filters, six operations; 310 epochs of 352
child steps (batch 128) and 50 controller steps of 20 architectures; then 100
architectures of the policy and 100 random ones on all 5,000 validation images.
Children of the reference score 0.74 to 0.87 on one batch near the end, by
shared weights. Retrained, the paper's best network reaches 4.23 % test error,
3.87 % with more filters.

Variants as in cifar_micro.py. The faithful profile sets channel_fan_in, l2_all,
kl_of_half, shifted_anchors, single_entropy and zero_baseline. It has neither
the choice of operations without effect (defect M1) nor the moving averages by
which the reference scores its children, a mixture over all of them.
"""

import ml_collections

from enas_jax.configs import cifar_micro
from enas_jax.spaces.macro import Macro
from enas_jax.variants import parse


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  variants = parse(variant)
  faithful = variants.profile == "faithful"
  config = cifar_micro.get_config(variant)
  config.epochs = 310
  config.task = {"name": "classification", "score": "accuracy"}
  config.space = {
      "name": "macro",
      "layers": 12,
      # Between commas, numbered in this order.
      "operations": Macro.operations,
      "scale": 1.5,
      "skip_target": 0.4,
      "kl_of_half": faithful,  # M5
      "shifted_anchors": faithful,  # M6
  }
  config.network = {
      "filters": 36,
      "stem": 0,  # halvings before the first layer: 1 at 64 pixels, 2 at 224
      "widen": 1,  # factor on the filters at each halving
      "concat": False,  # True: skips by concatenation and 1 x 1, M4
      "channel_fan_in": faithful,  # as in cifar_micro_final.py
      "keep": 0.9,
  }
  config.child.update(batch=128, l2=2.5e-4)
  del config.child.freeze_aux
  config.strategy.update(steps=50, archs=20)
  config.reinforce.update(lr=1e-3)
  config.reinforce.skip_weight = 0.8
  config.reinforce.single_entropy = faithful  # C4
  command = config.retrain.command.replace("micro", "macro")
  config.retrain.command = command
  if variants.smoke:
    variants.shrink(config)
  return config
