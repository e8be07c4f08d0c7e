"""A run: epochs, cadence, resume, files, progress.

`run` takes a config to its end in a folder that explains itself:

  config.json    the whole config
  log.txt        what the output showed
  metrics.jsonl  one line an epoch, and the same as TensorBoard `events/`
  checkpoints/   by Orbax
  derive.jsonl   a search: every candidate and its score
  arch.json      a search: the derived architecture
  arch.svg       the architecture, drawn
  finalists/     a search that trains some before it derives: a run each
  retrain/       a search that retrains what it derived: a run each
  result.json    the outcome
"""

from collections.abc import Callable
import functools
import pathlib
import shlex
import time
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np

import enas_jax
from enas_jax import (
  build,
  checkpoint,
  derive,
  drawing,
  evaluate,
  folder,
  metrics,
  optim,
  parallel,
  progress,
  ranking,
  search,
)
from enas_jax.build import Experiment
from enas_jax.folder import Signals
from enas_jax.types import MEASURES, NEVER, Record, SearchState


class Diverged(RuntimeError):
  """A loss or reward was not finite at the same step twice."""


def run(
    config: ConfigDict, workdir: str, signals: Signals | None = None
) -> dict[str, Any]:
  """Runs or resumes the experiment of `config` in `workdir`.

  Args:
    config: as the files of `configs/` give it.
    workdir: made where it does not exist; a run of the same config that it
      holds goes on.
    signals: of the run that this one is a part of.

  Returns:
    What `result.json` holds.

  Raises:
    ConfigError: a value that cannot work; nothing was written.
    Interrupted: SIGINT or SIGTERM came; everything is saved.
    Diverged: training cannot go on.
  """
  config = build.settled(config)
  done = folder.finished(workdir, config)
  if done:
    print(f"{workdir} is finished; its result.json says how it ended.")
    return done
  parts = build.experiment(config)
  path = folder.claim(workdir, config)
  display = progress.Display(path / "log.txt")
  try:
    with folder.locked(path), signals or Signals(display.say, path) as caught:
      if not signals:
        devices = ", ".join(map(str, jax.devices()))
        display.say(f"enas_jax {enas_jax.__version__} on {devices}, in {path}")
      finish = _search if parts.arch is None else _final
      result = finish(config, parts, path, display, caught)
      folder.write_json(path / "result.json", result)
      return result
  finally:
    display.close()


def _search(config, parts, path, display, signals) -> dict[str, Any]:
  """Search, derive, and what follows: retraining, or the command for it."""
  display.say(
      "Searching. A reward is what sampled children score on validation data"
      " with shared weights: far below what each would reach when trained on"
      " its own, and meant for comparing them. The entropy (in nats) is how"
      " undecided the controller is. First the steps are compiled, which may"
      " take a minute."
  )
  state = fit(config, parts, path, display, signals)
  alone = functools.partial(_or_diverged, display=display, signals=signals)
  found, drawn = derive.derive(
      config, parts, state, path, display, signals, alone
  )
  if config.retrain.config:
    return _retrain(config, parts, found, drawn, path, display, alone)
  command = ["python", "-m", "enas_jax.main"]
  command.append(f"--config={config.retrain.command}")
  command.append(f"--config.arch={path / 'arch.json'}")
  command += [f"--config.{key}={config[key]}" for key in build.ALIKE]
  command += [
      f"--config.{block}.{key}={config[block][key]}"
      for block, key in build.SAME
      if config.get(block, {}).get(key, "") != ""
  ]
  command.append(f"--workdir={path}_final")
  display.say(
      "Retrain the derived architecture from scratch with\n  "
      + shlex.join(command)
  )
  return found


def fit(
    config: ConfigDict,
    parts: Experiment,
    path: pathlib.Path,
    display: progress.Display,
    signals: Signals,
    test: Callable[[SearchState], Record] | None = None,
) -> SearchState:
  """The loop, from the newest checkpoint or the start to the last epoch.

  Args:
    config: the whole config.
    parts: what `build` made of it.
    path: the run folder.
    display: where to show it.
    signals: asked after every step.
    test: measures a final training every `config.eval_every` epochs, on the
      split it watches, else on `config.data.measure`.
  """
  loop = _Loop(config, parts, path, display, signals, test)
  try:
    return loop.run()
  finally:
    loop.close()


