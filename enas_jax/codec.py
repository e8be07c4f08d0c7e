"""Converts archs between integers, choices and arrays.

An arch has three forms: the integers that people write and that `arch.json`
holds, the choices of a controller (bool[T, K], one row a step), and the arrays
that a network reads. A space says what its steps are (`schedule`) and turns
choices into arrays (`decode`). A `Codec` tries every choice once to find the
entry of the arrays that it sets, and derives all other conversions from that.
"""

from collections.abc import Callable, Sequence
import itertools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.types import Arch, Edge, Head, Schedule

_DRAWN = 8  # random archs on which the conversions are tried


class Place(NamedTuple):
  """The place in the choices that one integer of an arch comes from."""

  step: int
  bit: int | None  # the bit of a SKIP step; None at other steps


class Codec:
  """Holds the conversions derived from a schedule and `decode`."""

  def __init__(self, schedule: Schedule, decode: Callable):
    """Tries every choice of every step on `decode`.

    Args:
      schedule: The schedule of the space.
      decode: bool[T, K] -> arch, integer arrays of fixed shape; traceable.

    Raises:
      ValueError: The steps do not set entries of their own: a step sets no
        entry, two steps set the same entry, or the value that a step sets
        depends on another step.
    """
    self._schedule = schedule
    self._found = {}  # order -> places
    tries, steps, columns = trials(schedule)
    # The codec may be made while a program that needs it is being traced; the
    # trials must run at once even then.
    with jax.ensure_compile_time_eval():
      archs = jax.jit(jax.vmap(decode))(tries)
      leaves, self._tree = jax.tree.flatten(jax.tree.map(np.asarray, archs))
    flat = np.concatenate([leaf.reshape(len(tries), -1) for leaf in leaves], 1)
    self._shapes = [leaf.shape[1:] for leaf in leaves]
    self._first = flat[0]  # the entries of the arch of first choices
    self._choices = tries[0]
    # Entries are counted over all arrays laid end to end. For each choice,
    # `_entry` has an entry that tells the choice and `_value` the value there;
    # `_shown` says which choices have such an entry.
    self._entry = np.zeros(schedule.mask.shape, np.int32)
    self._value = np.zeros(schedule.mask.shape, np.int32)
    self._shown = np.zeros(schedule.mask.shape, bool)
    # (step, choice) -> (all entries that it sets, their values)
    self._marks = {}
    taken = {}
    tried = flat[1 : len(steps) + 1]
    for place in _places(schedule):
      self._look(place, tried, steps, columns, taken)
    self._try_out(tries[len(steps) + 1 :], flat[len(steps) + 1 :])

  def _look(self, place: Place, tried, steps, columns, taken) -> None:
    """Finds the entries that the choices of one place set.

    Args:
      place: The step, or the bit of a step, to look for.
      tried: i[R, entries], the archs of the R trials.
      steps: i[R], the step in which each trial differs from the first.
      columns: i[R], the choice that each trial makes there.
      taken: Entry -> the name of the place that sets it; is added to.

    Raises:
      ValueError: The place sets no entry, or one that is taken.
    """
    step, bit = place
    rows = np.flatnonzero(steps == step)
    if bit is not None:
      rows = rows[columns[rows] == bit]
    if not len(rows):  # the only choice there is sets nothing
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
    """Checks that random archs convert back to the choices they were made of.

    Args:
      choices: bool[R, T, K].
      flat: i[R, entries], the archs of these choices.

    Raises:
      ValueError: One does not.
    """
    for own, entries in zip(choices, flat, strict=True):
      if not np.array_equal(own, self._chosen(entries, np)):
        raise ValueError(
            "what a step of the schedule determines in the architecture that"
            " decode returns depends on another step: such a space writes"
            " encode, flatten and unflatten itself"
        )

  def _chosen(self, flat, xp):
    """Returns the choices bool[T, K] of i[entries], in `xp` arrays."""
    shown = self._shown & (flat[self._entry] == self._value)
    # A step that has one choice always makes it.
    alone = ~self._shown & self._choices
    return xp.asarray(shown | alone)

  def _placed(self, order: Sequence[int] | None) -> list[Place]:
    """Returns `_places` of an order; finds them once."""
    key = None if order is None else tuple(order)
    if key not in self._found:
      self._found[key] = _places(self._schedule, order)
    return self._found[key]

  @property
  def length(self) -> int:
    """Returns the number of integers of an arch."""
    return len(self._placed(None))

  def encode(self, arch: Arch) -> jax.Array:
    """Returns the choices bool[T, K] that `decode` turns into `arch`.

    It is traceable.

    Args:
      arch: An arch of numpy or jax arrays.
    """
    leaves = [jnp.ravel(leaf) for leaf in jax.tree.leaves(arch)]
    return self._chosen(jnp.concatenate(leaves), jnp)

  def flatten(
      self, arch: Arch, order: Sequence[int] | None = None
  ) -> list[int]:
    """Returns the integers of an arch.

    A step that makes one choice gives the number of that choice. A step that
    decides bits gives every bit, 0 or 1.

    Args:
      arch: An arch of numpy or jax arrays, which must not be tracers.
      order: The steps in the order in which their integers are written; by
        default the order of the schedule.
    """
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(arch)]
    choices = self._chosen(np.concatenate(leaves), np)
    return [
        int(choices[step].argmax() if bit is None else choices[step, bit])
        for step, bit in self._placed(order)
    ]

  def unflatten(
      self,
      values: Sequence[int],
      order: Sequence[int] | None = None,
      *,
      noun: str = "an architecture",
      describe: Callable[[int], str] | None = None,
  ) -> Arch:
    """Returns the arch of these integers, in i32 arrays of numpy.

    Args:
      values: The integers that `flatten` returns.
      order: The same order as was given to `flatten`.
      noun: The noun for what the integers make, used in errors.
      describe: Step -> the beginning of a sentence that its integer ends.

    Raises:
      ValueError: The number of integers is wrong, or an integer is out of its
        range; says which number or range is right.
    """
    places = self._placed(order)
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
        if not value:  # `_first` has no bit set
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
    """Returns the decisions of all steps as one graph."""
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
  """Returns the beginning of a sentence that the integer of `step` ends."""
  match schedule.head[step]:
    case Head.OP:
      return f"step {step} has operation"
    case Head.ANCHOR:
      return f"step {step} reads anchor"
  return f"step {step} has bit"


def _name(schedule: Schedule, place: Place) -> str:
  """Returns the name of a place, for errors."""
  return f"step {place.step}" + (
      "" if place.bit is None else f", bit {place.bit},"
  )


def _range(exist: np.ndarray) -> str:
  """Returns the numbers that exist in words, for errors."""
  if np.array_equal(exist, np.arange(len(exist))):
    return f"0..{len(exist) - 1}"
  return ", ".join(map(str, exist))


def _places(
    schedule: Schedule, order: Sequence[int] | None = None
) -> list[Place]:
  """Returns the place of every integer of an arch.

  Args:
    schedule: The schedule; a step that decides nothing has no integer.
    order: The order of the steps; by default the order of the schedule.
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


def trials(schedule: Schedule):
  """Returns (choices bool[1 + R + drawn, T, K], steps i[R], columns i[R]).

  The first trial makes the first choice of every step and sets no bit. The next
  R trials differ from it in one step: trial r makes the choice `columns[r]` in
  step `steps[r]`. The last ones are random.
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
