"""Recipes: how a search trains what it finds, without what it decides."""

import glob
import os
import runpy
from typing import Any

from ml_collections import ConfigDict

from enas_jax.build import parts
from enas_jax.errors import ConfigError, one_line, suggest

# What the recipe of `derive` or `retrain` takes over from its search, beside
# the space: these keys; the data, and what they bear.
_ALIKE = ("seed", "dtype", "devices")
_SAME = (
    ("data", "name"),
    ("data", "path"),
    ("data", "size"),
    ("augment", "pad"),
    ("augment", "flip"),
    ("data", "length"),
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
  pairs = [("", key) for key in _ALIKE] + [*_SAME]
  for own, key in pairs:
    there = config.get(own, {}) if own else config
    if key in there:
      if own and own not in final:
        final[own] = ConfigDict()
      (final[own] if own else final)[key] = there[key]
  final.space = ConfigDict(config.space.to_dict())
  if "data" not in final:
    final.data = ConfigDict()
  final.data.measure = measure
  if measure == "valid" and "valid" in config.data:
    final.data.valid = config.data.valid
  return final


def _split(key: str) -> tuple[str, str]:
  block, _, name = key.rpartition(".")
  return block, name


def command(text: str, record: dict[str, Any]) -> tuple[str, ...]:
  """Returns the flags of a training like the search of this record.

  Args:
    text: path of the final config, and its variant.
    record: of the search.

  Raises:
    ConfigError: there is no such file, it fails, or trains no such arch.
  """
  _check_command(text, record["space"]["name"])
  pairs = [(key, record.get(key)) for key in _ALIKE]
  pairs += [
      (f"{block}.{key}", record.get(block, {}).get(key))
      for block, key in _SAME
  ]
  return (
      f"--config={text}",
      *(f"--config.{key}={value}" for key, value in pairs if value is not None),
  )


def _check_command(text: str, space: str) -> None:
  """Raises ConfigError unless the file of the command trains an arch."""
  key = "retrain.command"
  if not text:
    raise ConfigError(
        key,
        "is required where config.retrain.config is empty: the final config"
        " that the last line of the search names.",
    )
  path, *variant = text.split(":", 1)
  if not os.path.isfile(path):
    near = suggest(path, glob.glob("configs/*_final.py"))
    raise ConfigError(key, f"there is no file {path!r}. {near}")
  try:
    final = runpy.run_path(path)["get_config"](*variant)
  except ConfigError as error:  # of the variant
    raise ConfigError(key, f"{text!r}: {error.message}") from None
  except Exception as error:  # anything can happen in a user's file
    raise ConfigError(key, f"{path} fails: {one_line(error)}") from None
  name = final.get("space", {}).get("name")
  if "arch" not in final or name != space:
    raise ConfigError(
        key,
        f"must be a final config of the space {space!r}, got a"
        f" {'final config' if 'arch' in final else 'search'} of {name!r}.",
    )
