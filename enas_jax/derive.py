"""Derive: one architecture of many, by their shared weights (§2.2).

The reference leaves this to the reader of its log. Here architectures of the
trained policy, and random ones, are scored alike on the whole validation split.
The best of the policy's by score is derived, or, with
`config.derive.by = "policy"`, the one that the strategy itself holds for the
best: of a controller the likeliest choices, of evolution the fittest of its
population, of random search nothing but the score. Where a benchmark is given,
what it knows of them stands beside the scores.

With `config.derive.finalists` that one and its neighbours, which differ in one
choice, so many in all, are trained alone, by `config.derive.config` or, where
it is empty, as the search retrains, and the best of them on the validation
split is derived.
Shared weights tell bad architectures from good ones, not the best from good
ones, nor what a deeper network needs ("NAS-Bench-201 by shared weights" in
experiments/README.md). It is one step of a local search (White, Nolen, Savani
2021, arXiv 2005.02960).
"""

from collections.abc import Callable
import functools
import json
import math
import pathlib
import time
from typing import Any

import jax
from ml_collections import ConfigDict
import numpy as np

import enas_jax
from enas_jax import arch as archs
from enas_jax import (
  benchmark,
  build,
  check,
  cost,
  drawing,
  evaluate,
  folder,
  metrics,
  progress,
  search,
)
from enas_jax.build import Experiment
from enas_jax.folder import Signals
from enas_jax.strategies.evolution import mutants
from enas_jax.types import SearchState, Size

POLICY, RANDOM, NEIGHBOUR = "policy", "random", "neighbour"


