r"""Training of one architecture of NAS-Bench-201 on CIFAR-10, by its recipe.

  python -m enas_jax.main --config=configs/nasbench201_final.py \
      --config.arch=W/arch.json --workdir=F

Three stages of 5 cells, 16 filters, 200 epochs of 196 steps (batch 256) on all
50,000 training images. Without --config.arch it is the best cell of the
benchmark on CIFAR-10, 94.37 % there. --config.arch also reads the benchmark's
own notation, `|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+...`, between quotes.

Variants as in cifar_micro.py, but no profile.
"""

import ml_collections

from enas_jax.configs import cifar_micro_final
from enas_jax.variants import parse


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  variants = parse(variant, profiles=False)
  config = cifar_micro_final.get_config(variant)
  config.epochs = 200
  config.data.valid = 25_000
  # A preset (nasbench201_best, nasbench201_resnet), the path of an arch.json,
  # the benchmark's notation, or the six integers themselves.
  config.arch = "nasbench201_best"
  config.init = ""  # the folder of a trained model to go on from
  config.task = {"name": "classification"}
  config.space = {"name": "nasbench201"}
  config.network = {"final": True, "cells": 5, "filters": 16}
  config.child = {
      "optimiser": "nesterov",
      "batch": 256,
      "lr": 0.1,
      "lr_min": 0.0,
      "lr_first": 200,  # one cosine
      "lr_factor": 2,
      "momentum": 0.9,
      "l2": 2.5e-4,  # half of the benchmark's weight decay, on all weights
      "l2_all": True,
      "clip": 0.0,
  }
  if variants.smoke:
    variants.shrink(config)
  return config
