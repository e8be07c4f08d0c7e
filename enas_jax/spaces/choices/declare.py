"""The kinds of choices that a space is declared of."""

from collections.abc import Mapping, Sequence
import dataclasses
from typing import Any

Times = int | Sequence[int]


@dataclasses.dataclass(frozen=True)
class OneOf:
  """One of some options, once or at each place of `shape`."""

  options: tuple[str | int | float, ...]
  shape: tuple[int, ...]
  of: str  # the field that has the same places; "": none


@dataclasses.dataclass(frozen=True)
class Earlier:
  """One of the results before a node, for each node of another field."""

  of: str
  given: int


@dataclasses.dataclass(frozen=True)
class Subset:
  """Any of the results before a node, for each node of another field."""

  of: str
  target: float
  given: int


Kind = OneOf | Earlier | Subset


def one_of(
    *options: str | int | float, times: Times = (), of: str = ""
) -> OneOf:
  """Declares a choice of one option, a word or a number.

  Args:
    *options: The options, of which a word is the name of a branch of `apply`.
    times: How often the choice is made; (3, 2) makes it twice for each of three
      nodes. By default it is made once, and its field has no items.
    of: Another field, in place of `times`: the choice is made at each of its
      places, together with it.

  Raises:
    ValueError: There are no options, two are alike, or both `times` and `of`
      are given.
  """
  if not options or len(set(options)) < len(options):
    raise ValueError(f"one_of needs options that differ, got {options}.")
  words = {isinstance(option, str) for option in options}
  if len(words) == 2 or any(isinstance(each, bool) for each in options):
    raise ValueError(
        f"one_of takes words or numbers, and not both, got {options}."
    )
  shape = (times,) if isinstance(times, int) else tuple(times)
  if any(type(size) is not int or size < 1 for size in shape):
    raise ValueError(f"one_of(times=) takes whole numbers >= 1, got {times}.")
  if shape and of:
    raise ValueError("one_of takes times= or of=, and not both.")
  return OneOf(options, shape, of)


def earlier(of: str, given: int = 1) -> Earlier:
  """Declares that each node of a field reads one earlier result.

  Args:
    of: The field whose places are the nodes; where it is of shape (3, 2), each
      of three nodes reads two results.
    given: The number of results that there are before the first node. Node n
      reads one of `given` + n.

  Raises:
    ValueError: `given` is less than 1, so that the first node has no choice.
  """
  if given < 1:
    raise ValueError("earlier(given=) must be at least 1.")
  return Earlier(of, given)


def subset(of: str, target: float = 0.5, given: int = 0) -> Subset:
  """Declares that each node of a field reads any number of earlier results.

  Args:
    of: The field whose places are the nodes.
    target: The rate of connections to which the policy is drawn, with the
      weight `config.reinforce.skip_weight`.
    given: As for `earlier`; node n chooses among `given` + n results.

  Raises:
    ValueError: The target is not within 0 and 1, or `given` is negative.
  """
  if not 0 < target < 1:
    raise ValueError(
        f"subset(target=) must be within 0 and 1, got {target}."
    )
  if given < 0:
    raise ValueError("subset(given=) must not be negative.")
  return Subset(of, target, given)


@dataclasses.dataclass(frozen=True)
class Group:
  """The fields that are decided together, node by node."""

  root: str  # the field whose places are the nodes
  fields: tuple[str, ...]  # in the order of the declaration
  shape: tuple[int, ...]  # that of the root; () is one node
  given: int  # the results before the first node
  linked: bool  # whether a node reads earlier ones

  @property
  def nodes(self) -> int:
    return self.shape[0] if self.shape else 1


def groups(declared: Mapping[str, Any]) -> tuple[Group, ...]:
  """Returns the groups of a declaration, in the order of their first fields.

  Raises:
    ValueError: A field is of no kind, or is `of` a field that has no places.
  """
  if not declared:
    raise ValueError("choices.space needs a choice, such as op=one_of(...).")
  together = {}
  for name, kind in declared.items():
    if not isinstance(kind, Kind):
      raise ValueError(
          f"{name}= must be choices.one_of, earlier or subset, got {kind!r}."
      )
    root = kind.of or name
    own = declared.get(root)
    if root != name and not (isinstance(own, OneOf) and own.shape):
      raise ValueError(
          f"{name}= is of {root!r}, which is no one_of(..., times=) here."
      )
    together.setdefault(root, []).append(name)
  found = []
  for root, fields in together.items():
    reading = [
        name for name in fields if not isinstance(declared[name], OneOf)
    ]
    given = {declared[name].given for name in reading}
    if len(given) > 1:
      raise ValueError(
          f"{', '.join(reading)} are of {root!r} and must have the same given=."
      )
    found.append(
        Group(
            root,
            tuple(fields),
            declared[root].shape,
            max(given, default=0),
            bool(reading),
        )
    )
  return tuple(found)