def derive(
    config: ConfigDict,
    parts: Experiment,
    state: SearchState,
    path: pathlib.Path,
    display: progress.Display,
    signals: Signals,
    train: Callable[[ConfigDict, pathlib.Path], dict[str, Any]],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
  """Scores the candidates, writes `derive.jsonl` and `arch.json`.

  Args:
    config: of the search.
    parts: what `build` made of it.
    state: at the end of the search.
    path: the run folder.
    display: where to show it.
    signals: asked after every candidate.
    train: (final config, folder) -> what its `result.json` holds.

  Returns:
    The content of `arch.json`, and the lines of the random architectures in
    the order drawn.
  """
  display.say(
      "Search done. Scoring candidates on the whole validation split, with the"
      " shared weights; only their order matters."
  )
  lines = _score(config, parts, state, path, display, signals)
  metric = parts.task.score
  ranked = {
      source: sorted(
          (line for line in lines if line["source"] == source),
          key=lambda line: _value(parts, line[metric], line),
          reverse=True,
      )
      for source in (POLICY, RANDOM)
  }
  _show(config, ranked, metric, display)
  if parts.penalty and not any(line["penalty"] for line in lines):
    display.say(
        "config.objective took nothing off: no candidate costs more than its"
        " target."
    )
  best, how = ranked[POLICY][0], "the policy's best by score"
  if config.derive.by == check.BY_POLICY and parts.strategy.candidates:
    best = next(line for line in lines if line["source"] == POLICY)
    how = "the strategy's own choice (config.derive.by)"
  finalists = _finalists(config, parts, state, best, path, display, train)
  if finalists and _value(parts, finalists[0]["trained"], best) > -math.inf:
    best, how = finalists[0], (
        f"the best finalist with {finalists[0]['trained']:.4f} when trained"
        " alone"
    )
  content = _content(config, parts, ranked, finalists, best)
  arch = parts.space.unflatten(best["encoding"])
  picture = drawing.write(path, parts.space.graphs(arch))
  folder.write_json(path / "arch.json", content)
  display.say(
      f"Derived architecture, {how}, which scores {best[metric]:.4f} by shared"
      f" weights, written to {path / 'arch.json'} and drawn in {picture}:\n  "
      + "\n  ".join(content["readable"])
  )
  if parts.size:
    _show_size(content, ranked[RANDOM], display)
  if parts.benchmark:
    display.say("\n".join(benchmark.lines(content["benchmark"])))
  # Last, as it may read what only a retraining needs.
  content["cost"] = _spent(config, parts, path, lines, finalists)
  folder.write_json(path / "arch.json", content)
  display.say("\n".join(cost.lines(content["cost"])))
  return content, [line for line in lines if line["source"] == RANDOM]


def _score(config, parts, state, path, display, signals) -> list[dict]:
  """All candidates' lines; those that `derive.jsonl` has are not run again."""
  counts = {POLICY: config.derive.archs, RANDOM: config.derive.random}
  sources = {
      POLICY: (parts.strategy, state.strategy),
      RANDOM: (parts.uniform, ()),
  }
  candidates = []
  for i, (source, (strategy, asked)) in enumerate(sources.items()):
    key = jax.random.fold_in(jax.random.fold_in(state.key, state.step), i)
    draw = functools.partial(
        search.candidates, strategy, archs=counts[source]
    )
    drawn = search.listed(jax.jit(draw)(asked, key), counts[source])
    candidates += [(source, arch) for arch in drawn]

  file = path / "derive.jsonl"
  lines = _known(file)
  file.write_text("".join(json.dumps(line) + "\n" for line in lines))
  score = evaluate.evaluator(parts.task, parts.held)
  pace = progress.Pace()
  with display.bar(len(candidates), len(lines)) as bar, file.open("a") as out:
    for n in range(len(lines), len(candidates)):
      source, arch = candidates[n]
      line = _line(parts, score, state, source, arch)
      print(json.dumps(line), file=out, flush=True)
      lines.append(line)
      pace.step("candidate")
      left = pace.left({"candidate": len(candidates) - n - 1})
      bar.show(n + 1, f"candidate {n + 1}/{len(candidates)}  {left} left")
      signals.stop_if_caught()
  return lines


def _finalists(config, parts, state, best, path, display, train) -> list[dict]:
  """`best` and its neighbours, trained alone: their lines, best first.

  `number` is that of its folder, `trained` what it then has on the validation
  split, by the task's metric; None: it diverged.
  """
  count = config.derive.finalists
  if not count:
    return []
  near = mutants(parts.space, parts.space.unflatten(best["encoding"]))
  order = np.random.default_rng(config.seed).permutation(len(near))
  score = evaluate.evaluator(parts.task, parts.held)
  wanted = [best]
  for n in sorted(order[: count - 1]):
    wanted.append(_line(parts, score, state, NEIGHBOUR, near[n]))
  display.say(
      f"Training {len(wanted)} finalists alone"
      f" (config.{build.finalists_by(config)}.config): what"
      " shared weights chose, and neighbours, which differ from it in one"
      " choice. The best of them on the validation split is derived."
  )
  found = []
  for n, line in enumerate(wanted):
    place = path / "finalists" / str(n)
    display.say(f"Finalist {n + 1} of {len(wanted)}, in {place}.")
    begun = time.monotonic()
    result = train(build.finalist(config, line["encoding"]), place)
    trained = result.get(f"valid/{parts.task.metric}")
    # An earlier process may have done some of it, or all.
    seconds = sum(line["seconds"] for line in _known(place / "metrics.jsonl"))
    seconds = max(seconds, time.monotonic() - begun)
    found.append(
        {**line, "number": n, "trained": trained, "seconds": seconds}
    )
  found.sort(
      key=lambda line: _value(parts, line["trained"], line), reverse=True
  )
  _show_finalists(parts, found, best, display)
  return found


def _show_finalists(parts, found, best, display) -> None:
  score = parts.task.score

  def words(line):
    arch = parts.space.unflatten(line["encoding"])
    return archs.described(arch, parts.space)

  chosen = words(best)

  def change(line):
    """The first line that differs: some spaces sum all up at the end."""
    pairs = zip(words(line), chosen, strict=True)
    return next((own for own, other in pairs if own != other), "as chosen")

  columns = {
      "in finalists/": [str(line["number"]) for line in found],
      "neighbour by": [change(line) for line in found],
      f"{score} by shared weights": [f"{line[score]:.4f}" for line in found],
      f"{parts.task.metric}, trained alone": [
          "diverged" if line["trained"] is None else f"{line['trained']:.4f}"
          for line in found
      ],
  }
  if parts.benchmark:
    true = benchmark.accuracies(
        parts.benchmark, [line["encoding"] for line in found]
    )
    columns["true test accuracy"] = [f"{value:.2f}%" for value in true]
  display.table(
      "Finalists on the validation split",
      tuple(columns),
      list(zip(*columns.values(), strict=True)),
  )


def _show_size(content, random, display) -> None:
  low, high = (
      [edge(line[key] for line in random) for key in Size._fields]
      for edge in (min, max)
  )
  display.say(
      f"Its final network, at the sizes of this search, has"
      f" {content['params']:,} parameters and takes {content['flops']:.3e}"
      f" FLOPs an image; random ones {low[0]:,} to {high[0]:,} and"
      f" {low[1]:.3e} to {high[1]:.3e}."
  )


def _content(config, parts, ranked, finalists, best) -> dict[str, Any]:
  """That of `arch.json` but for the cost."""
  metric = parts.task.score
  arch = parts.space.unflatten(best["encoding"])
  scores = {
      source: {
          "best": found[0][metric],
          "mean": float(np.mean([line[metric] for line in found])),
          "count": len(found),
      }
      for source, found in ranked.items()
  }
  return archs.record(
      arch,
      parts.space,
      {
          "space": config.space.to_dict(),
          "metric": metric,  # of the validation split, by shared weights
          "score": best[metric],
          "scores": scores,
          **({"finalists": finalists} if finalists else {}),
          **_truth(config, parts, ranked, best["encoding"]),
          **_sized(parts, arch),
          "seed": config.seed,
          "config_hash": build.config_hash(config),
          "version": enas_jax.__version__,
      },
  )


def _line(parts, score, state, source, arch) -> dict[str, Any]:
  """What is known of one numpy architecture, by shared weights."""
  begun = time.monotonic()
  record = score(state, arch)
  return {
      "source": source,
      **metrics.summarize(record),
      **_sized(parts, arch),
      "encoding": parts.space.flatten(arch),
      "seconds": time.monotonic() - begun,
  }


def _truth(config, parts, ranked, derived) -> dict[str, Any]:
  """What the benchmark, if there is one, says of the candidates."""
  if not parts.benchmark:
    return {}
  score, worth = parts.task.score, parts.task.worth
  policy = [line["encoding"] for line in ranked[POLICY]]
  random = [(line["encoding"], worth(line[score])) for line in ranked[RANDOM]]
  return {
      "benchmark": benchmark.report(
          parts.benchmark, derived, policy, random, config.seed
      )
  }


def _spent(config, parts, path, lines, finalists) -> dict[str, Any]:
  """The cost of the whole search, whichever processes it took."""
  policy, random = (
      [
          parts.space.unflatten(line["encoding"])
          for line in lines
          if line["source"] == source
      ]
      for source in (POLICY, RANDOM)
  )
  timed = [*_known(path / "metrics.jsonl"), *lines, *finalists]
  seconds = sum(line["seconds"] for line in timed)
  trained = [parts.space.unflatten(line["encoding"]) for line in finalists]
  return cost.report(config, parts, policy, random, trained, seconds)


def _sized(parts, arch) -> dict[str, Any]:
  """The size of a numpy architecture and what the objective takes for it."""
  if not parts.size:
    return {}
  params, flops = parts.size(arch)
  penalty = {}
  if parts.penalty:
    penalty["penalty"] = float(parts.penalty(arch))
  return {"params": int(params), "flops": float(flops), **penalty}


def _value(parts, measured: float | None, line) -> float:
  """By which candidates are ranked, more is better; NaN and None come last."""
  if measured is None:
    return -math.inf
  worth = parts.task.worth(measured) - line.get("penalty", 0.0)
  return worth if math.isfinite(worth) else -math.inf


def _known(file: pathlib.Path) -> list[dict]:
  """The whole lines of an earlier process; a last one cut short is dropped."""
  if not file.exists():
    return []
  whole = file.read_text().split("\n")[:-1]
  return [json.loads(line) for line in whole]


def _show(config, ranked, metric, display) -> None:
  best = ranked[POLICY][0]

  def cells(source, n):
    found = ranked[source]
    return f"{found[n][metric]:.4f}" if n < len(found) else ""

  rows = [
      (str(n + 1), cells(POLICY, n), cells(RANDOM, n))
      for n in range(min(config.derive.top, max(map(len, ranked.values()))))
  ]
  for name, summary in (("mean", np.mean), ("std", np.std)):
    values = [
        f"{summary([line[metric] for line in ranked[source]]):.4f}"
        for source in (POLICY, RANDOM)
    ]
    rows.append((name, *values))
  objective = ", ranked less their penalty" if "penalty" in best else ""
  display.table(
      f"Validation {metric} by shared weights{objective}",
      (
          "rank",
          f"policy ({len(ranked[POLICY])})",
          f"random ({len(ranked[RANDOM])})",
      ),
      rows,
  )
