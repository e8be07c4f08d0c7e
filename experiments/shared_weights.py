"""What makes shared weights rank architectures as the truth does?

  python -m experiments.shared_weights --config=configs/nasbench201_small.py \
      --config.data.path=D --config.benchmark.path=T --json

trains the config's shared weights on random children, without a controller, for
its epochs and by its optimiser, with the seeds 0, 1 and 2 unless others are
given (--seed=3 --seed=4). Then it scores random architectures of the
benchmark's table T, the same for every seed, on the whole validation split, and
sets the scores beside the truth. Anything of the config can be changed
(--config.child.lr=0.05), and these, which no search offers:

  --children=M    average the gradients of M children on each batch (ENAS, the
                  gradient of §2.2); M times the work a step
  --average=A     score by an average of the weights, of decay A a step

Printed is, as mean and deviation over the seeds: Kendall's tau of all scores,
and of the truly better half; the mean true value of the ten that score best,
and that of the best one, in percent. With --json the last line is one object.
"""

from enas_jax import process

if __name__ == "__main__":
  process.start_anew()  # before the imports that take a second

import functools
import json
import time

from absl import flags
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict
import numpy as np
import optax

from enas_jax import build, command, evaluate, steps
from enas_jax.derive import benchmark, ranking
from enas_jax.errors import ConfigError
from enas_jax.plan import Plan
from enas_jax.report.display import Pace

_DRAW = 2**32 - 1  # the seed of the architectures, no other's
_TOP = 10


def trained(
    plan: Plan,
    seed: int,
    *,
    children: int = 1,
    average: float = 0.0,
    say=print,
):
  """Returns the shared weights after all epochs, a `SearchState`.

  Args:
    plan: of a search.
    seed: of everything random.
    children: see the module's docstring.
    average: likewise; 0: the weights as they are at the end.
    say: gets a line an epoch.
  """
  experiment = plan.experiment
  state = steps.init(
      jax.random.key(seed),
      task=experiment.task,
      strategy=plan.uniform,
      tx=experiment.tx,
      train=experiment.train,
  )
  epoch = jax.jit(_epoch(plan, children, average), donate_argnums=0)
  arrays = jax.device_put(experiment.train.arrays)
  carry = (
      state.params,
      state.opt_state,
      jax.tree.map(jnp.copy, state.params) if average else (),
  )
  pace = Pace()
  for n in range(experiment.epochs):
    rows_key, key = jax.random.split(jax.random.fold_in(state.key, n))
    rows = experiment.train.rows(rows_key)
    carry, accuracy = epoch(carry, key, arrays, rows)
    accuracy = float(accuracy)
    pace.step("epoch")
    left = pace.left({"epoch": experiment.epochs - n - 1})
    say(
        f"seed {seed}, epoch {n + 1}/{experiment.epochs}, training accuracy"
        f" {accuracy:.3f}, {left} left"
    )
  params, opt_state, mean = carry
  return state._replace(
      params=mean if average else params, opt_state=opt_state
  )


def _epoch(plan: Plan, children: int, average: float):
  """(carry, key, arrays, rows) -> (carry, mean training accuracy)."""
  task, train = plan.experiment.task, plan.experiment.train
  tx = optax.with_extra_args_support(plan.experiment.tx)

  def step(arrays, carry, inputs):
    params, opt_state, mean = carry
    key, row = inputs
    ask_key, augment_key, loss_key = jax.random.split(key, 3)
    archs = steps.propose(plan.uniform, (), ask_key, children)
    batch = train.batch(arrays, row, augment_key)

    def child(arch):
      def loss_of(params):
        found = task.loss(params, {}, arch, batch, loss_key, 0.0)
        loss, (_, record) = found
        return loss, record["accuracy"].value()

      (_, accuracy), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
      return accuracy, grads

    def add(total, arch):
      return jax.tree.map(lambda a, b: a + b / children, total, child(arch)), ()

    zeros = jnp.zeros(()), jax.tree.map(jnp.zeros_like, params)
    (accuracy, grads), _ = jax.lax.scan(add, zeros, archs)
    updates, opt_state = tx.update(grads, opt_state, params, batch=batch)
    params = optax.apply_updates(params, updates)
    if average:
      mean = optax.incremental_update(params, mean, 1 - average)
    return (params, opt_state, mean), accuracy

  def epoch(carry, key, arrays, rows):
    keys = jax.random.split(key, train.steps)
    one = functools.partial(step, arrays)
    carry, accuracies = jax.lax.scan(one, carry, (keys, rows))
    return carry, accuracies.mean()

  return epoch


