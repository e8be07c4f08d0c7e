"""What the codec makes of a schedule: integers, choices and architectures."""

import dataclasses
import functools
from typing import Annotated, ClassVar, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_spaces import random_choices, SMALL, small_space

from enas_jax import options
from enas_jax.archfile import described
from enas_jax.nn import NETWORKS
from enas_jax.report import drawing
from enas_jax.spaces import schedule as rows
from enas_jax.spaces import SPACES
from enas_jax.spaces.base import Space
from enas_jax.spaces.recurrent import Recurrent
from enas_jax.types import Edge, Feed, Head


class Parts(NamedTuple):
  bits: jax.Array  # i32[2, 2]
  kind: jax.Array  # i32[]
  read: jax.Array  # i32[2], the same number twice


@dataclasses.dataclass(frozen=True)
class Shuffled(Space):
  """A space that says everything in another order and by other numbers."""

  wrong: str = ""

  noun: ClassVar = "a heap"

  @functools.cached_property
  def schedule(self):
    row = functools.partial(rows.row, 4)
    gap = row(head=Head.OP, choices=4, feed=Feed.OP)
    gap = (gap[0], np.array([True, False, True, True]), *gap[2:])
    return rows.table([
        row(write=0),
        gap,
        row(head=Head.ANCHOR, choices=1, write=1),
        row(head=Head.ANCHOR, choices=2, write=2),
        row(head=Head.SKIP, choices=3),
    ])

  def decode(self, choices):
    picked = jnp.argmax(choices, -1).astype(jnp.int32)
    bits = jnp.asarray(choices[4, :3], jnp.int32)
    bits = jnp.zeros(4, jnp.int32).at[jnp.array([3, 0, 2])].set(1 - bits)
    kind = 7 - 2 * picked[1]
    if self.wrong == "lost":
      kind = 0 * kind
    if self.wrong == "shared":
      bits = bits.at[0].add(2 * picked[3])
    if self.wrong == "tangled":
      kind = kind * (1 + bits[2])
    return Parts(bits.reshape(2, 2), kind, jnp.stack([picked[3]] * 2))


ALL = [*map(small_space, SMALL), Recurrent(nodes=4, dialect="2018"), Shuffled()]


@pytest.mark.parametrize("space", ALL, ids=lambda space: type(space).__name__)
def test_all_forms_of_an_architecture_are_one(space):
  choices = random_choices(space.schedule, 20, seed=2)

  @jax.jit
  @jax.vmap
  def there_and_back(choices):
    arch = space.decode(choices)
    return arch, space.encode(arch)

  archs, again = there_and_back(choices)
  np.testing.assert_array_equal(again, choices)
  seen = set()
  for n in range(20):
    arch = jax.tree.map(lambda leaf: np.asarray(leaf[n]), archs)  # noqa: B023
    values = space.flatten(arch)
    assert all(type(value) is int for value in values)
    found = space.unflatten(values)
    chex.assert_trees_all_equal(found, arch)
    assert all(leaf.dtype == np.int32 for leaf in jax.tree.leaves(found))
    seen.add((tuple(values), str(space.graphs(arch))))
  different = len(np.unique(choices, axis=0))
  assert len(seen) == different
  assert len({graphs for _, graphs in seen}) == different


def test_a_codec_that_a_program_first_needs_is_found_while_it_is_traced():
  space = Shuffled()
  choices = random_choices(space.schedule, 1)[0]
  arch = space.decode(choices)
  encoded = jax.jit(space.encode)(arch)
  np.testing.assert_array_equal(encoded, choices)
  assert space.codec is space.codec


def test_integers_are_those_of_the_schedule_and_people_can_read_them():
  space = Shuffled()
  # An operation of 0, 2, 3; an anchor of one; one of two; three bits.
  arch = space.unflatten([2, 0, 1, 0, 1, 1])
  assert (arch.kind, arch.read.tolist()) == (3, [1, 1])
  assert arch.bits.ravel().tolist() == [0, 0, 0, 1]
  assert space.flatten(arch) == [2, 0, 1, 0, 1, 1]
  assert space.graphs(arch) == {
      "step": [
          Edge(1, "operation 2"),
          Edge(2, "anchor 0"),
          Edge(3, "anchor 1"),
          Edge(4, "anchor 1"),
          Edge(4, "anchor 2"),
      ]
  }
  none = space.unflatten([0, 0, 0, 0, 0, 0])
  assert space.graphs(none)["step"][-1] == Edge(4, "nothing")
  assert described(none, space)[-1] == "step 4 = nothing"
  for label in ("anchor 0", "anchor 1", "operation 2"):
    assert label in drawing.svg(space.graphs(arch))