class _Loop:
  """The moving parts of `fit`."""

  def __init__(self, config, parts, path, display, signals, test):
    self.config, self.parts, self.path = config, parts, path
    self.display, self.signals = display, signals
    self.checkpoints = checkpoint.Checkpoints(path / "checkpoints")
    self.pace = progress.Pace()
    self.writer = None
    self.state = None
    self.test = test
    self.seen = {}  # the newest numbers, for the live bar
    self.per_call = min(config.steps_per_call, parts.child_steps)
    self.arrays, self.held = parts.train.arrays, parts.held.arrays
    self.mesh = None
    keys = jax.random.split(jax.random.key(config.seed))
    self.init_key, order_key = keys
    self.programs(order_key)

  def programs(self, order_key) -> None:
    """The steps to compile, on one device or on several."""
    config, parts = self.config, self.parts
    child_step = functools.partial(
        search.child_step,
        task=parts.task,
        strategy=parts.children,
        tx=parts.tx,
        train=parts.train,
        progress=parts.progress,
    )
    strategy_step = functools.partial(
        search.strategy_step,
        task=parts.task,
        strategy=parts.strategy,
        valid=parts.held,
        archs=parts.archs,
        same_batch=parts.same_batch,
    )
    if config.devices > 1:
      self.mesh = parallel.mesh(jax.devices()[: config.devices])
      child_step = parallel.child_step(child_step, self.mesh, parts.train)
      strategy_step = parallel.strategy_step(
          strategy_step, self.mesh, parts.train
      )
      self.arrays = parallel.place_arrays(self.mesh, parts.train, self.arrays)
      self.held = parallel.place_everywhere(self.mesh, self.held)

    def child(state, arrays, rows):
      at = parts.place(state.step)[1]

      def step(n, state):
        row = jax.tree.map(lambda leaf: leaf[at + n], rows)
        return child_step(state, arrays, row)

      if self.per_call == 1:
        state = step(0, state)
      else:
        count = jnp.minimum(self.per_call, parts.child_steps - at)
        state = jax.lax.fori_loop(0, count, step, state)
      return state, (state.failed, state.child, state.controller)

    def controller(state, arrays):
      state = strategy_step(state, arrays)
      return state, (state.failed, state.child, state.controller)

    self.child = jax.jit(child, donate_argnums=0)
    self.controller = jax.jit(controller, donate_argnums=0)
    self.next_epoch = jax.jit(search.next_epoch)
    self.order = jax.jit(
        lambda step: parts.train.rows(
            jax.random.fold_in(order_key, parts.place(step)[0])
        )
    )

  def run(self) -> SearchState:
    parts = self.parts
    first = search.init(
        self.init_key,
        task=parts.task,
        strategy=parts.strategy,
        tx=parts.tx,
        train=parts.train,
        arch=parts.arch,
    )
    if self.mesh:
      first = parallel.place(self.mesh, parts.train, first)
    step = self.load(first)
    if not step:
      self.save()
    failed_at = NEVER
    while step < parts.steps:
      try:
        with self.display.bar(parts.steps, step) as bar:
          step = self.epoch(step, bar)
      except _NotFinite as error:
        if error.step == failed_at:
          raise Diverged(self.complaint(error.step)) from None
        failed_at = error.step
        step = self.load(first)
        self.display.say(
            f"A number was not finite at step {failed_at}. Rolled back to the"
            f" checkpoint of step {step}."
        )
    return self.state

  def close(self) -> None:
    if self.writer:
      self.writer.close()
    self.checkpoints.close()

  def epoch(self, step: int, bar: progress.Bar) -> int:
    """Runs from `step` to the end of its epoch; returns the next step."""
    parts = self.parts
    epoch, at = parts.place(step)
    length = parts.length(epoch)
    rows = self.order(self.state.step)
    before = None
    while at < length:
      count = 1
      # What a step reads is on the device already.
      with jax.transfer_guard("disallow"):
        if at < parts.child_steps:
          kind = "child"
          count = min(self.per_call, parts.child_steps - at)
          self.state, info = self.child(self.state, self.arrays, rows)
        else:
          kind = "strategy"
          self.state, info = self.controller(self.state, self.held)
      step, at = step + count, at + count
      # One call behind, so that the device never waits for this process.
      self.check(before)
      self.pace.step(kind, count)
      if bar.live:
        bar.show(step, self.status(step, before))
      before = info
      if at == length:
        self.check(info)
        self.report(epoch)
      # Only now: a checkpoint at an epoch's end holds what follows its line.
      due = time.monotonic() - self.saved > self.config.checkpoint_seconds
      if due or self.signals.caught or step == parts.steps:
        self.check(info)
        self.save()
        self.signals.stop_if_caught()
    return step

  def check(self, info) -> None:
    failed = NEVER if info is None else int(jax.device_get(info[0]))
    if failed != NEVER:
      raise _NotFinite(failed)

  def status(self, step: int, info) -> str:
    """A line on what is going on, with the numbers of `info`."""
    parts = self.parts
    if info is not None:
      _, child, controller = jax.device_get(info)
      self.seen.update(metrics.summarize(child, "child/"))
      self.seen.update(metrics.summarize(controller, "controller/"))
    epoch, at = parts.place(step - 1)
    left = self.steps_left(step)
    each = self.pace.seconds("child")
    speed = parts.train.items / each if each else 0.0
    phase = "child" if at < parts.child_steps else "controller"
    return (
        f"epoch {epoch + 1}/{parts.epochs} {phase} step {at + 1}"
        f"/{parts.length(epoch)}"
        f"  {_line(self.seen)}  {speed:,.0f} {parts.train.unit}/s"
        f"  {self.pace.left(left)} left"
    )

  def steps_left(self, step: int) -> dict[str, int]:
    parts = self.parts
    epoch, at = parts.place(step)
    children = epoch * parts.child_steps + min(at, parts.child_steps)
    children = parts.epochs * parts.child_steps - children
    return {"child": children, "strategy": parts.steps - step - children}

  def report(self, epoch: int) -> None:
    """Writes the epoch's line; empties the records."""
    parts, state = self.parts, self.state
    values = {
        **metrics.summarize(state.child, "child/"),
        **metrics.summarize(state.controller, "controller/"),
        "child/lr": float(parts.rates[epoch]),
    }
    last = epoch + 1 == parts.epochs
    if self.test and (last or (epoch + 1) % self.config.eval_every == 0):
      part = "valid" if parts.watched else parts.part
      seen = metrics.summarize(self.test(state), f"{part}/")
      values.update(seen)
      if parts.watched:
        value = seen[f"{part}/{parts.task.metric}"]
        opt_state = optim.observe(state.opt_state, value)
        state = state._replace(opt_state=opt_state)
    each = self.pace.seconds("child")
    if each:
      speed = parts.train.items / each
      values[f"{parts.train.unit}_per_second"] = speed
    now = time.monotonic()
    values["seconds"], self.begun = now - self.begun, now
    self.writer.write(epoch + 1, values)
    self.state = self.next_epoch(state)
    left = self.pace.left(self.steps_left(int(state.step)))
    self.display.say(
        f"epoch {epoch + 1}/{parts.epochs}  {_line(values)}  {left} left"
    )
    self.pace.skip()

  def save(self) -> None:
    self.saved = time.monotonic()
    facts = {
        "metrics_size": self.writer.flush(),
        "seconds": self.saved - self.begun,
    }
    self.checkpoints.save(self.state, facts)
    self.pace.skip()

  def load(self, first: SearchState) -> int:
    """The newest checkpoint, or `first`; opens the metrics at its place."""
    if self.writer:
      self.writer.close()
    found = self.checkpoints.restore(first, self.display.say)
    # The steps give their state up: `first` has to outlive them.
    self.state = found[0] if found else jax.tree.map(lambda x: x.copy(), first)
    facts = found[1] if found else {"metrics_size": 0, "seconds": 0.0}
    step = int(self.state.step)
    self.saved = time.monotonic()
    # Of the epoch, in whichever process its time was spent.
    self.begun = self.saved - facts["seconds"]
    self.writer = metrics.Writer(
        self.path, facts["metrics_size"], self.parts.place(step)[0] + 1
    )
    if found and step:
      self.display.say(
          f"Going on from the checkpoint of step {step} of {self.parts.steps}."
      )
    self.pace.skip()
    return step

  def complaint(self, step: int) -> str:
    epoch, at = self.parts.place(step)
    kind = "child" if at < self.parts.child_steps else "controller"
    return (
        f"a number of the {kind} is not finite at step {step} (epoch"
        f" {epoch + 1}), also after going back to the last checkpoint. A"
        " smaller config.child.lr may help, in a new --workdir."
    )


