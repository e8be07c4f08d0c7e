"""Runs one experiment with many values and seeds, several runs at a time.

  python -m experiments.sweep --config=digits_micro --workdir=W \\
      --over=config.reinforce.lr=0.001,0.0035,0.01 --seeds=0,1,2 --at_once=2

runs every value with every seed, each in a folder of its own, W/lr=0.001_seed=0
and so on, in a process of its own. Several --over make a grid; the values of
one are parted by semicolons where one of them has a comma. All else of --config
may be changed as anywhere, and it may search or train. Without --seeds the
config's own is the only one.

Every run is checked before the first one begins. As many run at a time as there
are devices, one where that is a CPU, or as --at_once says; none shares a GPU or
a core with another. What fails is told in a line, and the others go on. Ctrl-C
lets all save what they have. The same command does what is not finished; so it
does with more values or seeds.

With --launch=slurm the runs are jobs of SLURM, which are queued at once, or N
at a time with --at_once=N:

      --launch=slurm --slurm=partition=gpu,time=240,gpus_per_node=1

has the options of submitit's SlurmExecutor; time is in minutes, mem in GB. A
run saves itself when its time is up, and is queued again, three times at most.
Ctrl-C ends this command and no job; the same command waits for them.

At the end a table tells means and deviations over the seeds, W/sweep.csv has a
line for each run, and W/sweep.png shows what they are compared by over the
values of the first --over.
"""

from enas_jax import process

if __name__ == "__main__":
  process.end_silently()
  process.start_anew()  # before the imports that take a second

import csv
import functools
import io
import itertools
import pathlib
import re
from typing import Any, NamedTuple

from absl import flags
from ml_collections import config_flags, ConfigDict

from enas_jax import build, command, folder, launch, registry
from enas_jax.build import configfile
from enas_jax.errors import ConfigError
from enas_jax.report.display import Display
from experiments import many

_SHOWN = ("best", "parameters", "seconds")  # beside what runs are compared by


class Axis(NamedTuple):
  """The values of one option."""

  key: str  # dotted, without "config."
  texts: tuple[str, ...]  # as typed
  values: tuple[Any, ...]

  @property
  def column(self) -> str:
    """Its name in tables, where no measure has the same."""
    return f"config.{self.key}"


class Point(NamedTuple):
  """One run of a sweep."""

  texts: tuple[str, ...]  # a value of each axis
  seed: int
  run: many.Run


def main() -> None:
  """Runs the sweep that the flags name."""
  values = flags.FLAGS
  for name in ("config", "workdir"):
    if values[name].value is None:
      raise ConfigError(f"--{name}", "is required.")
  for name in ("submitit", "matplotlib"):
    registry.extra("experiments.sweep", name, "sweep")
  axes = _axes(values.over)
  keys = [axis.key for axis in axes]
  if not keys and values.seeds is None:
    raise ConfigError("--over", "is required, or else --seeds.")
  command.refuse({key: "give it with --over alone" for key in keys})
  seeds = [values.config.get("seed", 0)]
  if values.seeds is not None:
    command.refuse({"seed": "give --seeds"})
    seeds = many.seeds(values.seeds)
  path = folder.path_of(values.workdir)
  found = points(values.config, axes, seeds, path, values.seeds is not None)
  made = many.ready([point.run for point in found], path)
  with many.opened(path) as display:
    done = len(found) - len(made.rest)
    display.say(f"{len(found)} runs in {path}; {done} are finished.")
    failures = many.bring(made, display)
    rows = [_row(point, axes, failures) for point in found]
    folder.write(path / "sweep.csv", _table(rows))
    ended = [row for row in rows if row["state"] == "ended"]
    if ended:
      judge = many.judge(ended)
      show(rows, axes, judge, display)
      plot(rows, axes, judge, path / "sweep.png")
      display.say(f"{path}/sweep.csv has every run, {path}/sweep.png a plot.")
  if failures:
    raise launch.Failed(
        f"{len(failures)} of {len(found)} runs failed. The same command tries"
        " them again."
    )


def _axes(said: list[str]) -> list[Axis]:
  """Returns what all --over say; each value is read as a flag's is.

  Raises:
    ConfigError: there is no such option, or a value is none of its.
  """
  texts = dict(map(_texts, said))
  if len(texts) < len(said):
    raise ConfigError("--over", "names an option twice.")
  given = config_flags.get_override_values(flags.FLAGS["config"])
  parts = {}  # the names of parts that this command chooses, by their keys
  for block, word in configfile.NAMES:
    key = f"{block}.{word}"
    if key in texts or key in given:
      parts[key] = texts.get(key) or (given[key],)
  return [
      Axis(key, each, tuple(_read(key, text, parts) for text in each))
      for key, each in texts.items()
  ]


