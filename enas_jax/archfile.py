"""Reads and writes archs as text: presets, integers, `arch.json`."""

from collections.abc import Callable, Sequence
import difflib
import itertools
import json
import os
import pathlib
import re
from typing import Any

import jax
import numpy as np

from enas_jax import options
from enas_jax.errors import ConfigError, one_line
from enas_jax.types import Arch, Head, SearchSpace

# Where a folder says its arch.
_FILES = (("arch.json",), ("model", "model.json"), ("model.json",))
_MOST = 1 << 24  # bytes of such a file
# What does not stand between integers, as programs print them.
_ODD = re.compile(r"[^\s\d,()\[\]-]+")


def parse(key: str, text: str, space: SearchSpace) -> Arch:
  """Returns the arch that a user named, in numpy arrays.

  Args:
    key: The place of the text in the config, for the error.
    text: The name of a preset, the path of an `arch.json`, or of the folder of
      a search or a training, the integers of the published encoding separated
      by spaces or commas, the space's own notation where it has one, or the
      path of a file of these integers or this notation.
    space: The space, which reads the integers.

  Raises:
    ConfigError: `text` is none of these, or is no arch of this space; it lists
      the forms that this space reads.
  """
  try:
    if text in space.presets:
      values = space.presets[text].encoding
    elif found := _read(key, text, space):
      values = found["encoding"]
      if isinstance(values, str):
        values = _written(values, space, f"{text}, ")
    else:
      values = _written(text, space)
    return space.unflatten(values)
  except ValueError as error:
    end = "" if str(error).endswith("?") else "."
    raise ConfigError(key, f"{error}{end} {forms(space)}") from None


def forms(space: SearchSpace | Callable[..., SearchSpace]) -> str:
  """Lists the forms in which a space reads an arch, as a sentence.

  Args:
    space: The space, or what makes one whose options are not known.
  """
  presets = sorted(getattr(space, "presets", ()))
  known = [f"a preset ({', '.join(presets)})"] if presets else []
  known.append("the path of an arch.json or of the folder of a run")
  count = ""
  if not callable(space):
    schedule = space.schedule
    mask = np.asarray(schedule.mask)
    first = mask & (mask.cumsum(1) == 1)
    first &= np.asarray(schedule.head)[:, None] != Head.SKIP
    values = space.flatten(jax.device_get(space.decode(first)))
    count = f"{len(values)} "
    if notation := space.notation(values):
      known.append(f"the notation {notation}")
  return (
      f"This space reads {', '.join(known)}, {count}integers, or the path of a"
      " file of integers."
  )


def _written(text: str, space: SearchSpace, file: str = "") -> Sequence[int]:
  """Returns the integers of a text that holds them, or the space's notation.

  Args:
    text: What a user wrote.
    space: The space, which reads its notation.
    file: The file that the text is of, for the error; "": it is of no file.

  Raises:
    ValueError: Another word is in the text.
  """
  values = space.parse(text)
  if values is not None:
    return values
  for number, line in enumerate(text.splitlines(), 1):
    if odd := _ODD.search(line):
      if file:
        raise ValueError(f"{file}line {number}: {odd[0]!r:.80} is no integer")
      near = difflib.get_close_matches(text, space.presets, n=1)
      hint = f". Did you mean {near[0]!r}?" if near else ""
      raise ValueError(f"{text!r} is no file and no preset{hint}")
  if not file and not text.strip():
    raise ValueError(f"{text!r} is no file and no preset")
  return [int(value) for value in re.findall(r"-?\d+", text)]


def read(key: str, text: str) -> dict[str, Any] | None:
  """Returns the content of an `arch.json`.

  Args:
    key: The place of the text in the config, for the error.
    text: The path of the file, of the folder that holds it, or of what a final
      training has left, whose arch it is then.

  Returns:
    None where there is no such file or folder. Of a file that holds no object
    of JSON, its text is the "encoding", and nothing else is known.

  Raises:
    ConfigError: The file is no `arch.json`, or the folder has none.
  """
  text = os.path.expanduser(text)
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
    if os.path.getsize(text) > _MOST:
      raise ValueError(f"more than {_MOST:,} bytes")
    words = pathlib.Path(text).read_text(encoding="utf-8-sig")
    if not words.lstrip().startswith("{"):
      return {"encoding": words}
    content = json.loads(words)
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
  except (ValueError, TypeError, OSError, RecursionError) as error:
    raise ConfigError(
        key, f"{text} is not an arch.json ({one_line(error)})."
    ) from None


def _read(key: str, text: str, space: Any) -> dict[str, Any] | None:
  """Does what `read` does; its error lists the `forms` of a space."""
  try:
    return read(key, text)
  except ConfigError as error:
    raise ConfigError(key, f"{error.message} {forms(space)}") from None


def brought(
    key: str, text: str, of: Callable[..., SearchSpace], name: str
) -> dict[str, Any]:
  """Returns the options of the space that an arch brings with it.

  A file, or the one of a folder, and a preset bring them; integers do not.

  Args:
    key: The place of the text in the config, for the error.
    text: As in `parse`.
    of: The class of the space, or a function that makes it.
    name: What the user calls the space.

  Raises:
    ConfigError: The file is no `arch.json`, or one of another space.
  """
  if preset := getattr(of, "presets", {}).get(text):
    return dict(preset.space)
  found = _read(key, text, of)
  if found is None or "space" not in found:
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
