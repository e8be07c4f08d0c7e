"""Recipes: how a search trains what it finds, without what it decides."""

from collections.abc import Callable, Iterable
from typing import Any

from ml_collections import ConfigDict

from enas_jax import registry, settings
from enas_jax.build import configfile, parts
from enas_jax.errors import ConfigError

# What the recipe of `derive` or `retrain` takes over from its search, beside
# the space: these keys; the data, what they bear, and the stem, which is as
# deep as the pictures are large.
_ALIKE = ("seed", "dtype", "devices")
_SAME = (
    ("data", "name"),
    ("data", "path"),
    ("data", "size"),
    ("data", "limit"),
    ("data", "stream"),
    ("data", "workers"),
    ("augment", "pad"),
    ("augment", "flip"),
    ("network", "stem"),
    ("data", "length"),
    ("data", "vocabulary"),
    ("data", "unit"),
)
# What a recipe does not say, since its search does, or what it finds.
_TAKEN = (
    *("space", "arch", "init", *_ALIKE),
    *(".".join(pair) for pair in _SAME),
    *("data.measure", "data.valid"),
)


def recipe(config: ConfigDict) -> ConfigDict:
  """Returns a config that trains, without what its search decides.

  A config file puts it at `derive.config` or `retrain.config`.
  """
  config = ConfigDict(config.to_dict())
  for key in _TAKEN:
    block, name = _split(key)
    inner = config.get(block, {}) if block else config
    if name in inner:
      del inner[name]
  return config


def completed(config: ConfigDict, block: str, measure: str) -> ConfigDict:
  """Returns the recipe of a block, with what the search decides.

  Args:
    config: of the search.
    block: "derive" or "retrain".
    measure: the split that the training is measured on.

  Raises:
    ConfigError: the recipe is no config, or says what the search does.
  """
  recipe = config[block].config
  parts.check_form(f"{block}.config", recipe)
  final = ConfigDict(recipe.to_dict())
  for key in _TAKEN:
    own, name = _split(key)
    if name in (final.get(own, {}) if own else final):
      raise ConfigError(
          f"{block}.config.{key}",
          "does nothing here: the search says it, or finds it. Leave it out,"
          " as enas_jax.build.recipe does.",
      )
  _follow(config, final, [("", key) for key in _ALIKE] + [*_SAME])
  final.space = ConfigDict(config.space.to_dict())
  if "data" not in final:
    final.data = ConfigDict()
  final.data.measure = measure
  if measure == "valid" and "valid" in config.data:
    final.data.valid = config.data.valid
  return final


def _follow(
    config: ConfigDict, final: ConfigDict, pairs: Iterable[tuple[str, str]]
) -> None:
  """Copies what a search says of pairs (block, key) to a final config."""
  for own, key in pairs:
    there = config.get(own, {}) if own else config
    if key in there:
      if own and own not in final:
        final[own] = ConfigDict()
      (final[own] if own else final)[key] = there[key]


def network(
    config: ConfigDict, make: Callable, source: Any, run: settings.Run
) -> Any:
  """Returns the network that what a search derives is trained as.

  Args:
    config: of the search, which names a final config or holds a recipe.
    make: makes the network of the search's space.
    source: the data of the search.
    run: the settings of the search.

  Raises:
    ConfigError: there is no such config, or its network cannot be.
  """
  retrain = parts.block(config, "retrain", settings.Retrain, ("config",))
  if config.get("retrain", {}).get("config"):
    final = completed(config, "retrain", "test")
    with parts.inside("retrain.config"):
      return parts.network(final, make, source, run)
  final = ConfigDict(_named(retrain.command, config.space.name).to_dict())
  _follow(config, final, [pair for pair in _SAME if pair[0] == "network"])
  try:
    return parts.network(final, make, source, run)
  except ConfigError as error:
    raise ConfigError(
        "retrain.command", f"{retrain.command!r}: config.{error}"
    ) from None


def _split(key: str) -> tuple[str, str]:
  block, _, name = key.rpartition(".")
  return block, name


def command(config: ConfigDict) -> tuple[str, ...]:
  """Returns the flags of the training that a search's last line names.

  Raises:
    ConfigError: there is no such file, it fails, or trains no such arch.
  """
  text = config.get("retrain", {}).get("command", "")
  _named(text, config.space.name)
  pairs = [(key, config.get(key)) for key in _ALIKE]
  pairs += [
      (f"{block}.{key}", config.get(block, {}).get(key))
      for block, key in _SAME
  ]
  return (
      f"--config={text}",
      *(f"--config.{key}={value}" for key, value in pairs if value is not None),
  )


def _named(text: str, space: str) -> ConfigDict:
  """Returns the final config that a command names.

  Raises:
    ConfigError: there is no such file, it fails, or trains no such arch.
  """
  key = "retrain.command"
  if not text:
    raise ConfigError(
        key,
        "is required where config.retrain.config is empty: the final config"
        " that the last line of the search names.",
    )
  try:
    final = configfile.load(key, text)
  except ConfigError as error:
    if error.key == key:
      raise
    # Of the variant.
    raise ConfigError(key, f"{text!r}: {error.message}") from None
  name = final.get("space", {}).get("name")
  same = name and registry.recorded(name) == registry.recorded(space)
  if "arch" not in final or not same:
    raise ConfigError(
        key,
        f"must be a final config of the space {space!r}, got a"
        f" {'final config' if 'arch' in final else 'search'} of {name!r}.",
    )
  return final
