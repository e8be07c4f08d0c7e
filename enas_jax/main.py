"""Searches for an architecture, or trains one from scratch.

  python -m enas_jax.main --config=configs/X.py --workdir=W
  python -m enas_jax.main --config=configs/X.py:smoke --workdir=W \\
      --config.seed=1 --config.child.lr=0.1

Each file of configs/ says at its top what it does; a word after its colon is
one of its variants (smoke: every stage in seconds), and --config.KEY changes
one of its values. The same command goes on from where a run was stopped. A
value that cannot work ends in one line and exit code 2, an interrupted run in
130.
"""

from enas_jax import process

if __name__ == "__main__":
  process.keep_memory()  # before the imports that take a second

from collections.abc import Callable
import functools
import sys

from absl import app, flags, logging
from ml_collections import config_flags

from enas_jax import build, folder, train, usage
from enas_jax.errors import ConfigError

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The experiment, a file of configs/.", lock_config=True
)
_WORKDIR = flags.DEFINE_string("workdir", None, "The folder of the run.")


def main() -> None:
  """Runs the experiment that the flags name."""
  for name in ("config", "workdir"):
    if flags.FLAGS[name].value is None:
      raise ConfigError(f"--{name}", "is required.")
  refuse_taken()
  train.run(_CONFIG.value, _WORKDIR.value)


def cli(main: Callable = main, others: tuple[str, ...] = ()) -> None:
  """Maps every way to end to a line and an exit code.

  Args:
    main: of a program with these flags.
    others: the names of further flags that it has.
  """

  def begin(_):
    logging.set_verbosity(logging.WARNING)  # Orbax tells every file it opens
    process.run_in_place()
    process.keep_programs()
    main()

  try:
    app.run(begin, flags_parser=functools.partial(_parse, others=others))
  except ConfigError as error:
    sys.exit(_complain(error, 2))
  except train.Diverged as error:
    sys.exit(_complain(error, 1))
  except (folder.Interrupted, KeyboardInterrupt):
    sys.exit(130)


def refuse(instead: dict[str, str]) -> None:
  """Dies of flags that were given to a program that would not read them.

  Args:
    instead: by the flag's name, or config.KEY of a value or block, what the
      user should know.

  Raises:
    ConfigError: one of them was given.
  """
  config = flags.FLAGS["config"]
  given = config_flags.get_override_values(config) if config.present else {}
  for name, words in instead.items():
    if name.startswith("config."):
      keys = [f"config.{key}" for key in given]
      found = [key for key in keys if f"{key}.".startswith(f"{name}.")]
    else:
      found = [name] if flags.FLAGS[name].present else []
    if found:
      raise ConfigError(f"--{found[0]}", f"does nothing here; {words}.")


def refuse_taken() -> None:
  """Dies of flags of a search's final configs that the search itself sets.

  Raises:
    ConfigError: one of them was given.
  """
  for block in ("derive", "retrain"):
    inner = f"config.{block}.config"
    refuse({
        **{f"{inner}.{key}": f"--config.{key} rules" for key in build.TAKEN},
        f"{inner}.arch": "what the search finds is trained",
        f"{inner}.data.measure": "finalists are measured on the validation"
        " split, what is retrained on the test split",
        f"{inner}.data.valid": "finalists are measured on as many images as"
        " the search (--config.data.valid), what is retrained on none",
    })
  config = flags.FLAGS["config"].value
  if config.get("retrain", {}).get("config"):
    refuse({"config.retrain.command": "config.retrain.config retrains"})


def _parse(argv: list[str], others: tuple[str, ...]) -> list[str]:
  """absl's parser, with every mistake a ConfigError."""
  try:
    rest = flags.FLAGS(argv)
    # A missing file fails only where its value is looked at.
    getattr(_CONFIG.value, "seed", None)
    if flags.FLAGS["config"].present and _CONFIG.value is None:
      raise ConfigError("--config", "its get_config() returns nothing.")
    if len(rest) > 1:
      raise ConfigError(rest[1], "is not a flag.")
    return rest
  except SystemExit as end:  # after --help absl ends as if it had failed
    sys.exit(0 if end.code == 1 else end.code)
  except Exception as error:  # a config file runs here: anything can happen
    known = ("config", "workdir", *others)
    raise usage.explain(argv, error, known) from None


def _complain(error: Exception, code: int) -> int:
  print(f"error: {error}", file=sys.stderr)
  return code


if __name__ == "__main__":
  cli()
