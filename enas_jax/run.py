"""A run in its folder: resume, cadence, files, and one stage after another.

`run` takes a plan to its end in a folder that explains itself:

  config.json    the whole config
  log.txt        what the output showed
  metrics.jsonl  one line an epoch, and the same as TensorBoard `events/`
  labels.txt     of images: the names of the classes, in their order
  checkpoints/   by Orbax
  latency.json   a search with the objective of latency: what choices take
  derive.jsonl   a search: every candidate and its score
  arch.json      a search: the derived architecture
  arch.svg       the architecture, drawn
  model/         a training: what it trained, for `enas_jax.load`
  finalists/     a search that trains some before it derives: a run each
  retrain/       a search that retrains what it derived: a run each
  result.json    the outcome
  report.html    all this as a page for a browser

Of finalists or retrainings at once, `jobs/` beside them has the output of those
that failed.
"""

from collections.abc import Callable
import json
import pathlib
import time
from typing import Any
import zlib

import jax
import numpy as np

import enas_jax
from enas_jax import at_once, evaluate, folder, hosts, loop, modelfile
from enas_jax import stage as stages
from enas_jax.derive import candidates, latency, outcome, ranking
from enas_jax.derive.candidates import Line, RANDOM
from enas_jax.errors import ConfigError
from enas_jax.keeper import Diverged, Keeper
from enas_jax.plan import effective, Plan
from enas_jax.report import classes, drawing, tables, words
from enas_jax.report.display import Pace
from enas_jax.stage import Stage
from enas_jax.types import SearchState

_TIMES = "latency.json"


def run(plan: Plan, workdir: str, *, show: bool = True) -> dict[str, Any]:
  """Runs or resumes a plan in a folder.

  Args:
    plan: of `build.plan`.
    workdir: made where it does not exist; a run of the same config that it
      holds goes on.
    show: whether what its log holds is shown, too.

  Returns:
    What `result.json` holds.

  Raises:
    ConfigError: the folder cannot be used; nothing was written.
    Interrupted: SIGINT or SIGTERM came; everything is saved.
    Diverged: training cannot go on.
    Unwritable: the disk is full, or a limit was met; what was saved is whole.
  """
  text = json.dumps(effective(plan.record), sort_keys=True)
  if not hosts.alike(zlib.crc32(text.encode())):
    raise ConfigError("--config", "is not the same in all processes.")
  if hosts.several() and plan.derive and plan.derive.at_once > 1:
    raise ConfigError(
        "config.derive.at_once", "must be 1 in a run of several processes."
    )
  if done := finished(workdir, plan.record, show=show):
    return done
  with stages.opened(plan, workdir, show) as stage:
    devices = ", ".join(map(str, jax.local_devices()))
    if hosts.several():
      devices += f" and those of {hosts.count() - 1} more processes"
    stage.say(f"enas_jax {enas_jax.__version__} on {devices}, in {stage.home}")
    for line in plan.notes:
      stage.display.note(line)
    for line in filter(None, (classes.named(plan), classes.counted(plan))):
      stage.say(line)
    result = _search(stage) if plan.derive else _training(stage)
    return stages.written(stage, result)


def finished(
    workdir: str, record: dict[str, Any], *, show: bool = True
) -> dict[str, Any] | None:
  """Returns the result of a run that has ended.

  Args:
    workdir: the folder.
    record: of `build.record`; no data is needed for it.
    show: whether it says that the run has ended.

  Raises:
    ConfigError: the folder belongs to another config.
  """
  done = hosts.first(lambda: folder.finished(workdir, record))
  if done and show and hosts.writes():
    print(f"{workdir} is finished; its result.json says how it ended.")
  return done


def trained(workdir: str) -> bool:
  """Says whether a folder holds a training that has ended."""
  path = folder.path_of(workdir)
  model = path / modelfile.FOLDER / modelfile.JSON
  return model.exists() and (path / "result.json").exists()


