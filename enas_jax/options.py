"""The options of a part: type, bounds, default and one line of help.

A part is what the config names: a space, a network, a strategy, a task, an
optimiser, a data set, or the settings of a run. It is a function, a dataclass
or a flax module. Its options are its parameters: an annotation gives type and
bounds, the docstring (`Args:` or `Attributes:`) the line of help. So a part
says everything where it is defined, whoever wrote it:

  def load(*, path: str, size: Annotated[int, Ge(1)] | None = None) -> Source:

`read` checks a block of the config against them. pydantic does the checking,
strictly: no text is taken for a number, and no number for a truth value.
"""

from collections.abc import Callable, Mapping
import dataclasses
import functools
import inspect
import os
import types
import typing
from typing import Annotated, Any, NamedTuple

import annotated_types
from annotated_types import Ge, Gt, Le, Lt
import docstring_parser
from flax import linen as nn
import pydantic

from enas_jax.errors import ConfigError, suggest

__all__ = [
    "Count",
    "Decay",
    "Ge",
    "Gt",
    "Keep",
    "Le",
    "Lt",
    "NonNegative",
    "Option",
    "Path",
    "Positive",
    "Seed",
    "Small",
    "Whole",
    "checked",
    "of",
    "read",
    "words",
]

Count = Annotated[int, Ge(1)]  # of things of which there is at least one
Whole = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Lt(2**32)]
Positive = Annotated[float, Gt(0)]
NonNegative = Annotated[float, Ge(0)]
Decay = Annotated[float, Ge(0), Lt(1)]
Keep = Annotated[float, Gt(0), Le(1)]  # the probability that something is kept


def _home(value: Any) -> str:
  """Returns a path with the home folder in the place of a leading "~"."""
  if not isinstance(value, str):
    raise ValueError("no text")
  return os.path.expanduser(value)


# A path that the user names; "" is none. It is no `str` to pydantic, since a
# name that is not UTF-8 is none.
Path = Annotated[Any, pydantic.PlainValidator(_home)]

_STRICT = pydantic.ConfigDict(
    strict=True, allow_inf_nan=False, arbitrary_types_allowed=True
)
_KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Any: "text",  # of a path: what is truly any is never refused
    type(None): "None",
}
_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_OF_FLAX = ("parent", "name")  # fields of every flax module


@dataclasses.dataclass(frozen=True)
class Small:
  """The value of an option in the `:smoke` variant, beside its annotation."""

  value: Any


class Option(NamedTuple):
  """One option of a part."""

  annotation: Any  # a type, which may be Annotated
  default: Any  # inspect.Parameter.empty: it must be given
  help: str  # one line; "" where the docstring has none

  @property
  def required(self) -> bool:
    return self.default is inspect.Parameter.empty

  @property
  def small(self) -> Small | None:
    """Returns the value for `:smoke`, where the part has one."""
    extras = typing.get_args(self.annotation)[1:]
    return next((e for e in extras if isinstance(e, Small)), None)


def of(part: Callable, ours: tuple[str, ...] = ()) -> dict[str, Option]:
  """Returns the options of a part by name.

  Args:
    part: a function, a dataclass or a flax module, or a partial of one, whose
      own keywords are no options.
    ours: parameters that do not come from the config.

  Raises:
    ConfigError: an annotation names something that its file does not know.
  """
  if isinstance(part, functools.partial):
    return of(part.func, (*ours, *part.keywords))
  hinted = [part]
  if isinstance(part, type):  # its fields, or the parameters of its making
    hinted.append(part.__init__)
  hints = {}
  for each in hinted:
    try:
      hints.update(
          typing.get_type_hints(inspect.unwrap(each), include_extras=True)
      )
    except NameError as error:
      # A dataclass says all in its fields; its `__init__` has the names of this
      # file alone, and its base may be of another.
      if each is not part and dataclasses.is_dataclass(part):
        continue
      raise ConfigError(
          "annotations",
          f"those of {part.__qualname__} cannot be read: {error}.",
      ) from None
  helps, foreign = _helps(part), set(ours)
  if isinstance(part, type) and issubclass(part, nn.Module):
    foreign.update(_OF_FLAX)
  options = {}
  for name, parameter in inspect.signature(part).parameters.items():
    if name in foreign or parameter.kind in _VARIABLE:
      continue
    annotation = hints.get(name, Any)
    options[name] = Option(annotation, parameter.default, helps.get(name, ""))
  return options


