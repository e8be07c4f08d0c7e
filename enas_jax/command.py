"""The command line: flags, and every way to end as one line and a code.

A mistake is told in the words of the one who typed it.
"""

from collections.abc import Callable, Iterable
import functools
import os
import re
import shlex
import signal
import sys
import traceback
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import config_flags, ConfigDict

from enas_jax import hosts, keeper, launch, process, registry, signals
from enas_jax.build import configfile, known
from enas_jax.errors import ConfigError, one_line, suggest, Unwritable

_KINDS = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    ConfigDict: "a block: set its values one by one",
}
# The parts of a model that may be one's own.
_OWN = ("space", "network", "task")


class _Experiment(flags.ArgumentParser):
  """Reads the value of --config as every file of an experiment is read.

  What other flags say of options that the file does not set can be said then.
  """

  def __init__(self, argv: list[str] | None):
    super().__init__()
    self._argv = argv

  def parse(self, argument: str) -> ConfigDict:
    config = configfile.load("--config", argument)
    if isinstance(config, ConfigDict):
      known.add(config, _given(self._argv or sys.argv))
      config.lock()
    return config


def config_flag(
    values: flags.FlagValues = flags.FLAGS, argv: list[str] | None = None
) -> flags.FlagHolder:
  """Defines --config, the experiment that a program is about.

  Args:
    values: where it is defined.
    argv: the words that may change values; None: those of the process.
  """
  holder = config_flags.DEFINE_config_file(
      "config",
      None,
      "The experiment: the name of one in configs/, or the path of a file.",
      flag_values=values,
      sys_argv=argv,
  )
  values["config"].parser = _Experiment(argv)
  return holder


def workdir_flag() -> flags.FlagHolder:
  """Defines --workdir, the folder that a program writes to."""
  return flags.DEFINE_string("workdir", None, "The folder of the run.")


def hosts_flags() -> list[flags.FlagHolder]:
  """Defines the flags that say which processes are one run."""
  return [
      flags.DEFINE_string(
          "coordinator",
          None,
          "HOST:PORT of process 0, where a run has several processes and no"
          " cluster says so.",
      ),
      flags.DEFINE_integer(
          "processes", None, "How many processes the run has.", lower_bound=1
      ),
      flags.DEFINE_integer(
          "process", None, "Which of them this is, from 0.", lower_bound=0
      ),
  ]


def model_flags() -> list[flags.FlagHolder]:
  """Defines --model, what was trained, and flags for parts of one's own."""
  return [
      flags.DEFINE_list("model", None, "Folders of final trainings."),
      *(
          flags.DEFINE_string(kind, None, f"Its {kind} of your own: F.py:Name.")
          for kind in _OWN
      ),
  ]


def own_parts() -> dict[str, Any]:
  """Returns the parts of one's own that a model is loaded with."""
  named = {kind: flags.FLAGS[kind].value for kind in _OWN}
  return {
      kind: registry.find(f"--{kind}", name, kind, {})
      for kind, name in named.items()
      if name is not None
  }


def cli(
    main: Callable[..., None], *known: flags.FlagHolder, files: bool = False
) -> None:
  """Runs a program; maps every way to end to a line and an exit code.

  Args:
    main: reads its flags itself.
    known: the flags of the program, for what is said of an unknown one.
    files: whether the program takes words that are no flags; `main` is given
      the list of them.
  """
  names = [holder.name for holder in known]

  def begin(argv):
    process.show_what_can_be()
    logging.set_verbosity(logging.WARNING)  # Orbax tells every file it opens
    process.run_in_place()
    process.keep_programs()
    main(*([argv[1:]] if files else []))

  parser = functools.partial(_parse, known=names, files=files)
  try:
    # Until a run can save something, there is nothing to wait for.
    with signals.caught(_stop, _stopped):
      app.run(begin, flags_parser=parser)
  except ConfigError as error:
    _complain(error, 2)
  except (keeper.Diverged, launch.Failed, Unwritable) as error:
    _complain(error, 1)
  except KeyboardInterrupt as error:
    number = getattr(error, "number", signal.SIGINT)
    if getattr(error, "together", False):
      hosts.part()
    else:
      hosts.leave(f"stopped by {signal.Signals(number).name}.")
    signals.die(number)
  except Exception as error:
    if not hosts.several():
      raise
    hosts.verdict()  # JAX may have missed another process, in any words
    traceback.print_exc()
    _exit(one_line(error), 1)


