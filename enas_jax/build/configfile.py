"""The files of experiments: those that come with the package, and others."""

from collections.abc import Callable
import pathlib
from typing import Any

from ml_collections import ConfigDict

from enas_jax import configs, registry
from enas_jax.errors import ConfigError, suggest

_SHIPPED = pathlib.Path(configs.__file__).parent
# Where a config names a part.
NAMES = (
    ("child", "optimiser"),
    *((block, "name") for block in ("space", "data", "strategy", "task")),
    ("network", "name"),
)


def shipped() -> list[str]:
  """Returns the names of the experiments that come with the package."""
  names = (file.stem for file in _SHIPPED.glob("*.py"))
  return sorted(name for name in names if not name.startswith("_"))


def find(key: str, text: str) -> pathlib.Path:
  """Returns the file of an experiment.

  Args:
    key: The key of the error.
    text: The name of one that comes with the package, or the path of a file.

  Raises:
    ConfigError: There is no such file.
  """
  names = shipped()
  path = _SHIPPED / f"{text}.py" if text in names else pathlib.Path(text)
  if path.expanduser().is_file():
    return path.expanduser()
  near = suggest(text, [*names, *path.parent.glob("*.py")])
  raise ConfigError(key, f"there is no file {text!r}. {near}")


def load(key: str, text: str) -> ConfigDict:
  """Runs the file of an experiment, and returns its config.

  A relative path in it, of a part or of its final config, is relative to the
  file; in what is returned it is absolute.

  Args:
    key: The key of the error.
    text: As `find` takes it; what follows a colon is given to `get_config`.

  Raises:
    ConfigError: There is no such file, or it fails, or has no config.
  """
  name, *variant = text.split(":", 1)
  path = find(key, name)
  module = registry.run_file(key, path, name)
  make = getattr(module, "get_config", None)
  if make is None:
    raise ConfigError(key, f"{name} has no function get_config.")
  folder = path.resolve().parent
  with registry.beside(folder), registry.failing(
      key, name, str(path.resolve())
  ):
    config = make(*variant)
  if config is None:
    raise ConfigError(key, f"{name}: its get_config() returns nothing.")
  rename(
      config,
      lambda name: registry.absolute(name, folder),
      lambda file: str((folder / pathlib.Path(file).expanduser()).resolve()),
  )
  return config


def recorded(record: dict[str, Any]) -> dict[str, Any]:
  """Takes the folders off all files that a record names, in place.

  So a run goes on when its user or its files have moved to another folder.
  """
  rename(record, registry.recorded, lambda file: pathlib.Path(file).name)
  return record


def rename(
    config: Any, name: Callable[[str], str], file: Callable[[str], str]
) -> None:
  """Changes what a config says of code, in place.

  Args:
    config: a ConfigDict or a dict.
    name: what becomes of the name of a part; also in recipes.
    file: what becomes of the path of the final config.
  """
  for block, key in NAMES:
    inner = _block(config, block)
    if isinstance(inner.get(key), str):
      inner[key] = name(inner[key])
  for block in ("derive", "retrain"):
    if recipe := _block(config, block).get("config"):
      rename(recipe, name, file)
  retrain = _block(config, "retrain")
  path, *variant = str(retrain.get("command") or "").split(":", 1)
  if path and path not in shipped():
    retrain["command"] = ":".join([file(path), *variant])


def _block(config: Any, name: str) -> Any:
  """Returns a block of a ConfigDict or a dict; {} where there is none."""
  kinds = (ConfigDict, dict)
  inner = config.get(name) if isinstance(config, kinds) else None
  return inner if isinstance(inner, kinds) else {}
