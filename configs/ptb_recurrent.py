r"""ENAS recurrent search on Penn Treebank (paper §3.1), as enas_lm corrects it.

  python -m enas_jax.main --config=configs/ptb_recurrent.py \
      --config.data.path=D --workdir=W

D holds ptb.train.txt, ptb.valid.txt and ptb.test.txt of Mikolov's version, or
any three texts in its form. Shared cell of 8 nodes and 200 units; 600 epochs of
207 child steps (128 rows of about 35 words) and 25 controller steps of 10
architectures; then 100 architectures of the policy and 100 random ones on the
whole validation text. The reference's search stalls near a perplexity of 148 by
shared weights.

Variants as in cifar_micro.py. The faithful profile sets single_entropy and
zero_baseline, which are quirks of the controller. It does not have the weight
decay of enas_lm's search (defect L1).
"""

import ml_collections
from ml_collections.config_dict import placeholder

from enas_jax.configs import cifar_micro
from enas_jax.variants import parse


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  variants = parse(variant)
  faithful = variants.profile == "faithful"
  config = cifar_micro.get_config(variant)
  # Of images, or of architectures that differ in size.
  del config.augment, config.objective
  config.epochs = 600

  config.data = {
      "name": "ptb",  # or pydoc, which needs no path
      "path": placeholder(str),  # of the folder of three texts
      "vocabulary": placeholder(int),  # the most frequent; None: all words
      "unit": placeholder(str),  # word or character; None: word
      "stream": placeholder(bool),  # on the host; None: on the device
      "length": 35,  # words of a segment
      "vary": True,  # draw lengths around it
  }
  config.task = {
      "name": "language_model",
      "activity": 0.0,  # alpha of AR
      "slowness": 1.0,  # beta of TAR
      "l2_used": 8e-7,
      "reward_scale": 80.0,
  }
  config.space = {
      "name": "recurrent",
      "nodes": 8,
      "dialect": "lm",
      "scale": 2.25,
  }
  config.network = {
      "hidden": 200,
      # The output: the mean of loose ends, or of all nodes; None: by dialect.
      "loose": placeholder(bool),
      "init_range": 0.04,
      "word_keep": 0.9,
      "embedded_keep": 0.8,
      "input_keep": 0.25,
      "state_keep": 0.75,
      "weight_keep": 1.0,
      "output_keep": 0.25,
  }
  config.child = {
      "optimiser": "sgd",
      "batch": 128,
      "lr": 20.0,
      "clip": 0.1,  # global norm
      "l2": 0.0,  # of the weights in use; `task.l2_used` of the cell's
  }
  config.strategy.steps = 25
  config.reinforce = {
      "lr": 5e-5,
      "b1": 0.9,
      "b2": 0.999,
      "eps": 1e-8,
      "hidden": 64,
      "init_range": 0.01,
      "temperature": 5.0,
      "entropy_weight": 1e-5,
      "baseline_decay": 0.999,
      "zero_baseline": faithful,
      "step_baseline": False,  # in place of both the mean of a step's rewards
      "single_entropy": faithful,  # C4
  }
  command = f"ptb_recurrent_final:{variants.unprofiled}".rstrip(":")
  config.retrain.command = command
  if variants.smoke:
    variants.shrink(config)
    config.child.lr = 1.0  # at 20 so small a network explodes
    config.data.name = "pydoc"
  return config
