"""The base class of search spaces, with all that can be derived."""

from collections.abc import Callable, Mapping, Sequence
import functools
import sys
from typing import Any, ClassVar

from flax import linen as nn
import jax

from enas_jax import codec
from enas_jax.errors import ConfigError
from enas_jax.types import Arch, Edge, Preset, Schedule, Size


def refuse_network(key: str, name: str, part: Any) -> None:
  """Raises ConfigError where a network is named in place of its space.

  Args:
    key: The place of the name in the config.
    name: What the user wrote.
    part: The part of that name.
  """
  if not isinstance(part, type) or not issubclass(part, nn.Module):
    return
  own = vars(sys.modules[part.__module__]) if part.__module__ else {}
  spaces = [
      word
      for word, value in own.items()
      if isinstance(value, type)
      and issubclass(value, Space)
      and issubclass(getattr(value, "module", object), part)
  ]
  where, colon, word = name.rpartition(":")
  made = f"Layers = choices.space({word}, op=choices.one_of(...))"
  hint = f"the space that is made of it: {where}{colon}{', '.join(spaces)}."
  raise ConfigError(
      key,
      f"{name!r} is a network, and no space. Name"
      f" {hint if spaces else f'a space that is made of it, as in {made}.'}",
  )


class Space:
  """The base class of a search space, which is a frozen dataclass.

  A space writes `schedule`, `decode` and `module`, and its options as fields.
  All other members have a default here, most of them by `codec.py`. A space
  overrides the members for which it has a published form. `types.SearchSpace`
  says what each member returns.
  """

  presets: ClassVar[Mapping[str, Preset]] = {}
  # Whether all archs have the same size. Where they differ, and the space has
  # no `size`, one network for each choice is traced when the size is needed.
  alike: ClassVar[bool] = False
  # The options that the policy alone reads. They change no training of an arch.
  of_policy: ClassVar[tuple[str, ...]] = ()
  module: ClassVar[type[nn.Module]]
  schedule: Schedule

  # The steps that decide something, in the order of the published integers;
  # None: the order of the schedule.
  order: Sequence[int] | None = None
  # The noun for what the integers make, used in errors.
  noun: str = "an architecture"
  # Whether the final network is the shared one with only what an arch chose, so
  # that weights go from one to the other by their names.
  carries: ClassVar[bool] = False

  def decode(self, choices: jax.Array) -> Arch:
    raise NotImplementedError

  @functools.cached_property
  def codec(self) -> codec.Codec:
    """Returns the codec, which converts integers, choices and archs."""
    return codec.Codec(self.schedule, self.decode)

  def encode(self, arch: Arch) -> jax.Array:
    return self.codec.encode(arch)

  def flatten(self, arch: Arch) -> list[int]:
    return self.codec.flatten(arch, self.order)

  def unflatten(self, values: Sequence[int]) -> Arch:
    return self.codec.unflatten(
        values, self.order, noun=self.noun, describe=self.describe
    )

  def describe(self, step: int) -> str:
    """Returns the beginning of a sentence that the integer of `step` ends."""
    return codec.described(self.schedule, step)

  def graphs(self, arch: Arch) -> dict[str, list[Edge]]:
    return self.codec.graphs(arch)

  @property
  def given(self) -> dict[str, Any]:
    """Returns the fields of the network that the space itself sets."""
    return {}

  @property
  def network(self) -> Callable[..., nn.Module]:
    """Returns a function that makes the network of its remaining fields."""
    return functools.partial(self.module, **self.given)

  def parse(self, text: str) -> list[int] | None:
    """Returns the integers of a text that has one digit for each of several."""
    if not text.isdecimal() or not len(text) == self.codec.length > 1:
      return None
    values = [int(digit) for digit in text]
    self.unflatten(values)  # raises ValueError where it is no arch
    return values

  def notation(self, values: Sequence[int]) -> str:
    del values
    return ""

  def size(
      self, arch: Arch, network: nn.Module, image: tuple[int, int, int]
  ) -> Size | None:
    del arch, network, image
    return None

  @property
  def sized(self) -> bool:
    """Says whether the space has its own `size`."""
    return type(self).size is not Space.size