@pytest.mark.parametrize("values, message", [
    ([2, 0, 1, 0, 1], "6 integers make a heap, got 5"),
    ([1, 0, 1, 0, 1, 1], "step 1 has operation 1, which is not one of 0, 2, 3"),
    ([2, 1, 1, 0, 1, 1], "step 2 reads anchor 1, which is not one of 0..0"),
    ([2, 0, -1, 0, 1, 1], "step 3 reads anchor -1, which is not one of 0..1"),
    ([2, 0, 1, 0, 5, 1], "step 4 has bit 1 = 5, which is not 0 or 1"),
])
def test_integers_that_make_nothing_are_refused(values, message):
  with pytest.raises(ValueError) as caught:
    Shuffled().unflatten(values)
  assert str(caught.value) == message


@pytest.mark.parametrize("space, values, message", [
    ("micro", [0, 0, 1, 5] + [0] * 12, "node 2 of the normal cell has op"),
    ("micro", [0] * 12 + [3, 0, 0, 0], "node 3 of the reduce cell reads"),
    ("2018", [4] + [0] * 6, "node 0 has activation 4"),
    ("2018", [0, 0, 0, 2, 0, 0, 0], "node 2 reads node 2"),
    ("2018", [0, 0, 0, 0, 9, 0, 0], "node 2 has activation 9"),
    ("recurrent", [0, 0, 0, 4, 0, 0, 0, 0], "node 2 has activation 4"),
])
def test_a_space_says_what_a_wrong_integer_stands_for(space, values, message):
  found = (
      Recurrent(nodes=4, dialect="2018")
      if space == "2018"
      else small_space(space)
  )
  with pytest.raises(ValueError, match=message):
    found.unflatten(values)


@pytest.mark.parametrize("wrong, message", [
    ("lost", "step 1 of the schedule determines no entry"),
    ("shared", "step 4, bit 1, and step 3 of the schedule determine the same"),
    ("tangled", "step 4, bit 2, and step 1 of the schedule determine the same"),
])
def test_a_decode_that_cannot_be_undone_is_refused(wrong, message):
  with pytest.raises(ValueError, match=message):
    Shuffled(wrong).codec  # noqa: B018


class Pair(NamedTuple):
  value: jax.Array  # i32[2]


class Depending(Space):
  """What one step shows as depends on another in a way that hides at first."""

  schedule = rows.table(
      [rows.row(3, head=Head.OP, choices=3, feed=Feed.OP)] * 2
  )

  def decode(self, choices):
    first, second = jnp.argmax(choices, -1)
    # Where the first is 0, the second shows as it is.
    return Pair(jnp.stack([first, (second + first * second) % 3]))


def test_a_step_that_depends_on_another_is_refused():
  with pytest.raises(ValueError, match="depends on another step"):
    Depending().codec  # noqa: B018


def test_what_a_space_need_not_have_has_a_default():
  space = Shuffled()
  assert space.presets == {} and space.parse("|a~0|") is None
  assert space.notation([1]) == "" and space.given == {}
  assert not space.sized and space.size((), None, (1, 1, 1)) is None
  sized = {name for name, of in SPACES.items() if of().sized}
  assert sized == {"macro", "micro", "nasbench201"}


PARTS = [*SPACES.values(), *(of.module for of in SPACES.values())]
PARTS += NETWORKS.values()


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
def test_every_option_says_what_it_is(part):
  own = part.__annotations__.keys() - {"parent", "name"}
  found = options.of(part)
  assert own
  for name in own & found.keys():
    assert found[name].help, name
    if name not in ("operations", "names"):
      assert isinstance(found[name].annotation, type(Annotated[int, 0])) or (
          found[name].annotation is bool
          or hasattr(found[name].annotation, "__args__")
      ), name


def test_the_smallest_values_of_a_smoke_test():
  small = {
      (part.__name__, name): option.small.value
      for part in PARTS
      for name, option in options.of(part).items()
      if option.small and name != "hidden"
  }
  assert small == {
      ("Macro", "layers"): 3,
      ("MacroNetwork", "filters"): 4,
      ("MacroNetwork", "stem"): 0,
      ("Micro", "nodes"): 2,
      ("MicroNetwork", "cells"): 1,
      ("MicroNetwork", "filters"): 4,
      ("MicroNetwork", "stem"): 0,
      ("NasBench201Network", "cells"): 1,
      ("NasBench201Network", "filters"): 4,
      ("Recurrent", "nodes"): 2,
  }
