"""The command: `python -m enas_jax.main --config=configs/X.py --workdir=W`.

A door, not a room: flags, then `train.run`. A value that cannot work ends in
one line and exit code 2; a run that was interrupted, in 130.
"""

import os
import pathlib
import platform
import sys

from absl import app, flags, logging
import jax
from ml_collections import config_flags

from enas_jax import folder, train, usage
from enas_jax.types import ConfigError

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The experiment, a file of configs/.", lock_config=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "The folder of the run.")


def main(argv: list[str]) -> None:
  """Runs the experiment that the flags name."""
  if len(argv) > 1:
    raise ConfigError(argv[1], "is not a flag.")
  for name in ("config", "workdir"):
    if flags.FLAGS[name].value is None:
      raise ConfigError(f"--{name}", "is required.")
  # Orbax tells every file it opens.
  logging.set_verbosity(logging.WARNING)
  keep_programs()
  train.run(_CONFIG.value, _WORKDIR.value)


def keep_programs() -> None:
  """Keeps compiled programs, so that a second start compiles nothing.

  In the user's cache folder, one for each machine since a program is compiled
  for its processor; JAX_COMPILATION_CACHE_DIR names another one.
  """
  if jax.config.jax_compilation_cache_dir is not None:
    return
  cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  folder = pathlib.Path(cache) / "enas_jax" / platform.node()
  jax.config.update("jax_compilation_cache_dir", str(folder))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def cli() -> None:
  """Maps every way to end to a line and an exit code."""
  try:
    app.run(main, flags_parser=_parse)
  except ConfigError as error:
    sys.exit(_complain(error, 2))
  except train.Diverged as error:
    sys.exit(_complain(error, 1))
  except (folder.Interrupted, KeyboardInterrupt):
    sys.exit(130)


def _parse(argv: list[str]) -> list[str]:
  """absl's parser, with every mistake a ConfigError."""
  try:
    rest = flags.FLAGS(argv)
    # A missing file fails only where its value is looked at.
    getattr(_CONFIG.value, "seed", None)
    return rest
  except Exception as error:  # a config file runs here: anything can happen
    raise usage.explain(argv, error) from None


def _complain(error: Exception, code: int) -> int:
  print(f"error: {error}", file=sys.stderr)
  return code


if __name__ == "__main__":
  cli()
