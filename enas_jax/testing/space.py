"""Asks the questions of a search space and of its shared network."""

from collections.abc import Callable, Mapping, Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import archfile, search
from enas_jax.tasks import TASKS
from enas_jax.testing import networks
from enas_jax.testing.asking import (
    ask_all,
    demand,
    named,
    Question,
    same_form,
    same_values,
)
from enas_jax.testing.samples import (
    changes,
    on_host,
    random_choices,
)
from enas_jax.testing.supernet import (
    every_single_choice_shows,
    Supernet,
    whole,
)
from enas_jax.types import (
    Arch,
    Feed,
    Head,
    NO_ANCHOR,
    Schedule,
    SearchSpace,
)


def space_questions(
    space: SearchSpace,
    *,
    network: Mapping[str, Any],
    batch: Any,
    task: str = "classification",
    shows: Sequence[int] | None = None,
    cheap: Sequence[int] | None = None,
    plain: Sequence[int] | None = None,
    zeros: Sequence[int] = (),
    supernet: Callable[[], Supernet] | None = None,
) -> list[Question]:
  """Returns the questions of a search space and of its shared network.

  Args:
    space: A small space.
    network: The arguments of `space.network` for the smallest network that has
      every part.
    batch: A batch of a few examples, such as `images()` or `words()`.
    task: The name of the network's task.
    shows: The integers of an arch in which every single change of a choice
      changes the loss. Not every arch is such, since a pool may read a
      constant. None does not ask this.
    cheap: The integers of an arch that compiles fast as a fixed network; None
      takes a random arch.
    plain: The integers of an arch that runs fast without jit; None takes
      `cheap`.
    zeros: The anchor slots that stand for an input and that no step writes.
    supernet: Makes the network to ask with, where tests share one.
  """
  make = supernet or functools.cache(
      lambda: Supernet(space, network, batch, task)
  )

  def given(integers):
    if integers is None:
      return make().random(1, seed=2)[0]
    return space.unflatten(list(integers))

  def a_schedule_reads_only_what_was_written():
    _check_schedule(space.schedule, zeros)

  def every_encoding_reads_back():
    _check_encoding(space)

  def integers_that_are_too_many_are_refused():
    integers = space.flatten(_decoded(space, 1)[0])
    try:
      space.unflatten([*integers, 0, 0])
    except ValueError:
      return
    raise AssertionError(
        "unflatten must raise ValueError, with words for the user, at integers"
        " that are no architecture; it took two too many."
    )

  def presets_are_archs():
    for name, preset in space.presets.items():
      its = type(space)(**preset.space)
      demand(
          its.flatten(its.unflatten(preset.encoding)) == preset.encoding,
          f"The preset {name!r} does not read back.",
      )

  def weights_do_not_depend_on_the_arch():
    expected = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
        (make().params, make().state),
    )
    for arch in make().random(2, seed=3):
      for kind in (arch, jax.tree.map(jnp.asarray, arch)):
        same_form(
            expected, make().shapes(kind), "The weights of a shared network"
        )

  def thirty_archs_are_one_trace_and_thirty_losses():
    networks.check_losses(make())

  def every_choice_shows():
    demand(
        changes(space.schedule, np.asarray(space.encode(given(shows)))),
        "There is no other choice in this space.",
    )
    every_single_choice_shows(make(), given(shows))

  def weights_without_a_gradient_do_not_matter():
    networks.check_unused(make(), given(shows if shows is not None else cheap))

  def a_fixed_network_is_the_shared_one():
    networks.check_fixed(make(), given(cheap))

  def a_final_network_is_the_shared_one_with_its_weights():
    final = whole(TASKS[task], space, {**network, "final": True})
    networks.check_final(make(), final, given(cheap))

  def it_runs_without_jit_and_evaluates_twice_alike():
    networks.check_plain(make(), given(plain if plain is not None else cheap))

  def in_bfloat16_it_is_near_itself():
    half = whole(TASKS[task], space, {**network, "dtype": "bfloat16"})
    networks.check_bfloat16(make(), half, given(cheap))

  found = named(
      a_schedule_reads_only_what_was_written,
      every_encoding_reads_back,
      integers_that_are_too_many_are_refused,
      presets_are_archs,
      weights_do_not_depend_on_the_arch,
      thirty_archs_are_one_trace_and_thirty_losses,
      weights_without_a_gradient_do_not_matter,
      a_fixed_network_is_the_shared_one,
      it_runs_without_jit_and_evaluates_twice_alike,
      in_bfloat16_it_is_near_itself,
  )
  if getattr(space, "carries", False):
    found += named(a_final_network_is_the_shared_one_with_its_weights)
  return found + (named(every_choice_shows) if shows is not None else [])