def _stop(number: int, frame: Any) -> NoReturn:
  del frame
  _stopped(number)
  raise signals.Interrupted(number)


def _stopped(number: int) -> None:
  print(f"Stopped by {signal.Signals(number).name}.", file=sys.stderr)


def refuse(instead: dict[str, str]) -> None:
  """Dies of values of --config that a program sets itself.

  Args:
    instead: what the user should know, by the dotted key of a value.

  Raises:
    ConfigError: one of them was given.
  """
  given = config_flags.get_override_values(flags.FLAGS["config"])
  for key, words in instead.items():
    if key in given:
      raise ConfigError(f"--config.{key}", f"does nothing here; {words}.")


def tell(line: str) -> None:
  """Shows a line at once, also where the output is a file."""
  print(line, flush=True)


def again(drop: Iterable[str], add: Iterable[str]) -> str:
  """Returns the command that was typed, with other flags.

  Args:
    drop: the names of flags that it loses.
    add: flags that it gains.
  """
  names, kept, rest = {*drop}, [], iter(sys.argv[1:])
  for word in rest:
    name, equals, _ = word.lstrip("-").partition("=")
    if not word.startswith("-") or name not in names:
      kept.append(word)
    elif not equals:  # --workdir W is two words
      next(rest, None)
  module = sys.modules["__main__"].__spec__
  program = f"-m {module.name}" if module else sys.argv[0]
  return f"python {program} {shlex.join([*kept, *add])}"


def _parse(argv: list[str], known: list[str], files: bool) -> list[str]:
  """Parses as absl does, with every mistake a ConfigError."""
  try:
    rest = flags.FLAGS(argv)
    if len(rest) > 1 and not files:
      raise ConfigError(rest[1], "is not a flag.")
    return rest
  except SystemExit as end:  # after --help absl ends as if it had failed
    sys.exit(0 if end.code == 1 else end.code)
  except Exception as error:  # a config file runs here: anything can happen
    raise explain(argv, error, known) from None


def _complain(error: Exception, code: int) -> NoReturn:
  print(f"error: {error}", file=sys.stderr)
  _exit(str(error), code)


def _exit(why: str, code: int) -> NoReturn:
  """Ends the process, and with it the others of its run."""
  if not hosts.several():
    sys.exit(code)
  hosts.leave(why)
  for stream in (sys.stdout, sys.stderr):
    stream.flush()
  os._exit(code)  # in order it would wait for the others


def explain(
    argv: list[str], error: Exception, known: list[str]
) -> ConfigError:
  """Says what an error of the parser means: its key and a way out.

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
  config = configfile.load("--config", files[-1].partition("=")[2])
  given = _given(argv)
  for key in given:
    if found := _absent(config, key.split("."), given):
      return found
  wrong = re.match(r"flag --config\.([\w.]+)=(.*?): ", str(error))
  if wrong:
    block, _, name = wrong[1].rpartition(".")
    kind = (config[block] if block else config).get_type(name)
    wanted = _KINDS.get(kind, kind.__name__)
    return ConfigError(
        f"config.{wrong[1]}", f"must be {wanted}, got {wrong[2]!r}."
    )
  return ConfigError("--config", one_line(error))


def _given(argv: list[str]) -> dict[str, str]:
  """Returns the values of the flags of a config, by their dotted keys."""
  found = {}
  for word, following in zip(argv, [*argv[1:], ""], strict=True):
    override = re.fullmatch(r"--?(?:no)?config\.([\w.]+)(?:=(.*))?", word, re.S)
    if override:
      value = override[2]
      found[override[1]] = following if value is None else value
  return found


def _absent(
    config: Any, names: list[str], given: dict[str, str]
) -> ConfigError | None:
  """Returns the error of a key that a config cannot have, or None."""
  whole = config
  if isinstance(config, ConfigDict):
    known.add(config, given)
  for depth, name in enumerate(names):
    block = config if isinstance(config, ConfigDict) else {}
    if name not in block:
      key = ".".join(["config", *names[: depth + 1]])
      near = {*block}
      if isinstance(config, ConfigDict):
        near |= {*known.of(whole, ".".join(names[:depth]), given)}
        if not near:
          return ConfigError(
              key,
              "no such key: the block is empty. A config file of your own sets"
              " it whole, as enas_jax.configs.digits_micro sets"
              " config.retrain.config.",
          )
      choices = suggest(name, near, f"--{key.removesuffix(name)}")
      return ConfigError(key, f"no such key. {choices}")
    config = block[name]
  return None
