"""The space of a declaration: its schedule, its integers and its drawing."""

import collections
from collections.abc import Mapping, Sequence
import dataclasses
import functools
import itertools
import math
from typing import ClassVar

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.options import NonNegative
from enas_jax.spaces import schedule as rows
from enas_jax.spaces.base import Space
from enas_jax.spaces.choices import declare, network
from enas_jax.spaces.choices.chosen import Choice
from enas_jax.spaces.choices.declare import Earlier, Group, Kind, OneOf, Subset
from enas_jax.types import Arch, Edge, Feed, Head, Schedule


def space(module: type[nn.Module], **declared: Kind) -> type["Choices"]:
  """Makes the class of a space of a flax module and its choices.

  Args:
    module: The class of the network: a flax module called on (images, arch),
      with a field `classes`, or a subclass of `enas_jax.nn.Reader`.
    **declared: The choices by the names of their fields in `arch`.

  Raises:
    ValueError: A declaration that cannot be; says what to write.
  """
  grouped = declare.groups(declared)
  made = network.network(module)
  fields = {
      "__module__": module.__module__,
      "__doc__": f"The space of the choices of {module.__name__}.",
      "module": made,
      "declared": declared,
      "grouped": grouped,
      "made": collections.namedtuple("Arch", declared),
  }
  return dataclasses.dataclass(frozen=True)(
      type(f"{module.__name__}Space", (Choices,), fields)
  )


