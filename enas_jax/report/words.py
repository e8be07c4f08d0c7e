"""Puts in words what a run reports."""

from collections.abc import Sequence
import shlex
from typing import Any

from enas_jax import archfile
from enas_jax.data.telling import clock
from enas_jax.plan import Plan
from enas_jax.types import MEASURES

SEARCHING = (
    "Searching. A reward is what sampled children score on validation data"
    " with shared weights: far below what each would reach when trained on"
    " its own, and meant for comparing them. The entropy (in nats) is how"
    " undecided the controller is."
    "\nFirst the steps are compiled, which may take a minute."
)
SCORING = (
    "Search done. Scoring candidates on the whole validation split, with the"
    " shared weights; only their order matters."
)
NO_PENALTY = (
    "config.objective took nothing off: no candidate costs more than its"
    " target."
)
TIMING = (
    "Timing the final networks of each choice at its place"
    " (config.objective.cost); it is done once, and kept in latency.json."
)
ALIKE = (
    "All candidates score alike, so the derived architecture is any of them:"
    " the validation split is too small or of one class (config.data.valid), or"
    " the shared weights have learnt nothing yet (config.epochs)."
)
RETRAIN = "Retrain the derived architecture from scratch with\n  {}"
_NUMBERS = {
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


def numbers(values: dict[str, float]) -> str:
  """Returns the numbers that people watch, in words."""
  return "  ".join(
      form.format(values[key])
      for key, form in _NUMBERS.items()
      if key in values
  )


def training(plan: Plan) -> str:
  """Says which arch a training trains, so that another one is seen at once."""
  lines = archfile.described(plan.experiment.arch, plan.space)
  return "Training this architecture:\n  " + "\n  ".join(lines)


def started(plan: Plan) -> str:
  """Says what a training goes on from."""
  path, fresh = plan.start
  if not fresh:
    return f"All weights go on from those in {path}."
  return (
      f"Weights go on from those in {path}; what depends on the classes, the"
      f" words or the size of pictures, which differ, starts afresh:"
      f" {', '.join(fresh)}."
  )


def other_devices(
    before: dict[str, int], devices: int, processes: int
) -> str:
  """Returns a line on a run that goes on on something else than before.

  Args:
    before: on what it ran, as `folder.run_on` says.
    devices: on how many it runs now.
    processes: which these belong to.
  """

  def some(devices, processes):
    each = "device" if devices == 1 else "devices"
    of = f" of {processes} processes" if processes > 1 else ""
    return f"{devices} {each}{of}"

  there = some(before["devices"], before["processes"])
  return (
      f"It ran on {there} and goes on on {some(devices, processes)}: from here"
      " on it is no longer the same run to the bit, as config.json notes."
  )


def compiled(counts: dict[str, int]) -> str:
  """Says how many programs were compiled for all archs."""
  return (
      f"Programs compiled for all architectures: {counts['child']} of the child"
      f" step, {counts['controller']} of the controller step."
  )


def training_finalists(plan: Plan, count: int) -> str:
  """Explains the training of finalists."""
  return (
      f"Training {count} finalists alone (config.{plan.finalist_block}.config):"
      " what shared weights chose, and neighbours, which differ from it in one"
      " choice, or in two where one gives too few. The best of them on the"
      " validation split is derived."
  )


def derived(
    plan: Plan, content: dict[str, Any], how: str, file: str, picture: str
) -> str:
  """Says which arch was derived, by what, and where it was written."""
  score = content["score"]
  return (
      f"Derived architecture, {how}, which scores {score:.4f} by shared"
      f" weights, written to {file} and drawn in {picture}:\n  "
      + "\n  ".join(content["readable"])
  )


def size(
    plan: Plan, content: dict[str, Any], random: Sequence[dict[str, Any]]
) -> str:
  """Compares the size of the derived arch with that of random candidates.

  It returns "" where no candidate has one, as those of before a benchmark was
  given to a run that goes on.
  """
  random = [line for line in random if "params" in line]
  if not random:
    return ""
  (least, less), (most, more) = (
      [edge(line[key] for line in random) for key in ("params", "flops")]
      for edge in (min, max)
  )
  return (
      f"Its final network, of the config that retrains it, has"
      f" {content['params']:,} parameters and takes {content['flops']:.3e}"
      f" FLOPs for one of the {plan.experiment.train.unit}; random ones"
      f" {least:,} to {most:,} and {less:.3e} to {more:.3e}."
  )


def correlation(found: dict[str, Any]) -> str:
  """Puts a `ranking.report` in words."""

  def with_interval(name):
    value, interval = found[name], found[f"{name}_95"]
    if value is None:
      return f"{name} undefined"
    return f"{name} {value:.3f} [{interval[0]:.3f}, {interval[1]:.3f}]"

  top = ", ".join(f"{k}: {v:.0%}" for k, v in found["top"].items())
  return (
      f"{found['candidates']} architectures, {with_interval('kendall')},"
      f" {with_interval('spearman')} (95 % by bootstrap); of the k best, truly"
      f" among the k best: {top}."
  )


def repeated(ranked: dict[str, Sequence[dict[str, Any]]]) -> str:
  """Says how many of the candidates are one architecture again.

  Args:
    ranked: A `candidates.ranked`.

  Returns:
    "" where all candidates of each source differ.
  """
  counts = {
      source: (len(lines), len({tuple(line["encoding"]) for line in lines}))
      for source, lines in ranked.items()
  }
  if all(drawn == different for drawn, different in counts.values()):
    return ""
  each = " and ".join(
      f"{different:,} of the {drawn:,} of {source}"
      for source, (drawn, different) in counts.items()
  )
  return f"Not all candidates differ: {each} are different architectures."


def truth(found: dict[str, Any]) -> list[str]:
  """Puts what arch.json says of the benchmark in words.

  Args:
    found: A `benchmark.report`, with `searched_on`, what the search says of its
      own data, and `same_data`, whether the table is of the same set.
  """
  known, all_ = found["known"], found["architectures"]
  out = []
  if not found["same_data"]:
    out.append(
        f"The benchmark's table is of {found['data']}; this search is on"
        f" {found['searched_on']}."
    )
  if known < all_:
    out.append(
        f"The benchmark knows {known:,} of the {all_:,} architectures; ranks"
        " and means are of these."
    )
  place = "not in the table."
  if found["rank"]:
    place = (
        f"{_percent(found['test_accuracy'])}: rank {found['rank']:,} of"
        f" {known:,}, regret {_percent(found['regret'])}."
    )
  out.append(
      f"Test {found['metric']} on {found['data']} of the derived architecture"
      " in the"
      f" benchmark {place} Mean of the policy's candidates"
      f" {_percent(found['mean_of_policy'])}, of the random ones"
      f" {_percent(found['mean_of_random'])}."
  )
  if "baselines" in found:
    out.append(_baselines(found))
  if found["ranking"]:
    out.append(
        "Shared weights against the truth, of the random candidates:"
        f" {correlation(found['ranking'])}"
    )
  return out


def _baselines(found: dict[str, Any]) -> str:
  """Says what a benchmark tells without a search."""
  own, known = found["baselines"], found["known"]
  largest = own["largest"]
  names = {"kendall_params": "parameters", "kendall_flops": "FLOPs"}
  taus = " and ".join(
      f"{'undefined' if own[key] is None else format(own[key], '.3f')} by"
      f" {name}"
      for key, name in names.items()
      if key in own
  )
  return (
      f"Without a search: the largest network has"
      f" {_percent(largest['test_accuracy'])}, rank {largest['rank']:,}; size"
      f" ranks the {known:,} architectures with kendall {taus}."
  )


def _percent(value: float | None) -> str:
  """Returns an accuracy in percent; one that is not known has a word."""
  return "unknown" if value is None else f"{value:.2f}%"


def worth(found: dict[str, float | None]) -> str:
  """Puts an `outcome.worth` in words."""
  equivalent, cost, gain = (
      "an unknown number" if found[name] is None else f"{found[name]:,.{n}f}"
      for name, n in (("equivalent", 0), ("cost", 3), ("gain", 0))
  )
  return (
      f"What was derived is worth {equivalent} of random trainings alone: of so"
      f" many, one is expected to be as good. The search cost {cost} of them."
      f" Gain: {gain}. Random search that trains alone at this cost, one at"
      f" least, is expected to reach {_percent(found['random_alone'])}."
  )


def latency(found: dict[str, Any], own: float) -> str:
  """Puts a `latency.report` in words.

  Args:
    found: The report.
    own: The predicted milliseconds of the derived arch.
  """
  tau = found["kendall"]
  other = ""
  if found["measured_on"] != found["device"]:
    other = f" (measured on {found['measured_on']})"
  return (
      f"A batch takes the derived network {own:.2f} ms on {found['device']} by"
      f" the sum of its choices. Of {found['networks']} random networks this"
      f" sum{other} and the time measured agree with kendall"
      f" {'undefined' if tau is None else format(tau, '.3f')}, mean error"
      f" {found['mean_error']:.1%}."
  )


def cost(found: dict[str, Any]) -> list[str]:
  """Puts a `cost.report` in words."""
  alone = found["alone"]
  trained = found["finalists"]
  finalists = f", {trained:,} finalists trained" if trained else ""
  return [
      f"The search took {clock(found['seconds'])} and"
      f" {found['flops']:.2e} FLOPs of products and convolutions:"
      f" {found['child_steps']:,} child steps, {found['rewards']:,} rewards,"
      f" {found['scored']:,} candidates scored{finalists}.",
      f"Training alone each of the {alone['candidates']:,} rewarded or scored"
      f" (recipe: {alone['recipe']}, {alone['steps']:,} steps) would take"
      f" {alone['times']:,.1f} times as many FLOPs, and"
      f" {clock(alone['seconds_estimated'])} at the same pace: an"
      " estimate, it was not run.",
  ]


def command(arguments: Sequence[str], path: str) -> str:
  """Returns the command that retrains what a search in `path` derived.

  Args:
    arguments: `Plan.command`.
    path: The folder of the search.
  """
  config, *rest = arguments
  arch, workdir = f"--config.arch={path}/arch.json", f"--workdir={path}_final"
  words = ["python", "-m", "enas_jax.main", config, arch, *rest, workdir]
  return shlex.join(words)


def trained(plan: Plan, result: dict[str, Any], file: str) -> str:
  """Says how well a trained network does."""
  part, metric = plan.experiment.part, plan.experiment.task.metric
  return (
      f"{MEASURES[part].capitalize()} {metric} after the last epoch:"
      f" {result[f'{part}/{metric}']:.4f}"
      f" ({result['parameters']:,} parameters). Written to {file}."
  )


def diverged(plan: Plan, step: int) -> str:
  """Says at which step a run cannot go on, and what may help."""
  epoch, at = plan.experiment.place(step)
  kind = "child" if at < plan.experiment.child_steps else "controller"
  return (
      f"a number of the {kind} is not finite at step {step} (epoch"
      f" {epoch + 1}), also after going back to the last checkpoint. A"
      " smaller config.child.lr may help, in a new --workdir."
  )


def changed(plan: Plan, encoding: list[int], chosen: list[int]) -> str:
  """Returns the lines of an arch that differ from the chosen arch's."""
  own, other = (
      archfile.described(plan.space.unflatten(values), plan.space)
      for values in (encoding, chosen)
  )
  # A notation, the last line of some spaces, differs where another line does.
  last = plan.space.notation(encoding)
  pairs = zip(own, other, strict=True)
  lines = [line for line, its in pairs if line != its and line != last]
  return ", ".join(lines) or "as chosen"


def beside_random(
    derived: float | None, random: Sequence[float], worth: Any
) -> str:
  """Compares the metric of the derived arch with that of random archs.

  All are retrained.

  Args:
    derived: The metric of the derived arch; None where it diverged.
    random: The metrics of the random archs that did not diverge.
    worth: The `worth` of the task.
  """
  mean = sum(random) / len(random)
  spread = ""
  if len(random) > 1:
    square = sum((value - mean) ** 2 for value in random) / len(random)
    spread = f", std {square**0.5:.4f}"
  own = "none" if derived is None else f"{derived:.4f}"
  return (
      f"Derived {own}; {len(random)} random: mean {mean:.4f}{spread}, best"
      f" {max(random, key=worth):.4f}."
  )
