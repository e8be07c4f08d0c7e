"""What experiments of many runs share: how runs start, and what is compared."""

from collections.abc import Callable, Iterator
import contextlib
import functools
import multiprocessing
import pathlib
from typing import Any, NamedTuple

from absl import flags
import jax
from ml_collections import ConfigDict
import numpy as np

from enas_jax import build, command, folder, launch, process, run, signals
from enas_jax.data.telling import clock
from enas_jax.errors import ConfigError
from enas_jax.report.display import Display

# Of a search, and what it is compared by: the first that there is.
MEASURES = {
    "test_accuracy": "true test accuracy, %",
    "retrained": "retrained, derived",
    "retrained_random": "retrained, random",
    "finalist": "best finalist, trained alone",
    "mean_of_policy": "mean of candidates, %",
    "rank": "true rank",
    "regret": "regret, %",
    "percentile": "percentile",
    "equivalent": "equivalent trainings",
    "cost": "cost in trainings",
    "gain": "gain",
    "random_alone": "random alone at this cost, %",
    "kendall": "kendall",
    "largest": "true test accuracy of the largest, %",
    "kendall_params": "kendall of the parameters",
    "kendall_flops": "kendall of the FLOPs",
    "best": "best by shared weights",
    "mean": "mean by shared weights",
    "seconds": "seconds",
    "flops": "FLOPs",
}
# Of what a search is worth, factors: their means are geometric.
_FACTORS = ("equivalent", "cost", "gain", "ratio")
_BOOTSTRAP = 1000  # resamples of the seeds
JUDGES = ("test_accuracy", "retrained", "finalist", "best")
JOBS = "jobs"  # the folder of what submitit writes


class Run(NamedTuple):
  """One of many runs."""

  name: str  # of its folder
  config: ConfigDict
  path: pathlib.Path


class Ready(NamedTuple):
  """Runs that can begin; nothing is written yet."""

  path: pathlib.Path  # the folder of all of them
  rest: list[Run]  # those that are not finished
  slots: list[process.Slot]  # of this machine; []: SLURM starts them


def launch_flags() -> tuple[flags.FlagHolder, ...]:
  """Defines the flags that say where runs start, and how many at a time."""
  return (
      flags.DEFINE_enum(
          "launch", "local", ["local", "slurm"], "What starts the runs."
      ),
      flags.DEFINE_integer(
          "at_once", None, "Runs at a time; as devices.", lower_bound=1
      ),
      flags.DEFINE_list(
          "slurm", [], "NAME=VALUE of sbatch, by submitit's names."
      ),
  )


def seeds(words: list[str]) -> list[int]:
  """Returns what --seeds says.

  Raises:
    ConfigError: they are no different seeds.
  """
  try:
    found = [int(word) for word in words]
  except ValueError:
    found = []
  known = all(0 <= seed < 2**32 for seed in found)
  if not found or len(set(found)) < len(found) or not known:
    raise ConfigError(
        "--seeds",
        "must be different whole numbers >= 0 and below 2 to the 32,"
        f" got {','.join(words)!r}.",
    )
  return found


def ready(runs: list[Run], path: pathlib.Path) -> Ready:
  """Looks at all runs before the first one begins, and writes nothing.

  What is not finished is checked in a process of its own, so that this one
  holds no device while the runs go on.

  Args:
    runs: one each of different configs.
    path: the folder of all of them.

  Raises:
    ConfigError: a value of a run, or of the flags, that cannot work.
  """
  values = flags.FLAGS
  if (path / "config.json").exists():
    raise ConfigError(
        "--workdir", f"{path} is the folder of one run. Name another folder."
    )
  if values.launch == "slurm":
    _launcher(Ready(path, [], []), print)  # refuses what cannot be
  elif values.slurm:
    raise ConfigError("--slurm", "does not go with --launch=local.")
  jax.config.update("jax_platforms", "cpu")  # this process leaves others alone
  rest, known = [], {}
  for each in runs:
    record = build.record(each.config)
    same = known.setdefault(repr(sorted(record.items())), each.name)
    if same != each.name:
      raise ConfigError(
          "--over", f"{same} and {each.name} are the same run."
      )
    if not folder.finished(each.path, record):
      rest.append(each)
  slots = _checked([each.config for each in rest]) if rest else []
  return Ready(path, rest, slots)


