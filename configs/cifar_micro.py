"""ENAS micro search on CIFAR-10 (paper §3.2, Table 2).

  python -m enas_jax.main --config=configs/cifar_micro.py --workdir=W

Shared network of 6 + 2 cells, 20 filters, 5 nodes; 150 epochs of 282 child
steps (batch 160) and 30 controller steps of 10 architectures; then 100
architectures of the policy and 100 random ones on all 5,000 validation images.
Expect validation accuracies of children between 0.65 and 0.80 near the end
(the reference's log: 0.68): they are those of shared weights. Retrained, the
published cells reach 3.54 % test error, 2.89 % with Cutout.

Variants, after a colon and joined by commas:
  smoke              every stage in small, on synthetic images; most of its time
                     is compiling, minutes on a slow or busy machine
  profile=faithful   quirks of the reference, each a value of its own below

The faithful profile sets dropout_in_reward, saturated_prior, row_fan_in,
l2_all, freeze_aux and zero_baseline. It derives as the default does; the
reference leaves it to its user, who is shown ten architectures with their
accuracy on one batch each.
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
  config.epochs = 150
  config.checkpoint_seconds = 60.0
  config.steps_per_call = 1  # child steps a dispatch
  config.devices = 1  # each trains a child on its share of the batch

  config.data = {
      "name": "cifar10",  # or any TFDS image classification set, digits, ...
      "valid": 5000,  # the last images of the training split
      "eval_batch": placeholder(int),  # of a reward; None: child.batch
      "path": placeholder(str),  # of the files; None: where TFDS has them
      "size": placeholder(int),  # of a side; None: as the images are
      "stream": placeholder(bool),  # read while it trains; None: in memory
      "workers": placeholder(int),  # processes that read; None: 2
  }
  config.augment = {
      # Below 1: a random part of at least so much of the area, resized; 0.08
      # where pictures have 224 pixels.
      "scale": 1.0,
      "ratio": 4 / 3,  # the most by which it is wider or taller
      "pad": 4,
      "flip": True,  # but no set of digits or letters
      "cutout": 0,  # side of the hole; 16 in the Cutout paper
      "cutout_corner": False,  # the reference's hole: by its top-left corner
  }

  config.task = {
      "name": "classification",
      "aux_weight": 0.4,
      "dropout_in_reward": faithful,  # S1
      "score": "accuracy",  # or likelihood: what is rewarded and ranked by
  }
  config.space = {
      "name": "micro",
      "nodes": 5,
      "index_scale": 1.10,
      "op_scale": 0.44,  # 1.10 / 2.5
      # The preference for separable convolutions at first, which trains.
      "op_prior": 0.44,
      "saturated_prior": faithful,  # S3
  }
  config.network = {
      "cells": 6,
      "filters": 20,
      "stem": 0,  # halvings before the first cell: 1 at 64 pixels, 2 at 224
      "keep": 0.9,
      "aux": True,
      "row_fan_in": faithful,  # S4
      "channel_fan_in": False,  # of depthwise kernels; S4 has its own
  }
  config.child = {
      "optimiser": "nesterov",
      "batch": 160,
      "lr": 0.05,
      "lr_min": 5e-4,
      "lr_first": 10,  # epochs of the first cosine
      "lr_factor": 2,  # each next one is so much longer
      "momentum": 0.9,
      "l2": 1e-4,  # of sum(w^2), without a half
      "l2_all": faithful,  # C2: batch norm's scale and offset too
      "clip": 0.0,  # global norm; 0: none, C1
      "freeze_aux": faithful,  # C3
  }
  config.strategy = {
      "name": "reinforce",  # or random, evolution
      "steps": 30,  # an epoch
      "archs": 10,  # a step
      "same_batch": False,  # reward those of a step on the same data
      "warmup": 0,  # epochs that train shared weights alone, at first
      "children": "policy",  # or random: who proposes the children in training
  }
  config.reinforce = {
      "lr": 3.5e-3,
      "b1": 0.0,
      "b2": 0.999,
      "eps": 1e-3,
      "hidden": 64,
      "init_range": 0.1,
      "temperature": 1.0,
      "entropy_weight": 1e-4,
      "baseline_decay": 0.99,
      "zero_baseline": faithful,  # the baseline starts at 0
      "step_baseline": False,  # in place of both the mean of a step's rewards
  }
  config.evolution = {"population": 20, "tournament": 5}
  # reward = accuracy - weight * max(0, cost / target - 1), the cost that of the
  # child's final network with the sizes above.
  config.objective = {
      "cost": "",  # or params, flops (of an image's way forward), latency (ms)
      "target": 0.0,
      "weight": 0.0,
  }
  config.derive = {
      "archs": 100,
      "random": 100,
      "top": 5,
      "by": "score",
      # What is chosen and neighbours, so many in all, are trained alone by this
      # final config, or where it is empty that of `retrain`, and the best of
      # them is derived; 0: none are.
      "finalists": 0,
      "at_once": 1,  # of those, or of retrainings; each is a process
      "config": {},
  }
  config.retrain = {
      # What is printed at the end.
      "command": f"cifar_micro_final:{variant}".rstrip(":"),
      "random": 0,
      "config": {},  # a final config here is run at once
  }
  if variants.smoke:
    variants.shrink(config)
  return config
