"""Reads and writes archs as text: presets, integers, `arch.json`."""

import itertools
import json
import os
import pathlib
import re
from typing import Any

from enas_jax import options
from enas_jax.errors import ConfigError, one_line, suggest
from enas_jax.types import Arch, SearchSpace

# Where a folder says its arch.
_FILES = (("arch.json",), ("model", "model.json"), ("model.json",))


def parse(key: str, text: str, space: SearchSpace) -> Arch:
  """Returns the arch that a user named, in numpy arrays.

  Args:
    key: The place of the text in the config, for the error.
    text: The name of a preset, the path of an `arch.json`, or of the folder of
      a search or a training, the integers of the published encoding separated
      by spaces or commas, or the space's own notation where it has one.
    space: The space, which reads the integers.

  Raises:
    ConfigError: `text` is none of these, or is no arch of this space.
  """
  try:
    if text in space.presets:
      values = space.presets[text].encoding
    elif found := read(key, text):
      values = found["encoding"]
    else:
      values = space.parse(text)
      if values is None and re.fullmatch(r"[\s\d,\[\]-]+", text):
        values = [int(v) for v in re.findall(r"-?\d+", text)]
    if values is None:
      raise ConfigError(
          key,
          f"{text!r} is no file and no preset. {suggest(text, space.presets)}"
          " Or the path of an arch.json or of its search, or the integers.",
      )
    return space.unflatten(values)
  except ValueError as error:
    raise ConfigError(key, f"{error}.") from None


def read(key: str, text: str) -> dict[str, Any] | None:
  """Returns the content of an `arch.json`.

  Args:
    key: The place of the text in the config, for the error.
    text: The path of the file, of the folder that holds it, or of what a final
      training has left, whose arch it is then.

  Returns:
    None where there is no such file or folder.

  Raises:
    ConfigError: The file is no `arch.json`, or the folder has none.
  """
  if os.path.isdir(text):
    files = [os.path.join(text, *names) for names in _FILES]
    found = [file for file in files if os.path.isfile(file)]
    if not found:
      raise ConfigError(
          key,
          f"the folder {text} has no arch.json, with which a search ends, and"
          " no model/model.json, with which a training does.",
      )
    text = found[0]
  if not os.path.isfile(text):  # a pathlib.Path fails at a long name
    return None
  try:
    content = json.loads(pathlib.Path(text).read_text())
    if "format" in content:  # of a model.json
      content = {**content, **content["arch"]}
    if not isinstance(content["space"]["name"], str):
      raise TypeError("the space has no name")
    if any(type(value) is not int for value in content["encoding"]):
      raise TypeError("the encoding is not of integers")
    return content
  except KeyError as error:
    raise ConfigError(
        key, f"{text} is not an arch.json: it lacks {error}."
    ) from None
  except (ValueError, TypeError, OSError) as error:
    raise ConfigError(
        key, f"{text} is not an arch.json ({one_line(error)})."
    ) from None


def brought(
    key: str, text: str, of: type[SearchSpace], name: str
) -> dict[str, Any]:
  """Returns the options of the space that an arch brings with it.

  A file, or the one of a folder, and a preset bring them; integers do not.

  Args:
    key: The place of the text in the config, for the error.
    text: As in `parse`.
    of: The class of the space.
    name: What the user calls the space.

  Raises:
    ConfigError: The file is no `arch.json`, or one of another space.
  """
  if preset := getattr(of, "presets", {}).get(text):
    return dict(preset.space)
  found = read(key, text)
  if found is None:
    return {}
  values = dict(found["space"])
  own = values.pop("name")
  if own != name:
    raise ConfigError(key, f"{text} is of the space {own!r}, not of {name!r}.")
  try:
    return options.read(of, values, name=name)
  except ConfigError as error:
    raise ConfigError(key, f"of {text}: space.{error}") from None


def record(
    arch: Arch, space: SearchSpace, facts: dict[str, Any]
) -> dict[str, Any]:
  """Returns the content of an `arch.json`.

  It holds `facts`, the integers of the arch, and lines for people.
  """
  return {
      **facts,
      "encoding": space.flatten(arch),
      "readable": described(arch, space),
  }


def described(arch: Arch, space: SearchSpace) -> list[str]:
  """Describes an arch for people.

  Returns:
    A line for each state, and the space's own notation where it has one.
  """
  lines = []
  for name, edges in space.graphs(arch).items():
    for target, group in itertools.groupby(edges, lambda edge: edge.target):
      terms = [
          f"{edge.operation}({edge.source})"
          if edge.operation
          else str(edge.source)
          for edge in group
      ]
      lines.append(f"{name} {target} = {' + '.join(terms)}")
  if notation := space.notation(space.flatten(arch)):
    lines.append(notation)
  return lines