def _checked(configs: list[ConfigDict]) -> list[process.Slot]:
  """Makes the plans of configs in another process; returns slots for them."""
  context = multiprocessing.get_context("spawn")
  ours, theirs = context.Pipe()
  values = flags.FLAGS
  local = values.launch == "local"
  # It is no daemon, since what reads a stream has processes of its own.
  child = context.Process(
      target=_check, args=(theirs, configs, values.at_once, local)
  )
  with launch.deaf():  # it is ended below
    child.start()
  theirs.close()
  try:
    key, found = ours.recv()
  except EOFError:
    raise launch.Failed("the configs could not be checked.") from None
  finally:
    child.kill()
    child.join()
  if key:
    raise ConfigError(key, found)
  return found


def _check(
    pipe: Any, configs: list[ConfigDict], at_once: int | None, local: bool
) -> None:
  """Sends the slots for runs, or the key and message of an error."""
  every = jax.local_device_count() if local else 1
  devices = max(config.get("devices", 1) or every for config in configs)
  try:
    slots = []
    if local:
      slots = process.slots(
          "--at_once",
          at_once,
          platform=jax.default_backend(),
          found=jax.local_device_count(),
          each=devices,
      )
      slots[0].take()  # its cores are those of a run
    else:  # the devices are in the cluster
      jax.config.update("jax_platforms", "cpu")
      jax.config.update("jax_num_cpu_devices", devices)
    sources = {}
    for config in configs:
      build.plan(config, sources, command.tell)
  except ConfigError as error:
    pipe.send((error.key, error.message))
  else:
    pipe.send(("", slots))


def _launcher(made: Ready, say: Callable[[str], None]) -> launch.Launcher:
  """Returns what --launch names."""
  values = flags.FLAGS
  where = made.path / JOBS
  if values.launch == "local":
    return launch.Local(where, made.slots)
  options = {}
  for word in values.slurm:
    name, equals, text = word.partition("=")
    if not equals:
      raise ConfigError("--slurm", f"must be NAME=VALUE, got {word!r}.")
    options[name] = _value(text)
  return launch.Slurm(where, options, values.at_once, say)


def _value(text: str) -> bool | int | float | str:
  """Returns a number or a truth where a text is one."""
  if text.lower() in ("true", "false"):
    return text.lower() == "true"
  for kind in (int, float):
    try:
      return kind(text)
    except ValueError:
      pass
  return text


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[Display]:
  """Makes and locks the folder of many runs; gives what writes to its log.

  Raises:
    ConfigError: it cannot be made, or another process is at work in it.
  """
  try:
    path.mkdir(parents=True, exist_ok=True)
    display = Display(path / "log.txt")
  except OSError as error:
    raise ConfigError(
        "--workdir", f"cannot write to {path}: {error.strerror}."
    ) from None
  with contextlib.closing(display), folder.locked(path, display.say):
    yield display


def bring(made: Ready, display: Display) -> dict[str, str]:
  """Brings runs to their end.

  Args:
    made: of `ready`.
    display: shows a line for each that ends.

  Returns:
    Why a run failed, by its name.

  Raises:
    Interrupted: a signal came; all that runs is saved.
  """
  failures, left = {}, len(made.rest)

  def told(ended: launch.Ended) -> None:
    nonlocal left
    left -= 1
    how = f"ended after {clock(ended.seconds)}"
    if ended.failure:
      failures[ended.name] = ended.failure
      how = f"failed: {ended.failure}"
    display.say(f"{ended.name} {how.rstrip('.')}. {left} to go.")

  jobs = [
      launch.Job(each.name, functools.partial(ran, each.config, each.path))
      for each in made.rest
  ]
  with signals.Signals(display.say, made.path) as stopping:
    launch.each(jobs, _launcher(made, display.say), stopping, told)
  return failures


