"""The final network of one architecture, for a training loop of one's own.

  net = enas_jax.network("W/arch.json", classes=10, filters=36)
  variables = net.init(key, images, train=False)
  logits = net.apply(variables, images, train=False)
"""

from collections.abc import Callable, Sequence
import os
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from enas_jax import archfile, options, registry
from enas_jax.errors import ConfigError, suggest
from enas_jax.ops import reader
from enas_jax.ops.dot import dot
from enas_jax.spaces import SPACES
from enas_jax.types import Arch, SearchSpace


def network(
    arch: str | os.PathLike | Sequence[int],
    space: str | Callable[..., SearchSpace] | SearchSpace | None = None,
    **given: Any,
) -> "ImageNetwork | TextNetwork":
  """Returns the final network of an architecture, as a flax module.

  Its parameters and averages are those of a final training, by the same names,
  so what `load(...).variables` holds fits the same architecture and options.

  Args:
    arch: the path of an `arch.json` or of the folder of the search that wrote
      it, the name of a preset, or the integers.
    space: which the architecture is of, by name (also `own.py:Name`), class or
      as it is. A file and a preset say it themselves, unless the space is none
      of `SPACES`.
    **given: the options of the network, such as `classes` and `filters` of an
      image space, and `vocabulary` and `hidden` of the recurrent one.

  Raises:
    ConfigError: there is no such architecture, or an option that the network
      does not have, lacks, or cannot have.
  """
  if isinstance(arch, (str, os.PathLike)):
    text = os.fspath(arch)
  elif isinstance(arch, Sequence):
    text = " ".join(map(str, arch))
  else:
    raise ConfigError("arch", f"must be a path or integers, got {arch!r}.")
  space = _space(text, space)
  numbers = space.flatten(archfile.parse("arch", text, space))
  make, name = space.network, space.module.__name__
  # Not for the user: a network without it is made for a search.
  ours = ("final",) if "final" in options.of(make) else ()
  values = options.read(make, given, name=name, ours=ours)
  module = make(**values, **dict.fromkeys(ours, True))
  wrap = TextNetwork if isinstance(module, reader.Reader) else ImageNetwork
  return wrap(module, space, tuple(numbers))


def _space(text: str, space: Any) -> SearchSpace:
  """Returns the space of the arch that `text` names."""
  found = archfile.read("arch", text)
  named = found["space"]["name"] if found and "space" in found else None
  if space is None:
    of_preset = (n for n, of in SPACES.items() if text in of.presets)
    space = named or next(of_preset, None)
    if space is None:
      presets = [preset for of in SPACES.values() for preset in of.presets]
      raise ConfigError(
          "arch",
          f"{text!r} is no file and no preset, and integers need space=."
          f" {suggest(text, presets)}",
      )
    if space not in SPACES:  # no code that a file names is run
      raise ConfigError(
          "space",
          f"{text} is of {space!r}, which is none of {', '.join(SPACES)}; name"
          " it yourself by space=.",
      )
  if isinstance(space, str):
    of = registry.find("space", space, "space", SPACES)
    if not callable(of):  # a space that is made already
      return of
    return of(**archfile.brought("arch", text, of, registry.recorded(space)))
  if callable(space):  # what its file calls it is the caller's affair
    return space(**archfile.brought("arch", text, space, named))
  return space


class _Fixed(nn.Module):
  """A network with its architecture inside.

  Attributes:
    inside: the network, called with an arch.
    space: which the arch is of; None: a network without choices.
    numbers: the integers of the arch. They are no arrays, so that the module
      can be compared and hashed, as flax and jit need it.
  """

  inside: nn.Module
  space: SearchSpace | None = None
  numbers: tuple[int, ...] = ()

  def setup(self):
    nn.share_scope(self, self.inside)  # parameters are named as in a training

  @property
  def arch(self) -> Arch:
    """Returns the arch, of numpy arrays."""
    return self.space.unflatten(self.numbers) if self.space else ()


class ImageNetwork(_Fixed):
  """A network of images: `apply(variables, images, train=...)` -> logits.

  In training it wants the "dropout" stream, and moves its averages:

    logits, moved = net.apply(
        variables, images, train=True, progress=0.5,
        rngs={"dropout": key}, mutable=["averages"])
    variables = {**variables, **moved}

  The logits of an auxiliary head, where the options give it one, are what the
  network sows: with mutable=["averages", "intermediates"] they are
  `moved["intermediates"]["auxiliary"][0]`.
  """

  def __call__(
      self,
      images: jax.Array,
      *,
      train: bool,
      progress: jax.Array | float = 0.0,
  ) -> jax.Array:
    """Returns the logits of the classes, f32[B, classes].

    Args:
      images: f32[B, H, W, C], normalised.
      train: whether averages of batch norms move, dropout acts and the
        auxiliary head runs. `init` makes all parameters with either.
      progress: the fraction of the training that is done, by which drop-path
        grows.
    """
    # What only a training has needs parameters too.
    train = train or self.is_initializing()
    logits, aux = self.inside(
        images, self.arch, train=train, progress=progress
    )
    if aux is not None:
      self.sow("intermediates", "auxiliary", aux)
    return logits


class TextNetwork(_Fixed):
  """A language model: `apply(variables, words, train=...)` -> (logits, carry).

  In training it wants the "dropout" stream.
  """

  def __call__(
      self, words: jax.Array, carry: Any = None, *, train: bool
  ) -> tuple[jax.Array, Any]:
    """Returns the logits f32[B, S, V] of each next word, and the carry.

    Args:
      words: i32[B, S].
      carry: what a call on the words before returned; None before the first.
      train: whether dropout acts.
    """
    if carry is None:
      carry = self.inside.start(len(words))
    reading = self.inside(words, self.arch, carry, train=train)
    table = reading.table.astype(reading.features.dtype)
    last = jax.tree.map(
        lambda each: each[:, -1].astype(jnp.float32), reading.carries
    )
    return dot(reading.features, table.T), last
