"""Makes the parts of a page that only a search has."""

import os
import pathlib

import numpy as np

from enas_jax.data.telling import clock
from enas_jax.derive.candidates import POLICY, RANDOM
from enas_jax.report import files, markup, plot, results, words
from enas_jax.report.files import block, measured, number, RunFiles
from enas_jax.report.markup import paragraph
from enas_jax.report.results import count, four, measure

NAME = "report.html"
_SHARED = (
    "A score by shared weights is far below what a network reaches when it is"
    " trained alone; it serves to compare candidates."
)


def scores(run: RunFiles) -> dict[str, np.ndarray]:
  """Returns the scores of the candidates of each source, f[n]."""
  found = {POLICY: [], RANDOM: []}
  for line in run.candidates:
    value = number(line.get(run.score))
    if value is not None and line["source"] in found:
      found[line["source"]].append(value)
  return {source: np.array(values) for source, values in found.items()}


def summary(run: RunFiles) -> dict[str, list[str]]:
  """Returns by source how many candidates there are, their best score, mean
  and standard deviation.
  """
  best = np.min if files.less_is_better(run.score) else np.max
  return {
      source: [
          f"{len(of):,}",
          *(f"{each(of):.4f}" for each in (best, np.mean, np.std)),
      ]
      for source, of in scores(run).items()
      if len(of)
  }


def candidates(run: RunFiles) -> str:
  """Returns histograms of what candidates score, and their numbers."""
  if not run.searches:
    return ""
  found, numbers = scores(run), summary(run)
  if not numbers:
    return paragraph("No candidate has been scored yet.", "note")
  less = files.less_is_better(run.score)
  told = "; ".join(
      f"{source}: {row[0]} candidates, best {row[1]}, mean {row[2]}"
      for source, row in numbers.items()
  )
  derived = number(run.arch.get("score"))
  picture, outside = plot.histograms(
      f"Histograms of the {run.score} of candidates. {told}.",
      found,
      None if derived is None else ("derived", derived),
  )
  said = (
      f"Validation {run.score} by shared weights of candidates of the trained"
      f" policy and of random ones. {'Less' if less else 'More'} is better. The"
      " coloured upright line is the mean."
  )
  if outside:
    said += f" {outside} far outside are counted in the outermost bars."
  table = markup.table(
      f"{run.score.capitalize()} by shared weights",
      ("source", "candidates", "best", "mean", "std"),
      [[source, *row] for source, row in numbers.items()],
  )
  figure = markup.figure(f"Candidates by {run.score}", said, picture)
  beside = f"<div>{table}{_verdict(found, less)}</div>"
  return f'<div class="grid">\n{figure}\n{beside}\n</div>'


def _verdict(found: dict[str, np.ndarray], less: bool) -> str:
  """Says which candidates are better in the mean."""
  policy, random = found[POLICY], found[RANDOM]
  if not (len(policy) and len(random)):
    return ""
  gain = float(policy.mean() - random.mean()) * (-1 if less else 1)
  how = "better" if gain > 0 else "worse"
  return paragraph(
      f"In the mean the policy's candidates are {how} than random ones by"
      f" {abs(gain):.4f}. {_SHARED}"
  )


def finalists(run: RunFiles, at: pathlib.Path) -> str:
  """Returns the finalists; `at` is the folder of the page."""
  inner = files.parts(run, "finalists")
  found = files.rows(run.arch, "finalists")
  if not found:  # the search is not that far
    rows = [
        [linked(each, name, at), results.state(each)]
        for name, each in inner.items()
    ]
    columns = ("in finalists/", "state")
    return markup.table("Finalists so far", columns, rows) if rows else ""
  rows = []
  for line in found:
    name = str(line["number"])
    derived = line["encoding"] == run.arch["encoding"]
    rows.append([
        linked(inner[name], name, at) if name in inner else name,
        "derived" if derived else "",
        str(line["source"]),
        four(line[run.score]),
        four(line["trained"]),
        count(line.get("params")),
        clock(line["seconds"]),
    ])
  columns = (
      "in finalists/",
      "result",
      "source",
      f"{run.score} by shared weights",
      f"{measure(results.judged(inner, 'valid'))}, trained alone",
      "parameters",
      "time",
  )
  return markup.table("The best first", columns, rows)


def retrained(run: RunFiles, at: pathlib.Path) -> str:
  """Returns what was retrained; `at` is the folder of the page."""
  inner = files.parts(run, "retrain")
  if not inner:
    return ""
  name = results.judged(inner, "test")
  rows = [
      [
          linked(each, part, at),
          f"{pair[1]:.4f}"
          if (pair := measured(each.result, "test"))
          else results.state(each),
          count(each.result.get("parameters")),
          clock(each.seconds),
      ]
      for part, each in inner.items()
  ]
  columns = ("in retrain/", measure(name), "parameters", "time")
  parts = [
      markup.table("Trained alike, after the last epoch", columns, rows)
  ]
  test = block(run.result, "test")
  random = [n for n in map(number, test.get("random", ())) if n is not None]
  if random:
    sign = -1 if files.less_is_better(name) else 1
    parts.append(paragraph(
        words.beside_random(test["derived"], random, lambda each: sign * each)
    ))
  if ranking := test.get("ranking"):
    parts.append(paragraph(
        "Shared weights against retraining, the derived and the random"
        f" architectures: {words.correlation(ranking)}"
    ))
  return "\n".join(parts)


def truth(run: RunFiles) -> str:
  """Returns what a benchmark says of the search; "" where there is none."""
  found = run.arch.get("benchmark")
  lines = words.truth(found) if found else []
  if worth := run.result.get("worth") or run.arch.get("worth"):
    lines.append(words.worth(worth))
  return "\n".join(map(paragraph, lines))


def cost(run: RunFiles) -> str:
  """Returns what the search cost; "" where it has not ended."""
  found = run.arch.get("cost")
  if not found:
    return ""
  each = found["flops_each"]
  kinds = {
      "child steps": ("child_steps", "child_step"),
      "rewards": ("rewards", "reward"),
      "candidates scored": ("scored", "scoring"),
      "finalists trained": ("finalists", "finalist"),
  }
  rows = [
      [name, f"{found[many]:,}", f"{each[one]:.3e}"]
      for name, (many, one) in kinds.items()
      if found[many]
  ]
  columns = ("work", "times", "FLOPs each")
  parts = [
      markup.table("What the search did", columns, rows),
      *map(paragraph, words.cost(found)),
  ]
  if timed := run.arch.get("latency"):
    parts.append(paragraph(words.latency(timed, run.arch["milliseconds"])))
  return "\n".join(parts)


def linked(run: RunFiles, name: str, at: pathlib.Path) -> str:
  """Returns a name, as a link to the page of a run where it has one.

  Args:
    run: The run.
    name: The name.
    at: The folder of the page that has the link.
  """
  page = run.path / NAME
  if not page.exists():
    return name
  target = os.path.relpath(page.absolute(), at.absolute())
  return markup.link(name, pathlib.PurePath(target).as_posix())
