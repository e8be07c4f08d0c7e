"""enas_jax: architecture search by parameter sharing (ENAS), in JAX.

An architecture is called an arch, and it is data: one compiled program serves
every arch of a space. A network builds only the chosen branches where the arch
consists of numpy arrays. A controller runs a programme that is data too, a
`Schedule`. A strategy has three functions, init, ask and tell, so REINFORCE,
evolution and random search look the same. A task owns the loss, the reward and
the measure. The loop knows protocols only.

  load     returns a trained network, to predict with or to write texts
  network  returns the final network of an architecture, as a flax module
  search   runs a config that searches
  train    runs a config that trains one network
"""

import importlib
from typing import Any

_HOME = {
    "load": "model",
    "network": "networks",
    "search": "calls",
    "train": "calls",
}
__all__ = ["load", "network", "search", "train"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
  """Imports what is public when it is first asked for: JAX takes a second."""
  if name in __all__:
    home = importlib.import_module(f"enas_jax.{_HOME[name]}")
    return getattr(home, name)
  raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
  """Returns the public names, also those that nobody has asked for yet."""
  return sorted([*globals(), *__all__])
