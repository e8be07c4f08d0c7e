"""The files of a trained model: `model.json` and `weights.safetensors`.

Nothing in them is code, and nothing of them is believed: `read` checks types
and bounds, `weights` what the header says against what the network needs,
before either takes memory for it.
"""

from collections.abc import Callable
import functools
import hashlib
import json
import math
import os
import pathlib
from typing import Annotated, Any, Literal, NotRequired

from annotated_types import MaxLen, MinLen
import jax
import numpy as np
import pydantic
import safetensors
from safetensors.numpy import save
from typing_extensions import TypedDict

import enas_jax
from enas_jax import archfile, folder, optim
from enas_jax.data.words import SPLITTERS
from enas_jax.derive.outcome import config_hash
from enas_jax.errors import ConfigError, one_line
from enas_jax.options import Count, Ge, Le
from enas_jax.plan import Plan
from enas_jax.types import SearchState

FORMAT = 1
FOLDER, JSON, WEIGHTS = "model", "model.json", "weights.safetensors"

_MOST = 64 << 20  # bytes of a model.json; a large vocabulary has one
_SHOWN = 300  # characters of an error
_FAR = 1e6  # from a pixel
_CHUNK = 1 << 20  # bytes that are hashed together
_STRICT = pydantic.ConfigDict(strict=True, allow_inf_nan=False)
# What safetensors calls a type of numpy.
_TYPES = {
    "bfloat16": "BF16",
    "bool": "BOOL",
    "float16": "F16",
    "float32": "F32",
    "float64": "F64",
    "int32": "I32",
    "int64": "I64",
    "uint32": "U32",
    "uint8": "U8",
}

_Side = Annotated[int, Ge(1), Le(8192)]
_Part = dict[str, Any]  # "name", and the options


class ArchFacts(TypedDict):
  """The architecture; `readable` is for people."""

  encoding: list[int]
  readable: list[str]


class ImageFacts(TypedDict):
  """How pixels become numbers, and what the outputs are called."""

  shape: Annotated[list[_Side], MinLen(3), MaxLen(3)]
  # Of pixels in [0, 1]. What float32 has not would make every number NaN.
  mean: list[Annotated[float, Ge(-_FAR), Le(_FAR)]]
  std: list[Annotated[float, Ge(1 / _FAR), Le(_FAR)]]
  classes: Annotated[list[str], MinLen(1)]


class TextFacts(TypedDict):
  """How words become numbers, and how the text was cut that was measured."""

  vocabulary: list[str] | None
  splitter: Literal[tuple(SPLITTERS)]
  rows: Count
  length: Annotated[Count, Le(1 << 20)]


class WeightsFacts(TypedDict):
  """What `weights.safetensors` has to be."""

  sha256: str


class Content(TypedDict):
  """What `model.json` holds."""

  format: int
  space: _Part | None
  arch: ArchFacts
  network: _Part
  task: _Part
  images: NotRequired[ImageFacts]
  text: NotRequired[TextFacts]
  metrics: dict[str, Any]
  config_hash: str
  versions: dict[str, str]
  weights: WeightsFacts


for _each in (ArchFacts, ImageFacts, TextFacts, WeightsFacts, Content):
  _each.__pydantic_config__ = _STRICT
_CONTENT = pydantic.TypeAdapter(Content)


def write(
    path: pathlib.Path,
    plan: Plan,
    state: SearchState,
    result: dict[str, Any],
) -> None:
  """Writes the folder of a trained model whole, or nothing.

  Args:
    path: the folder; one of an earlier try is replaced.
    plan: of the training.
    state: after the last step.
    result: what `result.json` holds.
  """
  experiment = plan.experiment
  variables = {"params": optim.measured(state.params, state.opt_state)}
  if not experiment.held.carried:  # else it is of the last text that was read
    variables["state"] = state.model_state
  arrays = {
      name: np.asarray(leaf)
      for name, leaf in named(jax.device_get(variables)).items()
  }
  with folder.whole(path) as draft:
    # Not `save_file`, whose file only its owner may read.
    (draft / WEIGHTS).write_bytes(save(arrays))
    content = _content(plan, result, _hash(draft / WEIGHTS))
    # A part of a stranger may have values that JSON has not: they must not lose
    # what was trained.
    words = json.dumps(content, indent=2, default=repr)
    (draft / JSON).write_text(words + "\n", encoding="utf-8")


def _content(plan: Plan, result: dict[str, Any], digest: str) -> Content:
  facts, arch, space = plan.facts, plan.experiment.arch, plan.space
  return {
      "format": FORMAT,
      "space": facts.space,
      "arch": {
          "encoding": space.flatten(arch) if space else [],
          "readable": archfile.described(arch, space) if space else [],
      },
      "network": facts.network,
      "task": facts.task,
      **_reads(plan),
      "metrics": result,
      "config_hash": config_hash(plan.record),
      "versions": {
          "enas_jax": enas_jax.__version__,
          "jax": jax.__version__,
      },
      "weights": {"sha256": digest},
  }


