"""The space of a config, and what an arch brings to it.

Keys in errors are as in the config, without "config." before them.
"""

from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from enas_jax import archfile, options, registry
from enas_jax.build import parts
from enas_jax.errors import ConfigError
from enas_jax.spaces import base, SPACES
from enas_jax.types import SearchSpace


def read(
    config: ConfigDict, brought: dict[str, Any]
) -> tuple[SearchSpace, dict[str, Any]]:
  """Returns the space of a config, and what `config.space` then says.

  Args:
    config: says the options of the space; in a training None is what the
      arch brings, or else the default.
    brought: the options that the arch brings.
  """
  of, said = part(config)
  name = config.space.name
  if parts.is_training(config):
    said = {key: value for key, value in said.items() if value is not None}
  for key, value in brought.items():
    if said.get(key, value) != value:
      raise ConfigError(
          f"space.{key}",
          f"is {said[key]!r}, but config.arch={config.arch!r} is of"
          f" {value!r}. Leave one of them out.",
      )
  with parts.inside("space"):
    values = options.read(of, {**said, **brought}, name=name)
    with registry.calling("name", name):
      made = of(**values)
      _check(name, made)
    return made, {"name": name, **values}


def part(config: ConfigDict) -> tuple[Callable, dict[str, Any]]:
  """Returns what makes the space of a config, and the values for it.

  A name may stand for a space that is made already, which has no options.
  """
  of, values = parts.named(config, "space", SPACES)
  base.refuse_network("space.name", config.space.name, of)
  return of if callable(of) else lambda: of, values


def _check(name: str, made: Any) -> None:
  """Raises ConfigError unless a space has all members that a run may need."""
  needed = {*vars(SearchSpace), *SearchSpace.__annotations__, "module"}
  of, default = type(made), base.Space
  if getattr(of, "network", None) is not default.network:  # needs no module
    needed -= {"module"}
  what = "a space (enas_jax.spaces.base.Space)"
  needed = [each for each in sorted(needed) if not each.startswith("_")]
  registry.demand("name", name, made, needed, what)
  if getattr(of, "decode", None) is default.decode:
    raise ConfigError(
        "name", f"{name!r} must make {what}; {of.__name__!r} lacks decode."
    )


def brought(config: ConfigDict) -> dict[str, Any]:
  """Returns the options of the space that `config.arch` brings with it.

  A file, or the one of a folder, and a preset bring them; integers do not.
  """
  of, _ = part(config)
  text = options.checked("arch", config.arch, options.Path)
  name = registry.recorded(config.space.name)
  return archfile.brought("arch", text, of, name)
