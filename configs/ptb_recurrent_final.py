r"""Final training of a recurrent cell on Penn Treebank (paper §3.1).

  python -m enas_jax.main --config=configs/ptb_recurrent_final.py \
      --config.data.path=D --config.arch=W/arch.json --workdir=F

The recipe of enas_lm for TPUs: 850 units, segments of 35 words, 64 rows, 483
epochs of 414 steps, the weights averaged from step 2,000 on; 56.1 +- 0.1 test
perplexity in its README. Without --config.arch it is enas_lm's published cell
(enas_lm; also darts_lm, and enas_2018 in its own dialect). The validation text
is measured every epoch, the test text once at the end, one row at a time.

Variants as in cifar_micro.py, but no profile, and
  recipe=gpu   enas_lm's for GPUs: 800 units, segments of varied length, the
               average begins when validation stops improving; 3,000 epochs,
               57.3 +- 0.1 (DARTS's cell: 58.1)
"""

import ml_collections
from ml_collections.config_dict import placeholder

from enas_jax.variants import parse

GPU = "recipe=gpu"


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  variants = parse(variant, GPU, profiles=False)
  gpu = GPU in variants.others
  config = ml_collections.ConfigDict()
  config.seed = 0
  config.dtype = "float32"  # of the computation; or bfloat16
  config.epochs = 3000 if gpu else 483
  config.eval_every = 1
  config.checkpoint_seconds = 60.0
  config.steps_per_call = 1  # child steps a dispatch
  config.devices = 1  # each trains a child on its share of the batch
  # A preset by name, the path of an arch.json, or integers in the dialect of
  # the space.
  config.arch = "enas_lm"
  config.init = ""  # the folder of a trained model to go on from

  config.data = {
      "name": "ptb",
      "path": placeholder(str),
      "vocabulary": placeholder(int),  # the most frequent; None: all words
      "unit": placeholder(str),  # word or character; None: word
      "stream": placeholder(bool),  # on the host; None: on the device
      "length": 35,
      "vary": gpu,
      "eval_batch": 1,  # rows of the test text
      "measure": "test",  # or "valid", for choices
  }
  config.task = {
      "name": "language_model",
      "activity": 0.7 if gpu else 0.0,
      "slowness": 0.0,
  }
  # None is what the arch brings with it; of integers alone, the default.
  config.space = {
      "name": "recurrent",
      "nodes": placeholder(int),
      "dialect": placeholder(str),
  }
  config.network = {
      "final": True,
      "hidden": 800 if gpu else 850,
      # None: by dialect; all nodes in lm, loose ends in 2018.
      "loose": placeholder(bool),
      "init_range": 0.05 if gpu else 0.04,
      "word_keep": 0.875 if gpu else 0.85,
      "embedded_keep": 0.825 if gpu else 0.8,
      "input_keep": 0.275 if gpu else 0.25,
      "state_keep": 0.775 if gpu else 0.75,
      "weight_keep": 1.0,
      "output_keep": 0.25,
  }
  config.child = {
      "optimiser": "sgd",
      "batch": 64,
      "lr": 20.0,
      "clip": 0.25,
      "l2": 8e-7,
      "average_after": 0 if gpu else 2000,  # steps
      "patience": 10 if gpu else 0,  # looks without a better one
  }
  if not gpu:
    config.network.loose = True
  if variants.smoke:
    variants.shrink(config)
    # At 20 so small a network explodes, and from 0.04 it hardly learns.
    config.child.lr = 1.0
    config.network.init_range = 0.1
    config.data.name = "pydoc"
  return config