def _search(stage: Stage) -> dict[str, Any]:
  """Searches and derives; then retrains, or names the command for it."""
  if stage.plan.timed:
    stage = _timed(stage)
  plan, path, say = stage.plan, stage.path, stage.say
  say(words.SEARCHING)
  state = _fit(stage)
  say(words.SCORING)
  lines = _scored(stage, state)
  ranked = candidates.ranked(plan, lines)
  tables.candidates(stage.display, plan, ranked)
  scores = {line[plan.experiment.task.score] for line in lines}
  if len(lines) > 1 and len(scores) == 1:
    say(words.ALIKE)
  if line := words.repeated(ranked):
    say(line)
  if plan.penalty and not any(line["penalty"] for line in lines):
    say(words.NO_PENALTY)
  best, how = candidates.chosen(plan, lines, ranked)
  finalists = _finalists(stage, state, best)
  if finalists:
    first = finalists[0]
    if candidates.value(plan, first["trained"], first) > -np.inf:
      best, how = first, (
          f"the best finalist with {first['trained']:.4f} when trained alone"
      )
  content = outcome.content(plan, ranked, finalists, best)
  picture = drawing.write(
      path, plan.space.graphs(plan.space.unflatten(best["encoding"]))
  )
  file = path / "arch.json"
  folder.write_json(file, content)
  say(words.derived(plan, content, how, str(file), str(picture)))
  if plan.size and (line := words.size(plan, content, ranked[RANDOM])):
    say(line)
  if plan.benchmark:
    say("\n".join(words.truth(content["benchmark"])))
  if plan.timed:
    content["latency"] = hosts.first(
        lambda: latency.report(plan, _device(path))
    )
    say(words.latency(content["latency"], content["milliseconds"]))
  epochs = folder.lines(path / "metrics.jsonl")
  content["cost"] = outcome.spent(plan, lines, finalists, epochs)
  say("\n".join(words.cost(content["cost"])))
  if plan.benchmark:
    content["worth"] = outcome.worth(plan, content)
  folder.write_json(file, content)
  if plan.retrain:
    drawn = [line for line in lines if line["source"] == RANDOM]
    content = {**content, "test": _retrained(stage, content, drawn)}
    if plan.benchmark:
      content["worth"] = outcome.worth(plan, content, content["test"])
      kept = {key: of for key, of in content.items() if key != "test"}
      folder.write_json(file, kept)
  if plan.benchmark:
    say(words.worth(content["worth"]))
  if not plan.command:
    return content
  say(words.RETRAIN.format(words.command(plan.command, str(stage.home))))
  return {**content, "retrain": list(plan.command)}


def _timed(stage: Stage) -> Stage:
  """Times the choices, unless the run has done so, and puts them to use."""
  file = stage.path / _TIMES

  def saved():
    if not file.exists():
      stage.say(words.TIMING)
      folder.write_json(file, latency.table(stage.plan))
    return folder.read_json(file)

  found = hosts.first(saved)  # clocks differ
  return stage._replace(plan=latency.bound(stage.plan, found))


def _device(path: pathlib.Path) -> str:
  """Returns the device on which a run timed the choices."""
  return folder.read_json(path / _TIMES)["device"]


def _training(stage: Stage) -> dict[str, Any]:
  """Trains one network; the outcome is the last epoch's, never the best's."""
  plan, experiment = stage.plan, stage.plan.experiment
  if plan.space:
    drawing.write(stage.path, plan.space.graphs(experiment.arch))
    stage.say(words.training(plan))
  if plan.start:
    stage.say(words.started(plan))
  task, arch = experiment.task, experiment.arch
  test = evaluate.evaluator(task, experiment.held, arch)
  watch = test
  apart = experiment.watched is not experiment.held
  if experiment.watched and apart:
    watch = evaluate.evaluator(task, experiment.watched, arch)
  state = _fit(stage, watch)
  watched = {}
  if experiment.watched:
    watched = evaluate.summarize(watch(state), "valid/")
  result = {
      **watched,
      **evaluate.summarize(test(state), f"{experiment.part}/"),
      "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
      "epochs": experiment.epochs,
      "encoding": plan.space.flatten(arch) if plan.space else [],
  }
  modelfile.write(stage.path / modelfile.FOLDER, plan, state, result)
  stage.say(words.trained(plan, result, str(stage.home / "result.json")))
  return result


def _fit(stage: Stage, measure: Any = None) -> SearchState:
  """Runs the loop from the newest checkpoint, or the start, to its end."""
  plan, *around, _ = stage
  with Keeper(plan, *around) as keeper:
    return loop.fit(
        plan.experiment, keeper.state(), keeper.hooks(), measure
    )


def _scored(stage: Stage, state: SearchState) -> list[Line]:
  """Returns the lines of all candidates; writes those that are missing."""
  drawn = candidates.drawn(stage.plan, state)
  file = stage.path / "derive.jsonl"
  lines = hosts.first(lambda: folder.lines(file))
  # Without a last line that was cut short.
  folder.write(file, "".join(json.dumps(line) + "\n" for line in lines))
  total, pace = len(drawn), Pace()
  rest = candidates.scored(stage.plan, state, drawn[len(lines) :])
  bar = stage.display.bar(total, len(lines))
  with bar, file.open("a", encoding="utf-8") as out:
    for line in rest:
      print(json.dumps(line), file=out, flush=True)
      lines.append(line)
      pace.step("candidate")
      left = pace.left({"candidate": total - len(lines)})
      bar.show(len(lines), f"candidate {len(lines)}/{total}  {left} left")
      stage.signals.stop_if_caught()
  return hosts.first(lambda: lines)  # clocks and last bits may differ


