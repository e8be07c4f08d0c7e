"""What a network is made of, as plain data, for whoever makes it again."""

from collections.abc import Callable
from typing import Any

from ml_collections import ConfigDict

from enas_jax import options, registry
from enas_jax.build import parts, spaces
from enas_jax.plan import Facts
from enas_jax.tasks import TASKS
from enas_jax.types import SearchSpace


def facts(
    config: ConfigDict,
    space: SearchSpace | None,
    said: dict[str, Any] | None,
    make: Callable,
    network: Any,
    source: Any,
) -> Facts:
  """Returns what the network is made of, for whoever makes it again.

  Args:
    config: names the parts; its values have been checked.
    space: of the network, or None.
    said: the name and the options of the space, or None.
    make: made the network.
    network: of the config.
    source: the data set.
  """
  owned = None
  if space:
    of, _ = spaces.part(config)
    owned = {"name": said["name"], **_values(of, space, said)}
  named = {} if space else {"name": registry.recorded(config.network.name)}
  make_task, task = parts.named(config, "task", TASKS)
  name = registry.recorded(config.task.name)
  given = {**source.facts, **config.get("network", ConfigDict()).to_dict()}
  return Facts(
      space=owned,
      network={**named, **_values(make, network, given)},
      task={"name": name, **_values(make_task, None, task, "network")},
      classes=tuple(getattr(source, "names", ())),
  )


def _values(
    make: Callable, made: Any, given: dict[str, Any], *ours: str
) -> dict[str, Any]:
  """Returns all options of a part: as it has them, as given, or default."""
  return {
      name: getattr(made, name, given.get(name, option.default))
      for name, option in options.of(make, ours).items()
  }
