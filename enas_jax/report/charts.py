"""Says which curves a run has, and shows them with their numbers."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from enas_jax.report import markup, plot
from enas_jax.report.files import number, RunFiles
from enas_jax.report.plot import Line, short

_EPOCH = "epoch"
_SPLITS = {
    "child": "training batches",
    "valid": "validation split",
    "test": "test split",
}
_MEASURES = {
    "loss": "What the training minimises. Less is better.",
    "accuracy": "Share of examples whose class was right. More is better.",
    "likelihood": (
        "Geometric mean of the probability of the right class. More is better."
    ),
    "perplexity": "Of the next word. Less is better.",
}
# The first names of a family of numbers are drawn together.
_REWARDS = {
    "controller/reward": "mean of the epoch",
    "controller/reward_best": "best of a step",
    "controller/baseline": "baseline",
    "controller/reward_population": "population",
}
_OTHERS = {
    "controller/entropy": (
        "Entropy",
        "How undecided the policy is (nats).",
    ),
    "controller/skip_rate": (
        "Skips",
        "Share of the possible skip connections that sampled children had.",
    ),
    "controller/skip_kl": (
        "Skips beside their prior",
        "Divergence (nats) of the policy's skips from the prior.",
    ),
}
_REWARD = (
    "What sampled children score on validation data with shared weights. More"
    " is better."
)
_NOT_DRAWN = ("child/lr",)


class Chart(NamedTuple):
  """A plot: its title, what it shows, and its numbers' keys with their names.
  """

  title: str
  said: str
  keys: dict[str, str]


def of(runs: Sequence[RunFiles]) -> list[Chart]:
  """Returns the charts that runs have numbers for, the loss first."""
  keys = dict.fromkeys(
      key
      for run in runs
      for line in run.epochs
      for key in line
      if "/" in key and key not in _NOT_DRAWN
  )
  measures = {}
  for key in keys:
    split, _, name = key.partition("/")
    if split in _SPLITS:
      measures.setdefault(name, {})[key] = _SPLITS[split]
  order = sorted(measures, key=lambda name: name != "loss")
  charts = [
      Chart(name.capitalize(), _MEASURES.get(name, ""), measures[name])
      for name in order
  ]
  rewards = {key: name for key, name in _REWARDS.items() if key in keys}
  if rewards:
    charts.append(Chart("Reward", _REWARD, rewards))
  for key in keys:
    if key.startswith("controller/") and key not in _REWARDS:
      name = key.partition("/")[2]
      title, said = _OTHERS.get(key, (name.capitalize(), ""))
      charts.append(Chart(title, said, {key: title.lower()}))
  return charts


def figures(run: RunFiles) -> str:
  """Returns the figures of a run's curves; "" where it has no epoch."""
  found = []
  for chart in of([run]):
    keys = chart.keys.items()
    lines = [Line(name, points(run, key)) for key, name in keys]
    found.append(_figure(chart, lines))
  return _grid(found)


def overlaid(runs: dict[str, RunFiles]) -> str:
  """Returns figures with a line for each run, by the names of the runs."""
  found = []
  for chart in of([*runs.values()]):
    # The split that is looked at is of more interest than the batches.
    key = max(chart.keys, key=lambda key: key.startswith(("test/", "valid/")))
    title = chart.title
    if len(chart.keys) > 1:
      title = f"{title}, {chart.keys[key]}"
    lines = [Line(name, points(run, key)) for name, run in runs.items()]
    found.append(_figure(Chart(title, chart.said, chart.keys), lines))
  return _grid(found)


def points(run: RunFiles, key: str) -> list[tuple[float, float]]:
  """Returns the epochs of a run in order and what a number was in each."""
  found = {}
  for line in run.epochs:
    epoch, value = number(line.get(_EPOCH)), number(line.get(key))
    if epoch is not None and value is not None:
      found[epoch] = value
  return sorted(found.items())


def _grid(found: Iterable[str]) -> str:
  """Returns figures beside each other; "" where there is none."""
  shown = "\n".join(filter(None, found))
  return f'<div class="grid">\n{shown}\n</div>' if shown else ""


def _figure(chart: Chart, lines: list[Line]) -> str:
  """Returns a plot with its legend and its main numbers; "" without any."""
  if not any(line.points for line in lines):
    return ""
  told = "; ".join(_told(line) for line in lines if line.points)
  drawing = plot.curves(f"{chart.title} by epoch. {told}.", lines)
  if len(lines) > 1:
    drawing = _legend(lines) + drawing
  rows = [_numbers(line) for line in lines if line.points]
  numbers = markup.table(
      f"{chart.title}; the epoch in brackets",
      ("line", "first", "last", "least", "most"),
      rows,
  )
  return markup.figure(
      chart.title,
      chart.said,
      drawing,
      markup.folded(f"Numbers: {chart.title.lower()}", numbers),
  )


def _legend(lines: Sequence[Line]) -> str:
  """Returns what each line of a plot stands for."""
  shown = [
      markup.Html(plot.swatch(n) + markup.text(line.name))
      for n, line in enumerate(lines)
      if line.points
  ]
  return markup.items(shown, "legend")


def _ends(line: Line) -> list[tuple[float, float]]:
  """Returns the first, the last, the least and the greatest point of a line."""
  by_value = sorted(line.points, key=lambda point: point[1])
  return [line.points[0], line.points[-1], by_value[0], by_value[-1]]


def _numbers(line: Line) -> list[str]:
  ends = (f"{short(value)} ({short(x)})" for x, value in _ends(line))
  return [line.name, *ends]


def _told(line: Line) -> str:
  """Says in words how a line runs."""
  first, last, least, most = (
      f"{short(value)} at {short(x)}" for x, value in _ends(line)
  )
  if first == last:
    return f"{line.name} {first}"
  return (
      f"{line.name} from {first} to {last}, least {least}, most {most}"
  )
