"""What every search space has beside what it must write."""

from collections.abc import Callable, Mapping, Sequence
import functools
from typing import Any, ClassVar

from flax import linen as nn
import jax

from enas_jax import codec
from enas_jax.types import Arch, Edge, Preset, Schedule, Size


class Space:
  """The base class of a search space, which is a frozen dataclass.

  A space writes `schedule`, `decode` and `module`, and its options as fields.
  All else has a default here, most of it by `codec.py`; a space overrides what
  has a published form. `types.SearchSpace` says what each member returns.
  """

  presets: ClassVar[Mapping[str, Preset]] = {}
  module: ClassVar[type[nn.Module]]
  schedule: Schedule

  # The deciding steps of the schedule in the order of the published integers;
  # None: that of the schedule.
  order: Sequence[int] | None = None
  # What the integers make, for errors.
  noun: str = "an architecture"

  def decode(self, choices: jax.Array) -> Arch:
    raise NotImplementedError

  @functools.cached_property
  def codec(self) -> codec.Codec:
    """What tells integers, choices and architectures of this space apart."""
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
    """Returns the beginning of a sentence that the integer of a step ends."""
    return codec.described(self.schedule, step)

  def graphs(self, arch: Arch) -> dict[str, list[Edge]]:
    return self.codec.graphs(arch)

  @property
  def given(self) -> dict[str, Any]:
    """The fields of its network that the space itself gives."""
    return {}

  @property
  def network(self) -> Callable[..., nn.Module]:
    """Makes the network of the space of what it does not give itself."""
    return functools.partial(self.module, **self.given)

  def parse(self, text: str) -> list[int] | None:
    del text
    return None

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
    """Whether architectures differ in size: the space has its own `size`."""
    return type(self).size is not Space.size
