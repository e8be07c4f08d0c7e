"""Options of parts: what they may be is said where they are defined."""

from __future__ import annotations

import dataclasses
import functools
from typing import Annotated, Literal, NamedTuple, Optional

from flax import linen as nn
import pytest

from enas_jax import options, settings
from enas_jax.data import folder, ptb, tfds
from enas_jax.errors import ConfigError
from enas_jax.options import Count, Decay, Ge, Keep, Positive, Small


def part(
    space,
    *,
    rate: float | None = None,
    wide: Optional[int] = 3,  # noqa: UP045, as users write it
    on: bool = False,
    kind: Literal["one", "two"] = "one",
    size: Annotated[Count, Small(2)] = 8,
    decay: Decay = 0.9,
    other=None,
):
  """Does nothing.

  Args:
    space: not the user's.
    rate: how fast,
      in two lines.
    size: how large.
  """


class Tuple(NamedTuple):
  """A record.

  Attributes:
    keep: a probability.
  """

  keep: Keep = 0.5


@dataclasses.dataclass(frozen=True)
class Data:
  """A dataclass."""

  keep: Keep


class Module(nn.Module):
  """A network."""

  name: str = ""  # of every flax module, and no option
  keep: Keep = 0.5


class Plain:
  """A class of an own kind."""

  def __init__(self, keep: Keep = 0.5):
    self.keep = keep


def read(values):
  return options.read(part, values, name="part", ours=("space",))


def test_a_part_says_type_default_help_and_the_value_for_smoke():
  found = options.of(part, ("space",))
  assert list(found) == ["rate", "wide", "on", "kind", "size", "decay", "other"]
  assert found["rate"].help == "how fast, in two lines."
  assert found["wide"].help == ""
  assert found["size"].small == Small(2) and found["rate"].small is None
  assert found["size"].default == 8 and not found["size"].required


@pytest.mark.parametrize("kind", [Tuple, Data, Module, Plain])
def test_every_kind_of_part_has_options(kind):
  assert list(options.of(kind)) == ["keep"]
  assert options.read(kind, {"keep": 1}) == {"keep": 1.0}
  with pytest.raises(ConfigError, match=r"^keep: .* > 0 and <= 1, got"):
    options.read(kind, {"keep": 1.5})


def test_what_is_given_already_is_no_option():
  given = functools.partial(part, None, size=3)
  assert "size" not in options.of(given, ("space",))


@pytest.mark.parametrize("values", [
    {"rate": None}, {"rate": 0.1}, {"wide": None}, {"on": True},
    {"kind": "two"}, {"size": 1}, {"decay": 0.0}, {"other": object()}, {},
])
def test_what_is_within_bounds_is_returned(values):
  assert read(values) == values


def test_a_whole_number_is_a_number():
  found = read({"rate": 1})
  assert found == {"rate": 1.0} and isinstance(found["rate"], float)


@pytest.mark.parametrize("key, value, wanted", [
    ("rate", "0.1", "must be a number or None, got '0.1'."),
    ("rate", True, "must be a number or None, got True."),
    ("rate", float("nan"), "must be a number or None, got nan."),
    ("wide", 1.5, "must be a whole number or None, got 1.5."),
    ("on", "False", "must be true or false, got 'False'."),
    ("on", 0, "must be true or false, got 0."),
    ("size", 0, "must be a whole number >= 1, got 0."),
    ("size", True, "must be a whole number >= 1, got True."),
    ("size", (1, 2), "must be a whole number >= 1, got (1, 2)."),
    ("size", None, "must be a whole number >= 1, got None."),
    ("decay", 1, "must be a number >= 0 and < 1, got 1."),
    ("decay", float("inf"), "must be a number >= 0 and < 1, got inf."),
    ("kind", "tow", "must be one of the choices, got 'tow'. Did you mean 'two'"
     "? Choices: one, two."),
    ("sise", 1, "no such key of 'part'. Did you mean 'size'? Choices: decay,"
     " kind, on, other, rate, size, wide."),
    ("space", 1, "no such key of 'part'. Choices: decay, kind, on, other, rate,"
     " size, wide."),
])
def test_what_is_not_is_one_line_with_key_value_and_choices(key, value, wanted):
  with pytest.raises(ConfigError) as caught:
    read({key: value})
  assert str(caught.value) == f"{key}: {wanted}"


def test_what_a_part_needs_is_named_with_its_help():
  def needy(*, path: str):
    """Reads.

    Args:
      path: the folder.
    """

  with pytest.raises(ConfigError) as caught:
    options.read(needy, {}, name="needy")
  assert str(caught.value) == "path: 'needy' needs it: the folder."


def test_an_annotation_that_nobody_can_read_is_one_line():
  def odd(*, size: Nowhere = 1):  # noqa: F821
    """Takes something unknown."""

  with pytest.raises(ConfigError, match=r"annotations: those of .*odd.*"):
    options.read(odd, {})


def test_bounds_of_ones_own_are_told():
  def own(*, size: Annotated[int, Ge(8)] = 8, rate: Positive = 1.0):
    """Has bounds."""

  with pytest.raises(ConfigError, match=r"size: must be .* number >= 8, got 7"):
    options.read(own, {"size": 7})


def test_a_path_may_begin_in_the_home_folder(monkeypatch):
  monkeypatch.setenv("HOME", "/house")
  assert options.checked("path", "~/set", options.Path) == "/house/set"
  assert options.checked("path", "/a/~", options.Path) == "/a/~"
  odd = "caf\udce9"  # a name that is not UTF-8 is a path all the same
  assert options.checked("path", odd, options.Path) == odd
  for part, key in [
      (settings.Benchmark, "path"),
      (settings.Training, "init"),
      (ptb.load, "path"),
      (folder.load, "path"),
      (tfds.load, "path"),
  ]:
    annotation = options.of(part)[key].annotation
    assert options.checked(key, "~/x", annotation) == "/house/x"
