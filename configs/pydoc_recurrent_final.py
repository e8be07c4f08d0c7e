r"""Final training of a recurrent cell on Python's own reference.

  python -m enas_jax.main --config=configs/pydoc_recurrent_final.py \
      --config.arch=runs/pydoc_recurrent/arch.json --workdir=runs/pydoc_final

Cells of 6 nodes, 64 units, 20 epochs.

Variants as in ptb_recurrent_final.py, but no profile.
"""

import ml_collections

from enas_jax.configs import ptb_recurrent_final
from enas_jax.variants import parse


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  config = ptb_recurrent_final.get_config(variant)
  config.data.name = "pydoc"
  if not parse(variant, ptb_recurrent_final.GPU).smoke:
    config.epochs = 20
    config.eval_every = 1 if config.child.patience else 5
    config.data.eval_batch = 8
    config.arch = "pydoc"  # any one
    config.network.update(
        hidden=64, input_keep=0.75, state_keep=0.9, output_keep=0.75
    )
    # At 20, as the recipe has it, now and then a random cell explodes.
    config.child.update(batch=16, lr=10.0)
  return config