def _finalists(stage: Stage, state: SearchState, best: Line) -> list[Line]:
  """Trains `best` and neighbours alone; returns their lines, best first.

  `number` is that of its folder, `trained` what it then has on the validation
  split, by the task's metric; None: it diverged.
  """
  plan = stage.plan
  if not plan.finalist:
    return []
  near = candidates.near(plan, best)
  wanted = [best, *candidates.scored(plan, state, near)]
  stage.say(words.training_finalists(plan, len(wanted)))
  inner = stage.home / "finalists"
  alike = {inner / str(n): line["encoding"] for n, line in enumerate(wanted)}
  spent = at_once.train(stage, plan.finalist, alike, alone)
  found = []
  for n, (place, line) in enumerate(zip(alike, wanted, strict=True)):
    stage.say(f"Finalist {n + 1} of {len(wanted)}, in {place}.")
    begun = time.monotonic()
    result = _alone(stage, plan.finalist.of(line["encoding"]), place)
    trained = result.get(f"valid/{plan.experiment.task.metric}")
    # An earlier process may have done some of it, or all.
    epochs = folder.lines(place / "metrics.jsonl")
    seconds = sum(epoch["seconds"] for epoch in epochs)
    seconds = max(seconds, time.monotonic() - begun, spent.get(place, 0.0))
    found.append({**line, "number": n, "trained": trained, "seconds": seconds})
  found.sort(
      key=lambda line: candidates.value(plan, line["trained"], line),
      reverse=True,
  )
  tables.finalists(stage.display, plan, found, best)
  return found


def _retrained(
    stage: Stage, content: dict[str, Any], drawn: list[Line]
) -> dict[str, Any]:
  """Trains the derived and some random archs alike, from scratch.

  Args:
    stage: of the search.
    content: of arch.json.
    drawn: the random candidates, in the order drawn.
  """
  plan, task = stage.plan, stage.plan.experiment.task
  wanted = {"derived": (content["encoding"], content["score"])}
  for n, line in enumerate(drawn[: plan.retrained]):
    wanted[f"random_{n}"] = line["encoding"], line[task.score]
  results, inner = {}, stage.home / "retrain"
  alike = {inner / name: encoding for name, (encoding, _) in wanted.items()}
  at_once.train(stage, plan.retrain, alike, alone)
  for name, (encoding, _) in wanted.items():
    place = inner / name
    stage.say(
        f"Retraining {name} from scratch, {len(results) + 1} of {len(wanted)},"
        f" in {place}."
    )
    results[name] = _alone(stage, plan.retrain.of(encoding), place)
  scores = {
      name: result.get(f"test/{task.metric}")
      for name, result in results.items()
  }
  tables.retrained(stage.display, task.metric, scores, results)
  known = {name: v for name, v in scores.items() if v is not None}
  random = [score for name, score in known.items() if name != "derived"]
  if random:
    derived = known.get("derived")
    stage.say(words.beside_random(derived, random, task.worth))
  test = {
      "derived": scores.pop("derived"),
      "random": list(scores.values()),
      "loss": results["derived"].get("test/loss"),
  }
  report = ranking.report(
      [task.worth(wanted[name][1]) for name in known],
      [task.worth(score) for score in known.values()],
      plan.experiment.seed,
  )
  if report:
    test["ranking"] = report
    stage.say(
        "Shared weights against retraining, the derived and the random"
        f" architectures: {words.correlation(report)}"
    )
  return test


def alone(
    make: Callable[[list[int]], Plan], encoding: list[int], path: pathlib.Path
) -> None:
  """Trains one of several networks in a process of its own.

  Args:
    make: `Plan.anew`.
    encoding: of the arch.
    path: the folder of the training.
  """
  with stages.opened(make(encoding), path, show=False) as own:
    _trained_alone(own, own.say)


def _alone(stage: Stage, plan: Plan, path: pathlib.Path) -> dict[str, Any]:
  """Trains one of several networks, unless it is trained already."""
  done = hosts.first(lambda: folder.finished(path, plan.record))
  if done:
    stage.say(f"{path} is finished; its result.json says how it ended.")
    return done
  with stages.opened(plan, path, stage.show, stage.signals) as own:
    return _trained_alone(own, stage.say)


def _trained_alone(own: Stage, say: Callable[[str], None]) -> dict[str, Any]:
  """Trains one of several networks; where it diverges the others go on."""
  try:
    result = _training(own)
  except Diverged as error:
    say(f"It diverged: {error}")
    result = {"diverged": str(error)}
  return stages.written(own, result)