@dataclasses.dataclass(frozen=True)
class Choices(Space):
  """The base of the spaces that `space` makes.

  Attributes:
    scale: The tanh constant of all choices; 0 for none.
  """

  scale: NonNegative = 2.5

  of_policy: ClassVar = ("scale",)
  declared: ClassVar[Mapping[str, Kind]]
  grouped: ClassVar[tuple[Group, ...]]
  made: ClassVar[type]  # the NamedTuple of an arch
  # The final network is the shared one with what an arch chose.
  carries: ClassVar[bool] = True

  @functools.cached_property
  def _columns(self) -> dict[str, int]:
    """Returns the first column of each `one_of`.

    Options that are alike have the same words in the controller; all others
    have words of their own.
    """
    first, end = {}, 0
    columns = {}
    for name, kind in self.declared.items():
      if isinstance(kind, OneOf):
        if kind.options not in first:
          first[kind.options] = end
          end += len(kind.options)
        columns[name] = first[kind.options]
    return columns

  @functools.cached_property
  def _table(self) -> tuple[list[tuple], dict[str, list[int]]]:
    """Returns the rows of the schedule, and the steps of each field."""
    words = max(
        self._columns[name] + len(kind.options)
        for name, kind in self.declared.items()
        if isinstance(kind, OneOf)
    )
    slots = max([words, *(g.given + g.nodes for g in self.grouped if g.linked)])
    row = functools.partial(rows.row, slots)
    table, steps = [], {name: [] for name in self.declared}
    for group in self.grouped:
      if group.linked:
        table += [row(write=result) for result in range(group.given)]
      for node in range(group.nodes):
        count = group.given + node  # the results that the node may read
        for name in group.fields:
          kind = self.declared[name]
          for _ in range(_times(kind, group)):
            if isinstance(kind, Subset) and not count:
              continue
            steps[name].append(len(table))
            table.append(self._row(row, name, kind, count))
        if group.linked and node + 1 < group.nodes:
          table.append(row(write=count))
    return table, steps

  def _row(self, row, name: str, kind: Kind, count: int) -> tuple:
    """Returns the row of one choice of a node with `count` results before."""
    if isinstance(kind, OneOf):
      return row(
          head=Head.OP,
          first=self._columns[name],
          choices=len(kind.options),
          scale=self.scale,
          feed=Feed.OP,
      )
    head = Head.ANCHOR if isinstance(kind, Earlier) else Head.SKIP
    prior = {"prior": kind.target} if head == Head.SKIP else {}
    return row(
        head=head,
        choices=count,
        scale=self.scale,
        feed=Feed.ANCHOR,
        **prior,
    )

  @functools.cached_property
  def schedule(self) -> Schedule:
    table, _ = self._table
    words = max(
        self._columns[name] + len(self.declared[name].options)
        for name in self._columns
    )
    return rows.table(table, [0.0] * words)

  def decode(self, choices: jax.Array) -> Arch:
    fields = {}
    for group in self.grouped:
      for name in group.fields:
        value = self._decoded(choices, name, group)
        fields[name] = Choice(value, self.declared[name], name)
    return self.made(**fields)

  def _decoded(self, choices, name: str, group: Group):
    """Returns the numbers of a field, i32 of its shape."""
    kind, steps = self.declared[name], np.array(self._table[1][name], int)
    if isinstance(kind, Subset):
      width = group.given + group.nodes - 1
      bits = choices[steps][:, :width]
      missing = group.nodes - len(steps)  # the first node may read nothing
      return jnp.pad(bits.astype(jnp.int32), ((missing, 0), (0, 0)))
    found = jnp.argmax(choices[steps], -1).astype(jnp.int32)
    return (found - self._columns.get(name, 0)).reshape(group.shape)

  @functools.cached_property
  def order(self) -> list[int]:
    """Returns the steps field by field."""
    return list(itertools.chain(*self._table[1].values()))

  @functools.cached_property
  def _places(self) -> list[tuple[str, int, tuple]]:
    """Returns (name, first column, options) of each integer of an arch.

    There are no options where the integer is a bit or an earlier result.
    """
    head, mask = self.schedule.head, self.schedule.mask
    found = []
    for step in self.order:
      name, index = self._named[step]
      options = getattr(self.declared[name], "options", ())
      bits = mask[step].sum() if head[step] == Head.SKIP else 1
      first = self._columns.get(name, 0)
      found += [(f"{name}{index}", first, options)] * int(bits)
    return found

  @functools.cached_property
  def _named(self) -> dict[int, tuple[str, str]]:
    """Returns (field, index in words) of each step that decides something."""
    found = {}
    for group in self.grouped:
      for name in group.fields:
        steps = self._table[1][name]
        if isinstance(self.declared[name], Subset):
          missing = group.nodes - len(steps)
          indices = [(n + missing,) for n in range(len(steps))]
        else:
          indices = itertools.product(*map(range, group.shape))
        for step, index in zip(steps, indices, strict=True):
          found[step] = name, "".join(f"[{n}]" for n in index)
    return found

  def flatten(self, arch: Arch) -> list[int]:
    values = super().flatten(arch)
    places = zip(values, self._places, strict=True)
    return [value - first for value, (_, first, _) in places]

  def unflatten(self, values: Sequence[int]) -> Arch:
    if len(values) != len(self._places):
      return super().unflatten(values)  # which says how many there are
    moved = []
    for value, (name, first, options) in zip(
        values, self._places, strict=True
    ):
      if options and value not in range(len(options)):
        words = ", ".join(map(str, options))
        raise ValueError(
            f"{name} is {value}, which is not one of 0..{len(options) - 1}"
            f" ({words})"
        )
      moved.append(value + first)
    return super().unflatten(moved)

  def describe(self, step: int) -> str:
    name, index = self._named[step]
    if isinstance(self.declared[name], Subset):
      return f"{name}{index} has bit"
    return f"{name}{index} is"

  def graphs(self, arch: Arch) -> dict[str, list[Edge]]:
    """Draws each group: a chain of words, or nodes and what they read.

    Numbers, and a choice that is made once, stand together in one graph.
    """
    found, lone = {}, []
    for group in self.grouped:
      kind = self.declared[group.root]
      words = isinstance(kind.options[0], str) or len(group.fields) > 1
      if group.linked or (words and group.shape):
        found[group.root] = self._linked(arch, group)
        continue
      chosen = np.asarray(getattr(arch, group.root).value)
      for index in np.ndindex(chosen.shape):
        place = "".join(f"[{n}]" for n in index)
        option = str(kind.options[chosen[index]])
        lone.append(Edge(f"{group.root}{place}", option))
    return {**found, **({"choice": lone} if lone else {})}

  def _linked(self, arch: Arch, group: Group) -> list[Edge]:
    """Returns the edges of a group's nodes.

    Results have numbers, from 0; where none is given before the first node, it
    reads "input".
    """
    each = math.prod(group.shape[1:])
    words, sources, subsets = [], [], []
    for name in group.fields:
      kind, value = self.declared[name], np.asarray(getattr(arch, name).value)
      if isinstance(kind, Subset):
        subsets.append(value)
        continue
      value = value.reshape(group.nodes, each)
      if isinstance(kind, Earlier):
        sources.append(value)
      else:
        words.append(np.array(kind.options, str)[value])
    edges = []
    for node in range(group.nodes):
      number = group.given + node
      before = number - 1 if number else "input"
      for place in range(each):
        read = [int(source[node, place]) for source in sources] or [before]
        word = " ".join(options[node, place] for options in words)
        edges += [Edge(number, source, word) for source in read]
      for bits in subsets:
        edges += [Edge(number, int(n)) for n in np.flatnonzero(bits[node])]
    return edges


def _times(kind: Kind, group: Group) -> int:
  """Returns how often a field is chosen for each node."""
  return 1 if isinstance(kind, Subset) else math.prod(group.shape[1:])
