"""Mistakes on the command line, in the words of the one who typed them."""

import glob
import os
import re

from absl import flags
from ml_collections import config_flags, ConfigDict

from enas_jax.errors import ConfigError, one_line, suggest

_KINDS = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    ConfigDict: "a block: set its values one by one",
}


def explain(
    argv: list[str], error: Exception, known: tuple[str, ...]
) -> ConfigError:
  """What `error` of the parser of `argv` means: its key and a way out.

  ml_collections loads the config file and reads the overrides in one go; here
  the file is loaded alone, so that it can be said which of the two failed.

  Args:
    argv: the command.
    error: of the parser.
    known: the names of the flags.
  """
  if isinstance(error, ConfigError):
    return error
  if isinstance(error, flags.UnrecognizedFlagError):
    flag = f"--{error.flagname}"
    near = suggest(flag, [f"--{name}" for name in known])
    return ConfigError(flag, f"no such flag. {near}")
  wrong = re.match(r"flag --(\w+)=(.*?): (.*)", str(error))
  if wrong and wrong[1] != "config":
    return ConfigError(f"--{wrong[1]}", f"{wrong[3]}, got {wrong[2]!r}.")
  # absl takes --config=F and --config F.
  line = re.sub(r"(?<=\n)(--?config)\n", r"\1=", "\n".join(argv))
  files = re.findall(r"^--?config=.*", line, re.MULTILINE)
  if not files:
    return ConfigError("--config", one_line(error))
  path = files[-1].partition("=")[2].partition(":")[0]
  if not os.path.isfile(path):
    near = suggest(path, glob.glob("configs/*.py"))
    return ConfigError("--config", f"there is no file {path!r}. {near}")
  values = flags.FlagValues()
  config = config_flags.DEFINE_config_file(
      "config", flag_values=values, sys_argv=[]
  )
  try:
    values([argv[0], files[-1]])
  except Exception as own:
    return ConfigError("--config", f"{path} fails: {_fault(path, own)}")
  for arg in argv:
    override = re.fullmatch(r"--?(no)?config\.([\w.]+)(=.*)?", arg)
    found = override and _absent(config.value, override[2].split("."))
    if found:
      return found
  wrong = re.match(r"flag --config\.([\w.]+)=(.*?): ", str(error))
  if wrong:
    kind = type(config.value[wrong[1]])
    wanted = _KINDS.get(kind, kind.__name__)
    return ConfigError(
        f"config.{wrong[1]}", f"must be {wanted}, got {wrong[2]!r}."
    )
  return ConfigError("--config", one_line(error))


def _fault(path: str, error: Exception) -> str:
  """The last line of a failure inside a file, and where in it."""
  _, traceback, lines = str(error).partition("Traceback (most recent")
  if not traceback:
    return one_line(error)
  places = re.findall(rf'File "[^"]*{re.escape(path)}", line (\d+)', lines)
  where = f"in line {places[-1]}, " if places else ""
  return where + lines.strip().splitlines()[-1].strip()


def _absent(config, names: list[str]) -> ConfigError | None:
  for depth, name in enumerate(names):
    block = config if isinstance(config, ConfigDict) else {}
    if name not in block:
      key = ".".join(["config", *names[: depth + 1]])
      if isinstance(config, ConfigDict) and not block:
        return ConfigError(
            key,
            "no such key: the block is empty. A config file of your own sets"
            " it whole, as configs/digits_micro.py sets config.retrain.config.",
        )
      return ConfigError(key, f"no such key. {suggest(name, block)}")
    config = block[name]
  return None