def measured(plan: Plan, state, archs: int) -> dict[str, float]:
  """Returns what the scores by these weights say of the truth."""
  known = sorted(plan.benchmark.rows)
  order = np.random.default_rng(_DRAW).permutation(len(known))[:archs]
  encodings = [known[n] for n in order]
  task = plan.experiment.task
  score = evaluate.evaluator(task, plan.experiment.held)
  scores = []
  for encoding in encodings:
    record = score(state, plan.space.unflatten(list(encoding)))
    scores.append(task.worth(float(record[task.score].value())))
  scores = np.array(scores)
  true = benchmark.accuracies(plan.benchmark, encodings)
  good, order = true > np.median(true), np.argsort(-scores)
  return {
      "tau": ranking.kendall(scores, true),
      "tau, better half": (
          ranking.kendall(scores[good], true[good])
          if good.sum() >= ranking.LEAST
          else None
      ),
      f"best {_TOP}, true %": float(true[order[:_TOP]].mean()),
      "best, true %": float(true[order[0]]),
  }


def main() -> None:
  """Prints a line for each measure."""
  values = flags.FLAGS
  config = values.config
  if config is None or "arch" in config:
    raise ConfigError("--config", "give one that searches.")
  command.refuse({"seed": "give --seed"})
  if not config.get("benchmark", ConfigDict({"path": ""})).path:
    raise ConfigError(
        "config.benchmark.path",
        "give the table; see enas_jax/derive/benchmark.py.",
    )
  change = {"children": values.children, "average": values.average}
  plan, rows = build.plan(config), []
  for seed in dict.fromkeys(values.seed):
    begun = time.monotonic()
    row = measured(plan, trained(plan, seed, **change), values.archs)
    seconds = time.monotonic() - begun
    rows.append({"seed": seed, **row, "seconds": seconds})
    print(f"seed {seed}: {_words(row)}", flush=True)
  for name in row:
    found = [row[name] for row in rows if row[name] is not None]
    if found:
      std = f" ± {np.std(found):.3f}" if len(found) > 1 else ""
      print(f"{name:20} {np.mean(found):8.3f}{std}")
  if values.json:
    made = {**change, "archs": values.archs}
    print(json.dumps({**made, "per_seed": rows}))


def _words(row: dict[str, float | None]) -> str:
  known = {name: value for name, value in row.items() if value is not None}
  return ", ".join(f"{name} {value:.3f}" for name, value in known.items())


def cli() -> None:
  """Defines the flags, which other programs have too, and runs `main`."""
  defined = (
      command.config_flag(),
      flags.DEFINE_multi_integer(
          "seed", [0, 1, 2], "Shared weights each.", lower_bound=0
      ),
      flags.DEFINE_integer(
          "children", 1, "Whose gradients a step averages.", lower_bound=1
      ),
      flags.DEFINE_float(
          "average",
          0.0,
          "Decay of the average of the weights; 0: no average.",
          lower_bound=0.0,
          upper_bound=1.0,
      ),
      flags.DEFINE_integer(
          "archs", 200, "Architectures to rank.", lower_bound=_TOP
      ),
      flags.DEFINE_bool("json", False, "Print one JSON object at the end."),
  )
  command.cli(main, *defined)


if __name__ == "__main__":
  cli()
