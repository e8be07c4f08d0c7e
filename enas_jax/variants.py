"""The variants that every config understands: `--config=X:a,b`."""

from collections.abc import Callable
import typing
from typing import Any, NamedTuple

from enas_jax import data, nn, optim, options, registry, settings
from enas_jax.errors import ConfigError, suggest
from enas_jax.spaces import base, SPACES

_PROFILES = ("profile=repaired", "profile=faithful")
_WORDS = ("smoke", *_PROFILES)


class Variants(NamedTuple):
  """What the words after a config's colon say."""

  smoke: bool
  profile: str  # repaired, or faithful to the reference and its quirks
  others: list[str]  # words of the config's own
  unprofiled: str  # the same words, for a config without profiles

  def shrink(self, config: Any) -> None:
    """Sets the `Small` values of all options in a ConfigDict, in place.

    Only where the config has the option; and not in the space of a training,
    where None is what the arch brings.
    """
    # A task of a user's own keeps its data, which may be of another form.
    small = data.SMALL.get(config.task.name, config.data.name)
    config.data.name = small
    training = "strategy" not in config
    load = data.loader(small, config.data.get("path"))
    split = _split(load, training)
    # One of a user's own keeps its values.
    name = config.get("child", {}).get("optimiser")
    optimiser = optim.OPTIMISERS.get(name)
    parts = {
        "data": {**options.of(load, ("name",)), **split},
        "augment": options.of(data.Augment),
        "child": {**(options.of(optimiser) if optimiser else {}), **split},
        "strategy": options.of(settings.Search),
        "derive": options.of(settings.Derive),
    }
    if "name" in config.network:
      network = _part(config, "network", nn.NETWORKS)
    else:
      space = _part(config, "space", SPACES)
      base.refuse_network("config.space.name", config.space.name, space)
      if callable(space):  # else it is made already, and has no options
        parts["space"] = known = options.of(space)
        said = {k: v for k, v in config.space.items() if v is not None}
        space = space(**{k: v for k, v in said.items() if k in known})
      network = space.network
    parts["network"] = options.of(network)
    _set_small(config, options.of(settings.Run))
    for name, known in parts.items():
      if name in config:
        _set_small(config[name], known, training and name == "space")


def _part(config: Any, block: str, ours: dict[str, Any]) -> Any:
  name = config[block].name
  return registry.find(f"config.{block}.name", name, block, ours)


def _split(load: Callable, training: bool) -> dict[str, options.Option]:
  """Returns the options of how a data set is split, where its loader says."""
  hints = typing.get_type_hints(getattr(load, "func", load))
  split = getattr(hints.get("return"), "final" if training else "search", None)
  return options.of(split) if split else {}


def _set_small(
    block: Any, known: dict[str, options.Option], spare: bool = False
) -> None:
  """Sets the `Small` values in a block; `spare`: not in place of None."""
  for key, option in known.items():
    if key in block and option.small and not (spare and block[key] is None):
      block[key] = option.small.value


def parse(text: str, *others: str, profiles: bool = True) -> Variants:
  """Reads the words after a config's colon.

  Args:
    text: The words, joined by commas.
    *others: The words of the config's own.
    profiles: Whether a profile changes anything in the config. Off: a profile
      is refused, since whoever asks for one would be misled.
  """
  words = [word for word in text.split(",") if word]
  for word in words:
    if word in _PROFILES and not profiles:
      raise ConfigError(
          "config", f"{word} changes nothing here; leave it out."
      )
    if word not in (*_WORDS, *others):
      near = suggest(word, (*_WORDS, *others))
      raise ConfigError("config", f"unknown variant {word!r}. {near}")
  faithful = "profile=faithful" in words
  if faithful and "profile=repaired" in words:
    raise ConfigError("config", "two profiles were given.")
  return Variants(
      "smoke" in words,
      "faithful" if faithful else "repaired",
      [word for word in words if word in others],
      ",".join(word for word in words if word not in _PROFILES),
  )
