"""Puts in words what a run reports."""

from collections.abc import Sequence
import shlex
from typing import Any

from enas_jax import archfile
from enas_jax.plan import Plan
from enas_jax.report.display import clock
from enas_jax.types import MEASURES

SEARCHING = (
    "Searching. A reward is what sampled children score on validation data"
    " with shared weights: far below what each would reach when trained on"
    " its own, and meant for comparing them. The entropy (in nats) is how"
    " undecided the controller is. First the steps are compiled, which may"
    " take a minute."
)
SCORING = (
    "Search done. Scoring candidates on the whole validation split, with the"
    " shared weights; only their order matters."
)
NO_PENALTY = (
    "config.objective took nothing off: no candidate costs more than its"
    " target."
)
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
      f"Weights go on from those in {path}; what depends on the classes or"
      f" words, which differ, starts afresh: {', '.join(fresh)}."
  )


def training_finalists(plan: Plan, count: int) -> str:
  """Explains the training of finalists."""
  return (
      f"Training {count} finalists alone (config.{plan.finalist_block}.config):"
      " what shared weights chose, and neighbours, which differ from it in one"
      " choice. The best of them on the validation split is derived."
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


def size(content: dict[str, Any], random: Sequence[dict[str, Any]]) -> str:
  """Compares the size of the derived arch with that of random candidates."""
  (least, less), (most, more) = (
      [edge(line[key] for line in random) for key in ("params", "flops")]
      for edge in (min, max)
  )
  return (
      f"Its final network, of the config that retrains it, has"
      f" {content['params']:,} parameters and takes {content['flops']:.3e}"
      f" FLOPs an image; random ones {least:,} to {most:,} and"
      f" {less:.3e} to {more:.3e}."
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


def truth(found: dict[str, Any]) -> list[str]:
  """Puts a `benchmark.report` in words."""
  out = [
      f"CIFAR-10 test accuracy of the derived architecture in the benchmark"
      f" {found['test_accuracy']:.2f}%: rank {found['rank']:,} of"
      f" {found['architectures']:,}, regret {found['regret']:.2f}%."
      f" Mean of the policy's candidates {found['mean_of_policy']:.2f}%, of"
      f" the random ones {found['mean_of_random']:.2f}%."
  ]
  if found["ranking"]:
    out.append(
        "Shared weights against the truth, of the random candidates:"
        f" {correlation(found['ranking'])}"
    )
  return out


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


def command(plan: Plan, path: str) -> str:
  """Names the command that retrains the arch that a search in `path` derived.
  """
  words = ["python", "-m", "enas_jax.main", plan.command[0]]
  words.append(f"--config.arch={path}/arch.json")
  words += [*plan.command[1:], f"--workdir={path}_final"]
  return (
      "Retrain the derived architecture from scratch with\n  "
      + shlex.join(words)
  )


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
  """Returns the first line of an arch that differs from the chosen arch's."""
  own, other = (
      archfile.described(plan.space.unflatten(values), plan.space)
      for values in (encoding, chosen)
  )
  # The first line is taken because some spaces end with a summary of all.
  pairs = zip(own, other, strict=True)
  return next((line for line, its in pairs if line != its), "as chosen")


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
