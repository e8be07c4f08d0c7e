"""Makes the network of a space of a user's flax module."""

import inspect
from typing import Any, Literal

from flax import linen as nn
import jax

from enas_jax.ops import mode
from enas_jax.ops.reader import Reader

_HELP = """

  Attributes:
    final: Whether the network has only what its arch chose.
    dtype: The type of the computation.
  """


def network(module: type[nn.Module]) -> type[nn.Module]:
  """Returns the module as the network of a space.

  It enters its mode when it is called. It has the fields `final` and `dtype`
  where the module has none, and an image network is called as its task calls
  it: the module is given what its `__call__` takes of `train`, `dropout` and
  `progress`, and may return logits alone.

  Args:
    module: A flax module called on (images, arch), or a subclass of
      `enas_jax.nn.Reader`.

  Raises:
    ValueError: It is neither.
  """
  if not (isinstance(module, type) and issubclass(module, nn.Module)):
    raise ValueError(
        f"choices.space begins with the class of a flax module, got {module!r}."
    )
  takes = inspect.signature(module.__call__).parameters
  if "arch" not in takes:
    raise ValueError(
        f"{module.__name__}.__call__ must take the arch: (self, images, arch)."
    )

  def read(self, words, arch, carry, *, train: bool):
    with mode.entered(mode.Mode(self.final, train)):
      return super(made, self).__call__(words, arch, carry, train=train)

  def classify(
      self,
      images: jax.Array,
      arch: Any,
      *,
      train: bool,
      dropout: bool | None = None,
      progress: jax.Array | float = 0.0,
  ):
    dropout = train if dropout is None else dropout
    known = {"train": train, "dropout": dropout, "progress": progress}
    given = {name: value for name, value in known.items() if name in takes}
    with mode.entered(mode.Mode(self.final, train)):
      found = super(made, self).__call__(
          images.astype(self.dtype), arch, **given
      )
    return found if isinstance(found, tuple) else (found, None)

  own = {
      "final": (bool, False),
      "dtype": (Literal["float32", "bfloat16"], "float32"),
  }
  own = {
      name: pair
      for name, pair in own.items()
      if name not in module.__dataclass_fields__
  }
  made = type(module)(
      module.__name__,
      (module,),
      {
          "__module__": module.__module__,
          "__qualname__": module.__qualname__,
          "__doc__": _HELP,
          "__annotations__": {name: pair[0] for name, pair in own.items()},
          "__call__": read if issubclass(module, Reader) else classify,
          **{name: pair[1] for name, pair in own.items()},
      },
  )
  return made