def _texts(said: str) -> tuple[str, tuple[str, ...]]:
  """Returns the key that one --over names, and its values as typed."""
  name, equals, rest = said.partition("=")
  if not name.startswith("config.") or not equals:
    raise ConfigError(
        "--over", f"must be config.KEY=VALUE,VALUE..., got {said!r}."
    )
  key = name.removeprefix("config.")
  if key == "seed":
    raise ConfigError("--over", "give --seeds in place of config.seed.")
  texts = tuple(rest.split(";" if ";" in rest else ","))
  if len({*texts}) < len(texts):
    raise ConfigError("--over", f"{name} has a value twice.")
  return key, texts


def _read(key: str, text: str, parts: dict[str, tuple[str, ...]]) -> Any:
  """Returns a value as `--config.KEY=text` has it beside some choice of parts.
  """
  file = flags.FLAGS["config"].config_filename
  others = {name: each for name, each in parts.items() if name != key}
  errors = []
  for chosen in itertools.product(*others.values()):
    said = {**dict(zip(others, chosen, strict=True)), key: text}
    argv = ["sweep", f"--config={file}"]
    argv += [f"--config.{name}={value}" for name, value in said.items()]
    found = flags.FlagValues()
    command.config_flag(found, argv)
    try:
      found(argv)
    except Exception as error:  # a config file runs here
      errors.append(command.explain(argv, error, ["config"]))
      continue
    words = key.split(".")
    return functools.reduce(ConfigDict.__getitem__, words, found.config)
  # What a part says of a value tells more than that others lack the option.
  raise min(errors, key=lambda error: "no such key" in str(error))


def points(
    config: ConfigDict,
    axes: list[Axis],
    seeds: list[int],
    path: pathlib.Path,
    seeded: bool,
) -> list[Point]:
  """Returns the runs of a grid.

  Args:
    config: what they have in common.
    axes: the options that differ.
    seeds: one run each of every point of the grid.
    path: the folder of all of them.
    seeded: whether they say the seed, also by the names of their folders.

  Raises:
    ConfigError: two of them would have one folder.
  """
  out, last = [], [axis.key.rpartition(".")[2] for axis in axes]
  words = [
      axis.key if last.count(word) > 1 else word
      for axis, word in zip(axes, last, strict=True)
  ]
  each = [[*zip(axis.texts, axis.values, strict=True)] for axis in axes]
  for chosen in itertools.product(*each):
    for seed in seeds:
      own = config.copy_and_resolve_references().unlock()
      if seeded:
        own.seed = seed
      for axis, (_, value) in zip(axes, chosen, strict=True):
        block, _, word = axis.key.rpartition(".")
        inner = own
        for name in filter(None, block.split(".")):
          if name not in inner:
            inner[name] = ConfigDict()
          inner = inner[name]
        inner[word] = value
      texts = tuple(text for text, _ in chosen)
      pairs = [*zip(words, texts, strict=True)]
      pairs += [("seed", str(seed))] if seeded else []
      name = "_".join(f"{word}={text}" for word, text in pairs)
      name = re.sub(r"[^\w.+=,-]", "-", name)
      out.append(Point(texts, seed, many.Run(name, own, path / name)))
  names = [point.run.name for point in out]
  for name in names:
    if names.count(name) > 1:
      raise ConfigError("--over", f"two runs would have the folder {name}.")
  return out


def _row(
    point: Point, axes: list[Axis], failures: dict[str, str]
) -> dict[str, Any]:
  """Returns what there is to tell of a run."""
  run = point.run
  row = {
      "run": run.name,
      **{
          axis.column: text
          for axis, text in zip(axes, point.texts, strict=True)
      },
      "seed": point.seed,
      "state": failures.get(run.name, "ended"),
  }
  if run.name in failures:
    return row
  result = folder.finished(run.path, build.record(run.config))
  epochs = folder.lines(run.path / "metrics.jsonl")
  seconds = sum(epoch["seconds"] for epoch in epochs)
  return {**row, "seconds": seconds, **many.measures(result)}


def _table(rows: list[dict[str, Any]]) -> str:
  """Returns the text of a CSV file, with a column for all that any run has."""
  out = io.StringIO()
  keys = [*dict.fromkeys(key for row in rows for key in row)]
  writer = csv.DictWriter(out, keys, lineterminator="\n")
  writer.writeheader()
  writer.writerows(rows)
  return out.getvalue()


