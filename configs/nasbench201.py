"""ENAS on the space of NAS-Bench-201, on CIFAR-10 (Dong & Yang 2020).

  python -m enas_jax.main --config=configs/nasbench201.py --workdir=W \
      --config.benchmark.path=T

Shared network of three stages of 5 cells, 16 filters; half of the training
split is held out, as in the benchmark. 50 epochs of 391 child steps (batch 64)
on random children; in the last ten also 10 controller steps of 5 architectures
an epoch: 500 rewards in all, as many as the search on the benchmark alone takes
(experiments/search_vs_random.py), from which the values of `reinforce` are.
Then 100 architectures of the policy and 100 random ones on all 25,000
validation images; the policy's likeliest one is derived, whatever it scores
(`--config.derive.by=score` takes the best by score).

In the paper's loop the policy's own children train the shared weights, from the
first epoch on. So ENAS ends in skip connections here, 54.30 % in the
benchmark's paper, and so it does in this package on smaller networks
(experiments/results/nasbench201.md):

      --config.strategy.children=policy --config.strategy.warmup=0 \
      --config.strategy.steps=2 --config.network.affine=True \
      --config.derive.by=score

T is the benchmark's table as JSON (enas_jax/derive/benchmark.py). With it the
search ends with the true test accuracy of what it derived, its rank among all
15,625 and its regret (the best has 94.37 %, a random one 87.1 % on average),
and with how well shared weights rank the random candidates. Without it all else
is the same.

Variants as in cifar_micro.py. The faithful profile sets zero_baseline.
"""

import ml_collections

from enas_jax.configs import cifar_micro
from enas_jax.variants import parse


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  variants = parse(variant)
  config = cifar_micro.get_config(variant)
  config.epochs = 50
  config.data.valid = 25_000
  config.task = {"name": "classification", "score": "accuracy"}
  config.space = {
      "name": "nasbench201",
      "scale": 5.0,  # the tanh constant of all choices
  }
  config.network = {
      "cells": 5,
      "filters": 16,
      "affine": False,
  }
  # The benchmark's own searches by shared weights; half its weight decay is
  # the factor of sum(w^2), which it takes over all weights.
  config.child = {
      "optimiser": "nesterov",
      "batch": 64,
      "lr": 0.025,
      "lr_min": 1e-3,
      "lr_first": 50,  # one cosine
      "lr_factor": 2,
      "momentum": 0.9,
      "l2": 2.5e-4,
      "l2_all": True,
      "clip": 5.0,
  }
  config.strategy.update(steps=10, archs=5, warmup=40, children="random")
  config.reinforce.update(lr=0.03, baseline_decay=0.9)
  config.derive.by = "policy"
  config.benchmark = {
      "path": "",  # "": the truth is not known
      "data": "",  # "": the data set that the file's name ends with
      # FLOPs of one of its trainings: three passes over 50,000 images in 200
      # epochs (arXiv 2001.00326, table 1), 1.0994e8 an image forward, which is
      # the mean of all cells of 5 a stage and 16 filters by our count.
      "training": 3 * 50_000 * 200 * 1.0994e8,
  }
  command = f"nasbench201_final:{variants.unprofiled}".rstrip(":")
  config.retrain.command = command
  if variants.smoke:
    variants.shrink(config)
  return config
