"""Integers, choices and architectures: what follows from a space's schedule.

An architecture has three forms: the integers that people write and `arch.json`
holds, the choices of a controller (bool[T, K], one row a step), and the arrays
that a network reads. A space says what its steps are (`schedule`) and what
choices mean (`decode`). A `Codec` finds out by trying, once a space, where in
the arrays each choice shows, and so goes every other way.
"""

from collections.abc import Callable, Sequence
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.types import Arch, Edge, Head, Schedule

_DRAWN = 8  # random architectures that what was found out is tried on


class Place(NamedTuple):
  """Where one integer of an architecture comes from."""

  step: int
  bit: int | None  # of a SKIP step: which of its bits; else None


class Codec:
  """All that can be derived from a schedule and `decode`."""

  def __init__(self, schedule: Schedule, decode: Callable):
    """Tries every choice of every step on `decode`.

    Args:
      schedule: of the space.
      decode: bool[T, K] -> arch, integer arrays of fixed shape; traceable.

    Raises:
      ValueError: an entry of the arrays cannot be told from the choices: a
        step shows in none, two show in one, or what a step shows as depends
        on another.
    """
    self._schedule = schedule
    trials, steps, columns = _trials(schedule)
    # At once, also while a program that needs the codec is being traced.
    with jax.ensure_compile_time_eval():
      archs = jax.jit(jax.vmap(decode))(trials)
      leaves, self._tree = jax.tree.flatten(jax.tree.map(np.asarray, archs))
    flat = np.concatenate([leaf.reshape(len(trials), -1) for leaf in leaves], 1)
    self._shapes = [leaf.shape[1:] for leaf in leaves]
    self._first = flat[0]  # the entries of the architecture of first choices
    self._choices = trials[0]
    # Of each choice: the entry of all arrays laid end to end that it shows in,
    # and its value there. `_shown` has the choices that show.
    self._entry = np.zeros(schedule.mask.shape, np.int32)
    self._value = np.zeros(schedule.mask.shape, np.int32)
    self._shown = np.zeros(schedule.mask.shape, bool)
    # (step, choice) -> all entries that it sets, and to what.
    self._marks = {}
    taken = {}
    tried = flat[1 : len(steps) + 1]
    for place in _places(schedule):
      self._look(place, tried, steps, columns, taken)
    self._try_out(trials[len(steps) + 1 :], flat[len(steps) + 1 :])

  def _look(self, place: Place, tried, steps, columns, taken) -> None:
    """Finds the entry in which the choices of one place show."""
    step, bit = place
    rows = np.flatnonzero(steps == step)
    if bit is not None:
      rows = rows[columns[rows] == bit]
    if not len(rows):  # one choice alone: there is nothing to tell
      return
    values = np.concatenate([self._first[None], tried[rows]])
    entries = np.flatnonzero((values != values[0]).any(0))
    apart = [e for e in entries if len(set(values[:, e])) == len(values)]
    what = _name(self._schedule, place)
    if not apart:
      raise ValueError(
          f"{what} of the schedule determines no entry of the architecture that"
          " decode returns"
      )
    if shared := [e for e in entries if e in taken]:
      raise ValueError(
          f"{what} and {taken[shared[0]]} of the schedule determine the same"
          " entry of the architecture that decode returns"
      )
    taken |= dict.fromkeys(entries.tolist(), what)
    shown = columns[rows]
    if bit is None:
      shown = np.concatenate([np.flatnonzero(self._choices[step]), shown])
    else:
      values = values[1:]
    for choice, own in zip(shown.tolist(), values, strict=True):
      self._marks[step, choice] = entries, own[entries]
    self._entry[step, shown] = apart[0]
    self._value[step, shown] = values[:, apart[0]]
    self._shown[step, shown] = True

  def _try_out(self, choices, flat) -> None:
    for own, entries in zip(choices, flat, strict=True):
      if not np.array_equal(own, self._chosen(entries, np)):
        raise ValueError(
            "what a step of the schedule determines in the architecture that"
            " decode returns depends on another step: such a space writes"
            " encode, flatten and unflatten itself"
        )

  def _chosen(self, flat, xp):
    """bool[T, K] from the entries of all arrays laid end to end."""
    shown = self._shown & (flat[self._entry] == self._value)
    # A step of one choice has always made it.
    alone = ~self._shown & self._choices
    return xp.asarray(shown | alone)

  def encode(self, arch: Arch) -> jax.Array:
    """Returns the choices bool[T, K] that `decode` makes `arch` of; traceable.

    Args:
      arch: arrays of numpy or jax.
    """
    leaves = [jnp.ravel(leaf) for leaf in jax.tree.leaves(arch)]
    return self._chosen(jnp.concatenate(leaves), jnp)

  def flatten(
      self, arch: Arch, order: Sequence[int] | None = None
  ) -> list[int]:
    """Returns the integers of an architecture of arrays that are no tracers.

    A step that decides for one choice gives the number of that choice, one
    that decides bits gives them all, 0 or 1.

    Args:
      arch: arrays of numpy or jax.
      order: the steps in the order in which they are written; by default that
        of the schedule.
    """
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(arch)]
    choices = self._chosen(np.concatenate(leaves), np)
    return [
        int(choices[step].argmax() if bit is None else choices[step, bit])
        for step, bit in _places(self._schedule, order)
    ]

  def unflatten(
      self,
      values: Sequence[int],
      order: Sequence[int] | None = None,
      *,
      noun: str = "an architecture",
      describe: Callable[[int], str] | None = None,
  ) -> Arch:
    """Returns the architecture of these integers, i32 arrays of numpy.

    Args:
      values: as `flatten` returns them.
      order: as there.
      noun: what the integers make, for errors.
      describe: step -> the beginning of a sentence that its integer ends.

    Raises:
      ValueError: says how many integers make an architecture, or which one is
        out of which range.
    """
    places = _places(self._schedule, order)
    if len(values) != len(places):
      raise ValueError(
          f"{len(places)} integers make {noun}, got {len(values)}"
      )
    flat = self._first.astype(np.int32)
    for (step, bit), value in zip(places, values, strict=True):
      exist = np.flatnonzero(self._schedule.mask[step])
      begun = describe(step) if describe else described(self._schedule, step)
      if bit is not None:
        if value not in (0, 1):
          raise ValueError(f"{begun} {bit} = {value}, which is not 0 or 1")
        if not value:  # as in the architecture of first choices
          continue
        value = bit
      elif value not in exist.tolist():
        raise ValueError(
            f"{begun} {value}, which is not one of {_range(exist)}"
        )
      if (step, value) in self._marks:
        entries, own = self._marks[step, value]
        flat[entries] = own
    ends = itertools.accumulate(int(np.prod(s)) for s in self._shapes)
    parts = np.split(flat, list(ends)[:-1])
    leaves = [p.reshape(s) for p, s in zip(parts, self._shapes, strict=True)]
    return jax.tree.unflatten(self._tree, leaves)

  def graphs(self, arch: Arch) -> dict[str, list[Edge]]:
    """Returns what every step decided, as one graph."""
    choices = np.asarray(self.encode(arch))
    edges = []
    for step, head in enumerate(self._schedule.head.tolist()):
      if head == Head.NONE:
        continue
      kind = "operation" if head == Head.OP else "anchor"
      chosen = np.flatnonzero(choices[step]).tolist()
      sources = [f"{kind} {one}" for one in chosen] or ["nothing"]
      edges += [Edge(step, source) for source in sources]
    return {"step": edges}