def _helps(part: Callable) -> dict[str, str]:
  """Returns the lines of help in the docstrings of a part and its bases."""
  helps = {}
  for each in reversed(getattr(part, "__mro__", (part,))):
    found = docstring_parser.parse(inspect.cleandoc(each.__doc__ or ""))
    for entry in found.params:
      helps[entry.arg_name] = " ".join((entry.description or "").split())
  return helps


def read(
    part: Callable,
    values: Mapping[str, Any],
    *,
    name: str = "",
    ours: tuple[str, ...] = (),
) -> dict[str, Any]:
  """Checks values against the options of a part and returns them.

  Args:
    part: as `of` takes it.
    values: by the option's name, as the user gave them.
    name: what the user calls the part, for errors.
    ours: parameters that do not come from the user.

  Raises:
    ConfigError: an option that the part does not have, one that it needs, or
      a value of another type or out of bounds. Its key is the option's name.
  """
  options = of(part, ours)
  whose = f" of {name!r}" if name else ""
  out = {}
  for key, value in values.items():
    if key not in options:
      raise ConfigError(key, f"no such key{whose}. {suggest(key, options)}")
    out[key] = checked(key, value, options[key].annotation)
  for key, option in options.items():
    if option.required and key not in values:
      needed = f"{name!r} needs it" if name else "is required"
      rest = f": {option.help}" if option.help else "."
      raise ConfigError(key, needed + rest)
  return out


def checked(key: str, value: Any, annotation: Any) -> Any:
  """Returns `value`, of the type of `annotation` and within its bounds.

  Raises:
    ConfigError: it is not.
  """
  try:
    adapter = pydantic.TypeAdapter(annotation, config=_STRICT)
  except pydantic.PydanticUserError:  # the type has rules of its own
    adapter = pydantic.TypeAdapter(annotation)
  try:
    return adapter.validate_python(value)
  except pydantic.ValidationError:
    pass
  choices = _choices(annotation)
  near = f" {suggest(value, choices)}" if choices else ""
  wanted = "one of the choices" if choices else words(annotation)
  raise ConfigError(key, f"must be {wanted}, got {value!r}.{near}")


def _choices(annotation: Any) -> tuple:
  """Returns the values of a Literal; nothing of any other type."""
  if typing.get_origin(annotation) is Annotated:
    annotation = typing.get_args(annotation)[0]
  if typing.get_origin(annotation) is typing.Literal:
    return typing.get_args(annotation)
  return ()


def words(annotation: Any) -> str:
  """Returns in words what a value of the type is, with its bounds."""
  origin, args = typing.get_origin(annotation), typing.get_args(annotation)
  if origin is Annotated:
    inner, *extras = args
    bounds = " and ".join(filter(None, map(_bound, extras)))
    return f"{words(inner)} {bounds}".rstrip()
  if origin in (typing.Union, types.UnionType):
    return " or ".join(map(words, args))
  if origin is typing.Literal:
    return " or ".join(map(repr, args))
  if annotation in _KINDS:
    return _KINDS[annotation]
  return f"of type {getattr(annotation, '__name__', annotation)}"


def _bound(extra: Any) -> str:
  if isinstance(extra, annotated_types.GroupedMetadata):  # several in one
    return " and ".join(filter(None, map(_bound, extra)))
  for name, sign in _SIGNS.items():
    if hasattr(extra, name):
      return f"{sign} {getattr(extra, name):.10g}"
  return ""
