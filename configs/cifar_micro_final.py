r"""Final training of a micro architecture on CIFAR-10 (paper §3.2, Table 2).

  python -m enas_jax.main --config=configs/cifar_micro_final.py \
      --config.arch=W/arch.json --workdir=F

15 + 2 cells, 36 filters, 630 epochs of 348 steps (batch 144) on all 50,000
training images, drop-path to 0.6, auxiliary head. Without --config.arch it is
the published architecture: 3.54 % test error in the paper, about 3.5 to 3.9 %
by users of the reference; with --config.augment.cutout=16 2.89 % in the paper.

Variants as in cifar_micro.py. The faithful profile sets channel_fan_in, l2_all,
freeze_aux and cutout_corner.
"""

import ml_collections
from ml_collections.config_dict import placeholder

from enas_jax.variants import parse


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  variants = parse(variant)
  faithful = variants.profile == "faithful"
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.dtype = "float32"  # of the computation; or bfloat16
  config.epochs = 630
  config.eval_every = 1  # epochs between two looks at data.measure
  config.checkpoint_seconds = 60.0
  config.steps_per_call = 1  # child steps a dispatch
  config.devices = 1  # each trains a child on its share of the batch
  # A preset by name, the path of an arch.json, or the integers themselves.
  config.arch = "enas_micro"
  config.init = ""  # the folder of a trained model to go on from

  config.data = {
      "name": "cifar10",
      "eval_batch": 100,
      "path": placeholder(str),
      "size": placeholder(int),
      "stream": placeholder(bool),  # None: in memory
      "workers": placeholder(int),  # processes that read; None: 2
      "measure": "test",  # or "valid": images held out, for choices
      "valid": 5000,  # of these so many; read with "valid" alone
  }
  config.augment = {
      # Below 1: a random part of at least so much of the area, resized; 0.08
      # where pictures have 224 pixels.
      "scale": 1.0,
      "ratio": 4 / 3,  # the most by which it is wider or taller
      "pad": 4,
      "flip": True,  # but no set of digits or letters
      "cutout": 0,
      "cutout_corner": faithful,
  }

  config.task = {"name": "classification", "aux_weight": 0.4}
  # None is what the arch brings with it; of integers alone, the default.
  config.space = {"name": "micro", "nodes": placeholder(int)}
  config.network = {
      "final": True,
      "cells": 15,
      "filters": 36,
      "stem": 0,  # halvings before the first cell: 1 at 64 pixels, 2 at 224
      "keep": 0.8,
      "drop_path_keep": 0.6,
      "aux": True,
      # As TensorFlow counts the inputs of a depthwise kernel.
      "channel_fan_in": faithful,
  }
  config.child = {
      "optimiser": "nesterov",
      "batch": 144,
      "lr": 0.05,
      "lr_min": 1e-4,
      "lr_first": 10,
      "lr_factor": 2,
      "momentum": 0.9,
      "l2": 2e-4,
      "l2_all": faithful,  # C2
      "clip": 0.0,  # C1
      "freeze_aux": faithful,  # C3
  }
  if variants.smoke:
    variants.shrink(config)
  return config