class _NotFinite(Exception):

  def __init__(self, step: int):
    super().__init__(step)
    self.step = step


def _line(values: dict[str, float]) -> str:
  """The numbers that people follow, in words."""
  forms = {
      "child/loss": "loss {:.3f}",
      "child/accuracy": "train {:.1%}",
      "child/perplexity": "train ppl {:,.1f}",
      "controller/reward": "reward {:.3f}",
      "controller/reward_best": "best {:.3f}",
      "controller/entropy": "entropy {:.2f}",
      "controller/skip_rate": "skips {:.0%}",
      "test/accuracy": "test {:.2%}",
      "valid/accuracy": "valid {:.2%}",
      "valid/perplexity": "valid ppl {:,.2f}",
      "images_per_second": "{:,.0f} images/s",
      "words_per_second": "{:,.0f} words/s",
  }
  return "  ".join(
      form.format(values[k]) for k, form in forms.items() if k in values
  )


def _retrain(
    config, parts, found, drawn, path, display, alone
) -> dict[str, Any]:
  """Trains the derived and some random architectures alike, from scratch."""
  metric, worth = parts.task.metric, parts.task.worth
  shared = {"derived": found["score"]}
  encodings = {"derived": found["encoding"]}
  for n, line in enumerate(drawn[: config.retrain.random]):
    shared[f"random_{n}"] = line[parts.task.score]
    encodings[f"random_{n}"] = line["encoding"]
  results = {}
  for name, encoding in encodings.items():
    display.say(
        f"Retraining {name} from scratch, {len(results) + 1} of"
        f" {len(encodings)}, in {path / 'retrain' / name}."
    )
    final = build.retraining(config, encoding)
    results[name] = alone(final, path / "retrain" / name)
  scores = {
      name: result.get(f"test/{metric}") for name, result in results.items()
  }
  trained = {k: score for k, score in scores.items() if score is not None}
  display.table(
      f"Test {metric} after retraining from scratch, last epoch",
      ("architecture", f"test {metric}", "parameters"),
      [
          (name, f"{trained[name]:.4f}", f"{results[name]['parameters']:,}")
          if name in trained
          else (name, "diverged", "")
          for name in scores
      ],
  )
  test = {"derived": scores.pop("derived"), "random": list(scores.values())}
  random = [score for score in test["random"] if score is not None]
  if random:
    of_derived = f"{trained['derived']:.4f}" if "derived" in trained else "none"
    spread = f", std {np.std(random):.4f}" if len(random) > 1 else ""
    display.say(
        f"Derived {of_derived}; {len(random)} random: mean"
        f" {np.mean(random):.4f}{spread}, best {max(random, key=worth):.4f}."
    )
  report = ranking.report(
      [worth(shared[name]) for name in trained],
      [worth(score) for score in trained.values()],
      config.seed,
  )
  if report:
    test["ranking"] = report
    display.say(
        "Shared weights against retraining, the derived and the random"
        f" architectures: {ranking.line(report)}"
    )
  return {**found, "test": test}


