"""What archs cost, and what that takes off their rewards."""

from collections.abc import Callable
import functools
from typing import Any

from ml_collections import ConfigDict

from enas_jax import options, settings
from enas_jax.build import parts
from enas_jax.derive import objective as objectives
from enas_jax.derive import places
from enas_jax.errors import ConfigError
from enas_jax.plan import Timed
from enas_jax.types import SearchSpace, Split, Task

LATENCY = "latency"


def read(config: ConfigDict) -> settings.Objective:
  """Returns the objective of a config.

  Raises:
    ConfigError: a number is missing, or counts nothing.
  """
  asked = parts.block(config, "objective", settings.Objective)
  if asked.cost:
    with parts.inside("objective"):
      for key in ("target", "weight"):
        options.checked(key, getattr(asked, key), options.Positive)
  elif asked.target or asked.weight:
    raise ConfigError(
        "objective.cost",
        "a target and a weight need one. Choices: params, flops, latency.",
    )
  return asked


def size(
    space: SearchSpace,
    final: Any,
    image: tuple[int, int, int] | None,
    task: Callable[[], Task],
    split: Split,
    asked: settings.Objective,
    wanted: bool,
) -> Callable | None:
  """Returns the function of an arch that gives its size, or None.

  A space says its size itself. That of any other is measured by tracing one
  network for each choice, where the objective or a benchmark needs it.

  Args:
    space: of the search.
    final: its final network.
    image: height, width and channels; None: the data are no images.
    task: makes the task of the final network.
    split: says the shapes of a batch.
    asked: the objective.
    wanted: whether a report needs it, too.

  Raises:
    ConfigError: the objective counts what all archs have alike, or what is no
      sum over the choices of an arch.
  """
  if space.sized:
    return functools.partial(space.size, network=final, image=image)
  needed = asked.cost not in ("", LATENCY)
  alike = ConfigError(
      "objective.cost", "all architectures of this space cost the same."
  )
  if space.alike and needed:
    raise alike
  if space.alike or not (needed or wanted):
    return None
  try:
    found = places.sized(space, task(), split)
  except ValueError as error:
    if not needed:
      return None
    raise ConfigError(
        "objective.cost",
        f"{error}. Write `size` in the class of the space"
        " (enas_jax/types.py, SearchSpace.size).",
    ) from None
  if found is None and needed:
    raise alike
  return found


def penalty(
    asked: settings.Objective, size: Callable | None
) -> Callable | None:
  """Returns what the objective takes off the reward of an arch, or None.

  Latency takes nothing off before it is measured.
  """
  if asked.cost in ("", LATENCY):
    return None
  return objectives.penalty(
      lambda arch: getattr(size(arch), asked.cost), asked.target, asked.weight
  )


def timed(
    asked: settings.Objective, task: Callable[[], Task]
) -> Timed | None:
  """Returns what has to be timed before the search; None: nothing."""
  if asked.cost != LATENCY:
    return None
  return Timed(task(), asked.target, asked.weight)