def show(
    rows: list[dict[str, Any]], axes: list[Axis], judge: str, display: Display
) -> None:
  """Shows a line for each point of the grid: means over its seeds."""
  groups = _groups(rows, axes)
  names = [judge, *(name for name in _SHOWN if name != judge)]
  cells = {
      name: [
          many.cell(
              many.mean([row.get(name) for row in group]), name == "parameters"
          )
          for group in groups.values()
      ]
      for name in names
  }
  known = {name: column for name, column in cells.items() if any(column)}
  lines = []
  for n, (texts, group) in enumerate(groups.items()):
    ended = sum(row["state"] == "ended" for row in group)
    own = [column[n] for column in known.values()]
    lines.append((*texts, f"{ended} of {len(group)}", *own))
  titles = [many.MEASURES.get(name, name) for name in known]
  columns = [axis.column for axis in axes]
  seeds = ", ".join(dict.fromkeys(str(row["seed"]) for row in rows))
  display.table(
      f"Mean and std over the seeds {seeds}",
      (*columns, "ended", *titles),
      lines,
  )


def _groups(
    rows: list[dict[str, Any]], axes: list[Axis]
) -> dict[tuple[str, ...], list[dict[str, Any]]]:
  """Returns the rows of each point of the grid, by its texts."""
  groups = {}
  for row in rows:
    texts = tuple(row[axis.column] for axis in axes)
    groups.setdefault(texts, []).append(row)
  return groups


def plot(
    rows: list[dict[str, Any]],
    axes: list[Axis],
    judge: str,
    file: pathlib.Path,
) -> None:
  """Draws every run as a dot, and lines through the means over the seeds.

  The first axis lies along the bottom, where it is of numbers by their size;
  each choice of the others has a colour. Without an axis the seeds lie there.
  """
  from matplotlib import figure
  from matplotlib.backends import backend_agg

  drawn = figure.Figure(figsize=(7, 4.5), layout="constrained")
  backend_agg.FigureCanvasAgg(drawn)
  plane = drawn.subplots()
  scored = [row for row in rows if row.get(judge) is not None]
  bottom = axes[0].column if axes else "seed"
  values = {}
  for axis in axes[:1]:
    values = dict(zip(axis.texts, axis.values, strict=True))
  texts = dict.fromkeys(str(row[bottom]) for row in scored)
  places = _places(plane, {text: values.get(text) for text in texts})
  lines = {}
  for row in scored:
    word = ", ".join(
        f"{axis.key.rpartition('.')[2]}={row[axis.column]}" for axis in axes[1:]
    )
    at = places[str(row[bottom])]
    lines.setdefault(word, {}).setdefault(at, []).append(row[judge])
  for word, found in lines.items():
    means = {at: sum(found[at]) / len(found[at]) for at in sorted(found)}
    (line,) = plane.plot([*means], [*means.values()], label=word or None)
    dots = [(at, value) for at in found for value in found[at]]
    plane.plot(
        *zip(*dots, strict=True), "o", color=line.get_color(), alpha=0.5
    )
  plane.set_xlabel(bottom)
  plane.set_ylabel(many.MEASURES.get(judge, judge))
  ended = sum(row["state"] == "ended" for row in rows)
  plane.set_title(f"{ended} of {len(rows)} runs; a line through the means")
  if len(axes) > 1:
    plane.legend()
  plane.grid(alpha=0.3)
  drawn.savefig(file, dpi=150)


def _places(plane: Any, values: dict[str, Any]) -> dict[str, float]:
  """Returns where values, which are given by their texts, lie in a plot."""
  numbers = values and all(
      isinstance(value, int | float) and not isinstance(value, bool)
      for value in values.values()
  )
  if not numbers:
    values = {text: float(n) for n, text in enumerate(values)}
  elif 0 < 10 * min(values.values()) <= max(values.values()):
    plane.set_xscale("log")
  plane.set_xticks([*values.values()], [*values])
  plane.minorticks_off()
  return values


def cli() -> None:
  """Maps every way to end to a line and an exit code."""
  command.cli(
      main,
      command.config_flag(),
      command.workdir_flag(),
      flags.DEFINE_multi_string(
          "over", [], "config.KEY=VALUE,VALUE...; several make a grid."
      ),
      flags.DEFINE_list("seeds", None, "Every point of the grid has each."),
      *many.launch_flags(),
  )


if __name__ == "__main__":
  cli()
