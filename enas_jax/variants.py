"""The variants that every config understands: `configs/X.py:a,b`."""

from typing import Any, NamedTuple

from enas_jax import data, nn, options, settings
from enas_jax.errors import ConfigError, suggest
from enas_jax.spaces import SPACES

_WORDS = ("smoke", "profile=repaired", "profile=faithful")

class Variants(NamedTuple):
  """What the words after a config's colon say."""

  smoke: bool
  profile: str  # repaired, or faithful to the reference and its quirks
  others: list[str]  # words of the config's own

  def shrink(self, config: Any) -> None:
    """Sets the `Small` values of all options in a ConfigDict, in place.

    Only where the config has the option; and not in the space of a training,
    where None is what the arch brings.
    """
    small = data.SMALL[config.task.name]
    config.data.name = small
    source = data.SOURCES[config.task.name]
    training = "strategy" not in config
    split = options.of(source.final if training else source.search)
    parts = {
        "data": {**options.of(data.DATASETS[small]), **split},
        "augment": options.of(data.Augment),
        "child": split,
        "strategy": options.of(settings.Search),
        "derive": options.of(settings.Derive),
    }
    network = nn.NETWORKS.get(config.network.get("name"))
    if network is None:
      space = SPACES[config.space.name]
      parts["space"] = options.of(space)
      network = space().network
    parts["network"] = options.of(network)
    _set_small(config, options.of(settings.Run))
    for name, known in parts.items():
      if name in config:
        _set_small(config[name], known, training and name == "space")


def _set_small(
    block: Any, known: dict[str, options.Option], spare: bool = False
) -> None:
  """Sets the `Small` values in a block; `spare`: not in place of None."""
  for key, option in known.items():
    if key in block and option.small and not (spare and block[key] is None):
      block[key] = option.small.value


def parse(text: str, *others: str) -> Variants:
  """Reads the words after a config's colon; `others` are the config's own."""
  words = [word for word in text.split(",") if word]
  for word in words:
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
  )