def described(schedule: Schedule, step: int) -> str:
  """Returns the beginning of a sentence that the integer of a step ends."""
  match schedule.head[step]:
    case Head.OP:
      return f"step {step} has operation"
    case Head.ANCHOR:
      return f"step {step} reads anchor"
  return f"step {step} has bit"


def _name(schedule: Schedule, place: Place) -> str:
  return f"step {place.step}" + (
      "" if place.bit is None else f", bit {place.bit},"
  )


def _range(exist: np.ndarray) -> str:
  """Returns which numbers there are, for people."""
  if np.array_equal(exist, np.arange(len(exist))):
    return f"0..{len(exist) - 1}"
  return ", ".join(map(str, exist))


def _places(
    schedule: Schedule, order: Sequence[int] | None = None
) -> list[Place]:
  """Returns the place of every integer of an architecture.

  Args:
    schedule: the steps that decide nothing have none.
    order: of the steps; by default that of the schedule.
  """
  places = []
  for step in range(len(schedule.head)) if order is None else order:
    step, head = int(step), schedule.head[step]
    if head == Head.SKIP:
      exist = np.flatnonzero(schedule.mask[step]).tolist()
      places += [Place(step, bit) for bit in exist]
    elif head != Head.NONE:
      places.append(Place(step, None))
  return places


def _trials(schedule: Schedule):
  """(choices bool[1 + R + drawn, T, K], steps i[R], columns i[R]) to try.

  First that of the first choices and no bits, then R that differ from it in
  the choice `columns` of the step `steps`, then random ones.
  """
  deciding = np.flatnonzero(schedule.head != Head.NONE)
  first = np.zeros(schedule.mask.shape, bool)
  others = []
  for step in deciding:
    exist = np.flatnonzero(schedule.mask[step])
    if schedule.head[step] != Head.SKIP:
      first[step, exist[0]] = True
      exist = exist[1:]
    others += [(step, column) for column in exist]
  trials = [first]
  for step, column in others:
    trial = first.copy()
    trial[step] = np.arange(len(trial[step])) == column
    trials.append(trial)
  rng = np.random.default_rng(0)
  for _ in range(_DRAWN):
    trial = np.zeros_like(first)
    for step in deciding:
      exist = np.flatnonzero(schedule.mask[step])
      if schedule.head[step] == Head.SKIP:
        trial[step, exist] = rng.random(len(exist)) < 0.5
      else:
        trial[step, rng.choice(exist)] = True
    trials.append(trial)
  steps, columns = np.array(others, int).reshape(-1, 2).T
  return np.stack(trials), steps, columns
