"""What a search by a config costs in operations, without running it.

  python -m experiments.cost --config=configs/cifar_micro.py

Counted as at the end of a search (enas_jax/cost.py), on random architectures,
beside training each candidate alone by the recipe that the search's last line
would name. The data are read, since their number decides the steps.
"""

import json

from absl import flags
import jax
from ml_collections import ConfigDict

from enas_jax import build, cost, search
from enas_jax import main as command
from enas_jax.errors import ConfigError


def counted(config: ConfigDict) -> dict[str, object]:
  """`cost.report` of a search that is not run, without seconds."""
  config = build.settled(config)
  parts = build.experiment(config)
  if not config.retrain.config:
    config.retrain.config = build.recipe(config)
  count = config.derive.archs + config.derive.random
  archs = search.listed(
      search.propose(parts.uniform, (), jax.random.key(config.seed), count),
      count,
  )
  policy, random = archs[: config.derive.archs], archs[config.derive.archs :]
  finalists = policy[: config.derive.finalists]
  found = cost.report(config, parts, policy, random, finalists, float("nan"))
  del found["seconds"], found["alone"]["seconds_estimated"]
  return found


def main() -> None:
  """Prints one JSON object."""
  config = flags.FLAGS.config
  if config is None or "arch" in config:
    raise ConfigError("--config", "give one that searches.")
  command.refuse({"workdir": "nothing is written"})
  command.refuse_taken()
  print(json.dumps(counted(config), indent=2))


if __name__ == "__main__":
  command.cli(main)