def check_space(
    space: SearchSpace, *, network: Mapping[str, Any], batch: Any, **more: Any
) -> None:
  """Asks all questions of a search space.

  Args:
    space: A small space.
    network: The arguments of `space.network`.
    batch: A batch, as the task reads it.
    **more: Further arguments of `space_questions`.

  Raises:
    AssertionError: A question failed; says which one and what to mend.
  """
  ask_all(space_questions(space, network=network, batch=batch, **more))


def _decoded(space: SearchSpace, count: int) -> list[Arch]:
  """Returns random archs in numpy arrays."""
  choices = random_choices(space.schedule, count)
  return search.listed(jax.jit(jax.vmap(space.decode))(choices), count)


def _check_schedule(schedule: Schedule, zeros: Sequence[int]) -> None:
  """Demands that a schedule is well formed."""
  steps, slots = schedule.mask.shape
  for name in ("bias", "prior", "feed_scale"):
    leaf = getattr(schedule, name)
    demand(
        leaf.shape == (steps, slots) and np.all(np.isfinite(leaf)),
        f"schedule.{name} must be finite, [{steps}, {slots}] as the mask is.",
    )
  demand(
      np.all((schedule.prior > 0) & (schedule.prior < 1)),
      "schedule.prior must be within 0 and 1.",
  )
  demand(np.all(schedule.scale >= 0), "schedule.scale must not be negative.")
  written = np.zeros(slots, bool)
  written[list(zeros)] = True
  for t in range(steps):
    head, mask, feed = schedule.head[t], schedule.mask[t], schedule.feed[t]
    anchors = head in (Head.ANCHOR, Head.SKIP)
    demand(
        not (anchors and np.any(mask & ~written)),
        f"Step {t} may choose an anchor slot that no step before it writes;"
        " `zeros` names those that stand for an input.",
    )
    demand(
        np.any(mask) or head not in (Head.OP, Head.ANCHOR),
        f"Step {t} has nothing to choose from.",
    )
    demand(
        head != Head.NONE or not np.any(mask),
        f"Step {t} decides nothing and has choices.",
    )
    demand(
        feed != Feed.OP or head == Head.OP,
        f"Step {t} feeds an operation and chose none.",
    )
    demand(
        feed != Feed.ANCHOR or anchors,
        f"Step {t} feeds an anchor and chose none.",
    )
    if schedule.write[t] != NO_ANCHOR:
      written[schedule.write[t]] = True


def _check_encoding(space: SearchSpace) -> None:
  """Demands that all conversions of an arch agree."""
  choices = random_choices(space.schedule, 50)
  archs = jax.jit(jax.vmap(space.decode))(choices)
  again = jax.jit(jax.vmap(space.encode))(archs)
  demand(
      np.array_equal(again, choices), "encode must be the inverse of decode."
  )
  lines = set()
  for arch in search.listed(archs, len(choices)):
    for leaf in jax.tree.leaves(arch):
      demand(
          leaf.dtype == np.int32,
          f"An architecture is of int32 arrays, decode gave {leaf.dtype}: write"
        " .astype(jnp.int32).",
      )
    integers = space.flatten(arch)
    demand(
        all(type(value) is int for value in integers),
        "flatten must give integers of Python, which JSON can hold.",
    )
    same = space.unflatten(integers)
    demand(
        all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(same)),
        "unflatten must give numpy arrays: a fixed architecture.",
    )
    same_values(
        same, arch, "unflatten must make again the arch that flatten wrote."
    )
    same_values(
        on_host(space.decode(np.asarray(space.encode(arch)))),
        arch,
        "decode must make again the arch that encode was given.",
    )
    lines.add("\n".join(archfile.described(arch, space)))
  demand(
      len(lines) == len(np.unique(choices, axis=0)),
      "graphs must tell every two architectures apart: two that differ have"
      " the same edges.",
  )