def ran(config: ConfigDict, path: pathlib.Path) -> None:
  """Runs a config in a process of its own."""
  run.run(build.plan(config), str(path), show=False)


def measures(result: dict | None) -> dict[str, Any]:
  """Returns the numbers of one run's `result.json`, of a search or training."""
  if result is None:
    return {}
  if "scores" not in result:
    return {
        key: value
        for key, value in result.items()
        if isinstance(value, float | int)
    }
  truth, retrained = result.get("benchmark"), result.get("test")
  out = {**result["scores"]["policy"]}
  out.pop("count")
  if truth:
    keys = ("test_accuracy", "rank", "regret", "mean_of_policy")
    out.update({key: truth[key] for key in keys})
    ranked = truth["ranking"] or {}  # too few
    out.update({key: ranked.get(key) for key in ("kendall", "kendall_95")})
    baselines = truth.get("baselines", {})
    if baselines:
      out["largest"] = baselines["largest"]["test_accuracy"]
    sizes = ("kendall_params", "kendall_flops")
    out.update({key: baselines.get(key) for key in sizes})
  out.update(result.get("worth", {}))
  if retrained:
    out["retrained"] = retrained["derived"]
    out["retrained_random"] = mean(retrained["random"])["mean"]
  if result.get("finalists"):
    out["finalist"] = result["finalists"][0]["trained"]
  return {**out, **{key: result["cost"][key] for key in ("seconds", "flops")}}


def judge(rows: list[dict[str, Any]]) -> str:
  """Returns the measure that runs are compared by, the first that one has."""
  tests = [key for key in rows[0] if key.startswith(("test/", "valid/"))]
  usual = ("test/accuracy", "test/perplexity", *tests)
  return next(
      key
      for key in (*JUDGES, *usual)
      if any(row.get(key) is not None for row in rows)
  )


def averaged(key: str, values: list[float | None]) -> dict[str, Any]:
  """Returns the mean over the seeds of one of MEASURES, as `cell` shows it."""
  return (_factor if key in _FACTORS else mean)(values)


def mean(values: list[float | None]) -> dict[str, float | None]:
  """Returns mean and deviation of those there are; one has no deviation."""
  values = [value for value in values if value is not None]
  if not values:
    return {"mean": None, "std": None}
  std = float(np.std(values)) if len(values) > 1 else None
  return {"mean": float(np.mean(values)), "std": std}


def _factor(values: list[float | None]) -> dict[str, Any]:
  """Returns the geometric mean of those there are, and its interval.

  The interval of 95 % is that of the means of seeds drawn anew.
  """
  logs = np.log([value for value in values if value])
  if not len(logs):
    return {"mean": None, "std": None}
  rows = np.random.default_rng(0).integers(
      len(logs), size=(_BOOTSTRAP, len(logs))
  )
  interval = np.exp(np.percentile(logs[rows].mean(1), [2.5, 97.5]))
  return {
      "mean": float(np.exp(logs.mean())),
      "std": None,
      "interval": interval.tolist() if len(logs) > 1 else None,
  }


def cell(value: dict[str, Any], whole: bool = False) -> str:
  """Returns a mean, and its deviation or its interval, as tables show them.

  Args:
    value: of `mean` or `averaged`.
    whole: whether it is of whole numbers.
  """
  if value["mean"] is None:
    return ""
  digits = 2 if abs(value["mean"]) >= 1 else 4
  digits = 0 if whole else digits
  kinds = (".2e", ".1e") if value["mean"] >= 1e6 else (f",.{digits}f",) * 2
  if value.get("interval"):
    low, high = (format(edge, kinds[0]) for edge in value["interval"])
    return f"{value['mean']:{kinds[0]}} [{low}, {high}]"
  values = [v for v in (value["mean"], value["std"]) if v is not None]
  return " ± ".join(map(format, values, kinds))