def _or_diverged(final, path, display, signals) -> dict[str, Any]:
  """One of several trainings: where it diverges the others go on."""
  try:
    return run(final, str(path), signals)
  except Diverged as error:
    display.say(f"It diverged: {error}")
    result = {"diverged": str(error)}
    folder.write_json(path / "result.json", result)
    return result


def _final(config, parts, path, display, signals) -> dict[str, Any]:
  """A final training; its outcome is the last epoch's, never the best's."""
  drawing.write(path, parts.space.graphs(parts.arch))
  test = evaluate.evaluator(parts.task, parts.held, parts.arch)
  watch = test
  if parts.watched:
    watch = evaluate.evaluator(parts.task, parts.watched, parts.arch)
  state = fit(config, parts, path, display, signals, watch)
  size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
  result = {
      **(metrics.summarize(watch(state), "valid/") if parts.watched else {}),
      **metrics.summarize(test(state), f"{parts.part}/"),
      "parameters": size,
      "epochs": parts.epochs,
      "encoding": parts.space.flatten(parts.arch),
  }
  metric = parts.task.metric
  display.say(
      f"{MEASURES[parts.part].capitalize()} {metric} after the last epoch:"
      f" {result[f'{parts.part}/{metric}']:.4f}"
      f" ({size:,} parameters). Written to {path / 'result.json'}."
  )
  return result