def _reads(plan: Plan) -> dict[str, Any]:
  """Returns how what people bring becomes numbers."""
  held = plan.experiment.held
  read = getattr(held.shapes(), "words", None)
  if held.carried and read is not None:
    (rows, length), words = read.shape, held.preprocess
    return {
        "text": {
            "vocabulary": list(words.vocabulary) if words else None,
            "splitter": words.splitter if words else next(iter(SPLITTERS)),
            "rows": rows,
            "length": length,
        }
    }
  if held.preprocess is None or held.carried:
    return {}
  return {
      "images": {
          "shape": list(held.preprocess.shape),
          "mean": list(held.preprocess.mean),
          "std": list(held.preprocess.std),
          "classes": list(plan.facts.classes),
      }
  }


def find(path: str | os.PathLike) -> pathlib.Path:
  """Returns the `model.json` of a run's folder, or of its `model/`.

  Raises:
    ConfigError: there is none; the key is the path.
  """
  root = pathlib.Path(path).expanduser()
  for place in (root, root / FOLDER):
    if (place / JSON).is_file():
      return place / JSON
  if not root.is_dir():
    raise ConfigError(str(path), "there is no such folder.")
  inner = root / "retrain" / "derived"
  hint = f" Take {inner}." if (inner / FOLDER / JSON).is_file() else ""
  raise ConfigError(
      str(path),
      f"has no {FOLDER}/{JSON}, with which a final training ends.{hint}",
  )


def read(file: pathlib.Path) -> Content:
  """Returns what a `model.json` holds, of the types that `Content` says.

  Raises:
    ConfigError: it is broken, or of another format.
  """
  if (size := file.stat().st_size) > _MOST:
    raise ConfigError(str(file), f"{size:,} bytes are too many.")
  try:
    content = json.loads(file.read_bytes())
  except (OSError, ValueError, RecursionError) as error:
    raise broken(file, error) from None
  version = content.get("format") if isinstance(content, dict) else None
  if type(version) is not int:
    raise ConfigError(str(file), f"is not a {JSON} of enas_jax.")
  if version != FORMAT:
    raise ConfigError(
        str(file),
        f"is of format {version}; this enas_jax {enas_jax.__version__} reads"
        f" {FORMAT}.",
    )
  try:
    return _CONTENT.validate_python(content)
  except pydantic.ValidationError as error:
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"]))
    raise broken(file, ValueError(f"{place}: {first['msg']}")) from None


def weights(
    file: pathlib.Path, digest: str, wanted: Callable[[int, int], Any]
) -> Any:
  """Returns the arrays of a `weights.safetensors`.

  Args:
    file: its path.
    digest: its SHA-256, hexadecimal.
    wanted: (how many numbers the file can hold at most, how many arrays it
      holds) -> the tree of the arrays' shapes.

  Raises:
    ConfigError: the file is not the one that was written, or its arrays are
      not those of the network.
  """
  try:
    if _hash(file) != digest:
      raise ConfigError(
          str(file), f"is damaged, or not the file of its {JSON}."
      )
    with safetensors.safe_open(file, framework="numpy") as opened:
      names = list(opened.keys())
      held = {name: opened.get_slice(name) for name in names}
      form = {
          name: (tuple(each.get_shape()), each.get_dtype())
          for name, each in held.items()
      }
      count = sum(math.prod(shape) for shape, _ in form.values())
      tree = wanted(count, len(names))
      expected = {
          name: (tuple(leaf.shape), _TYPES.get(str(leaf.dtype)))
          for name, leaf in named(tree).items()
      }
      if odd := sorted(
          name
          for name in {*form, *expected}
          if form.get(name) != expected.get(name)
      ):
        raise ConfigError(
            str(file),
            f"its arrays are not those of the network: {odd[0][:_SHOWN]} is"
            f" {_form(form.get(odd[0]))}, not {_form(expected.get(odd[0]))}.",
        )
      arrays = {name: opened.get_tensor(name) for name in form}
  except (OSError, safetensors.SafetensorError) as error:
    raise broken(file, error) from None
  order = [arrays[name] for name in named(tree)]
  return jax.tree.unflatten(jax.tree.structure(tree), order)


def broken(file: pathlib.Path, error: Exception) -> ConfigError:
  """Returns the line that says that a file cannot be used."""
  return ConfigError(str(file), f"cannot be used ({one_line(error)[:_SHOWN]}).")


def named(tree: Any) -> dict[str, Any]:
  """Returns the leaves of a tree by their path, `params/stem/kernel`."""
  name = functools.partial(
      jax.tree_util.keystr, simple=True, separator="/"
  )
  leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {name(path): leaf for path, leaf in leaves}


def _form(form: tuple | None) -> str:
  return f"{form[1]}{list(form[0])}" if form else "absent"


def _hash(file: pathlib.Path) -> str:
  digest = hashlib.sha256()
  with file.open("rb") as opened:
    while chunk := opened.read(_CHUNK):
      digest.update(chunk)
  return digest.hexdigest()
