"""The variants that every config understands: `configs/X.py:a,b`."""

from typing import Any, NamedTuple

from enas_jax.errors import ConfigError, suggest

_WORDS = ("smoke", "profile=repaired", "profile=faithful")

# What makes every stage run in seconds, where a config has the key.
_SMALL = {
    "epochs": 2,
    "data.name": "synthetic",
    "data.valid": 64,
    "data.eval_batch": 64,
    "data.size": 8,
    "augment.pad": 1,
    "data.length": 8,
    "space.nodes": 2,
    "space.layers": 3,
    "network.cells": 1,
    "network.filters": 4,
    "network.hidden": 8,
    "child.batch": 32,
    "strategy.steps": 2,
    "strategy.archs": 2,
    "strategy.warmup": 0,
    "derive.archs": 3,
    "derive.random": 3,
    "derive.top": 2,
}


class Variants(NamedTuple):
  """What the words after a config's colon say."""

  smoke: bool
  profile: str  # repaired, or faithful to the reference and its quirks
  others: list[str]  # words of the config's own

  def shrink(self, config: Any) -> None:
    """Sets the smoke values in a ConfigDict, in place."""
    for key, value in _SMALL.items():
      block, _, name = key.rpartition(".")
      inner = config
      if block:
        inner = config.get(block, {})
      if name in inner:
        inner[name] = value


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
