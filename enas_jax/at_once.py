"""Trains several networks of one search at once, in processes of their own."""

from collections.abc import Callable
import functools
import pathlib

import jax

from enas_jax import folder, launch, process
from enas_jax.plan import Plan
from enas_jax.stage import Stage


def train(
    stage: Stage,
    recipe: Plan,
    wanted: dict[pathlib.Path, list[int]],
    alone: Callable[[Callable, list[int], pathlib.Path], None],
) -> dict[pathlib.Path, float]:
  """Trains what is not trained yet, where the config says to do so at once.

  What fails is told. It is left to this process, which then goes on with it.

  Args:
    stage: of the search (`stage.Stage`).
    recipe: how they are trained.
    wanted: the encodings, by the folders of their trainings.
    alone: trains one, given `recipe.anew`, its encoding and its folder.

  Returns:
    The seconds that each took; {} where nothing is trained at once.
  """
  count = stage.plan.derive.at_once
  if count == 1:
    return {}
  rest = {
      path: encoding
      for path, encoding in wanted.items()
      if not folder.finished(path, recipe.of(encoding).record)
  }
  if len(rest) < 2:
    return {}
  devices = stage.plan.experiment.devices
  slots = process.slots(
      "config.derive.at_once",
      count,
      platform=jax.default_backend(),
      found=jax.local_device_count(),
      each=devices,
      taken=devices,
  )
  jobs = [
      launch.Job(
          path.name, functools.partial(alone, recipe.anew, encoding, path)
      )
      for path, encoding in rest.items()
  ]
  inner, seconds = next(iter(rest)).parent, {}

  def told(ended: launch.Ended) -> None:
    how = f"failed: {ended.failure}" if ended.failure else "is trained."
    stage.say(f"{inner / ended.name} {how}")
    seconds[inner / ended.name] = ended.seconds

  stage.say(f"{len(jobs)} of them are trained {count} at a time, in {inner}.")
  launcher = launch.Local(inner / "jobs", slots, launch.settings())
  launch.each(jobs, launcher, stage.signals, told)
  return seconds
