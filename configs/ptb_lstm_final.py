r"""An LSTM on Penn Treebank, to set beside a searched cell.

  python -m enas_jax.main --config=configs/ptb_lstm_final.py \
      --config.data.path=D --workdir=F

Two layers with as many weights as the cell of ptb_recurrent_final.py, trained
by the same recipe. AWD-LSTM (three layers of 1,100, 1,100 and 400
units, a recipe of its own) reaches 58.2 in enas_lm's code.

Variants as in ptb_recurrent_final.py, but no profile.
"""

import ml_collections

from enas_jax.configs import ptb_recurrent_final


def get_config(variant: str = "") -> ml_collections.ConfigDict:
  config = ptb_recurrent_final.get_config(variant)
  del config.arch, config.space
  # As large as a cell of so many nodes.
  config.network.update(name="lstm", nodes=8)
  for key in ("final", "loose"):  # of a searched cell
    del config.network[key]
  return config
