"""enas_jax: architecture search by parameter sharing (ENAS), in JAX.

An architecture is called an arch, and it is data: one compiled program serves
every arch of a space. A network builds only the chosen branches where the arch
consists of numpy arrays. A controller runs a programme that is data too, a
`Schedule`. A strategy has three functions, init, ask and tell, so REINFORCE,
evolution and random search look the same. A task owns the loss, the reward and
the measure. The loop knows protocols only.

What is public:

  load     a trained model: `predict`, `evaluate`, `perplexity`, `generate`
  network  the final network of an architecture, a flax module
  search   runs a config that searches
  train    runs a config that trains one network
"""

import importlib
from typing import Any

_PUBLIC = {
    "load": "enas_jax.model",
    "network": "enas_jax.networks",
    "search": "enas_jax.calls",
    "train": "enas_jax.calls",
}

__all__ = ["load", "network", "search", "train"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
  """Imports what is public when it is first asked for: JAX takes a second."""
  if name in _PUBLIC:
    return getattr(importlib.import_module(_PUBLIC[name]), name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
