"""The loop: child and strategy steps, epoch after epoch (ENAS §2.2).

It prints nothing, writes nothing and knows no folder; what a run does around
the steps comes as `Hooks`. A training from scratch is the same loop, under a
strategy that never changes its mind.

  state = loop.fit(experiment, loop.start(experiment), loop.Hooks())
"""

from collections.abc import Callable, Iterator
import contextlib
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from enas_jax import evaluate, feeds, optim, parallel, steps
from enas_jax.plan import Experiment
from enas_jax.types import NEVER, Record, SearchState

# What JAX tells when it has compiled a program, or has read it from its cache.
_MADE = "/jax/core/compile/backend_compile_duration"


class NotFinite(Exception):
  """A loss, a reward or what follows from them is not a finite number."""

  def __init__(self, step: int):
    super().__init__(f"a number is not finite at step {step}")
    self.step = step


class Seen(NamedTuple):
  """What is known after a dispatch of the loop."""

  kind: str  # "child" or "strategy"
  count: int  # steps of it that were dispatched
  step: int  # steps so far
  # The child's and the controller's records after the dispatch before, on the
  # device; None after the first of an epoch.
  records: tuple[Record, Record] | None


def _raise(step: int) -> SearchState:
  raise NotFinite(step)


class Hooks(NamedTuple):
  """What a run does around the steps; by default nothing.

  `save` and `failed` may raise to leave the loop. When `save` is called, the
  state is whole and its numbers are finite.
  """

  # After every dispatch; the device may still be at work on it.
  step: Callable[[Seen], None] = lambda seen: None
  # (epoch, its numbers by name), before a checkpoint that holds its end
  epoch: Callable[[int, dict[str, float]], None] = lambda epoch, values: None
  # Steps so far -> whether `save` is to be called now.
  due: Callable[[int], bool] = lambda step: False
  # When it was due, and at the end. The state must not be kept: the next step
  # takes its memory.
  save: Callable[[SearchState], None] = lambda state: None
  # How often each kind of step was compiled, at the end.
  compiled: Callable[[dict[str, int]], None] = lambda counts: None
  # A step with a number that is not finite -> the state to go on from.
  failed: Callable[[int], SearchState] = _raise


def start(experiment: Experiment) -> SearchState:
  """Returns the state before the first step, on the experiment's devices."""
  state = steps.init(
      _keys(experiment)[0],
      task=experiment.task,
      strategy=experiment.strategy,
      tx=experiment.tx,
      train=experiment.train,
      arch=experiment.arch,
  )
  if experiment.devices > 1:
    state = parallel.place(_mesh(experiment), experiment.train, state)
  # Some leaves are one buffer, which a step could not take twice.
  return jax.jit(functools.partial(jax.tree.map, jnp.copy))(state)


def fit(
    experiment: Experiment,
    state: SearchState,
    hooks: Hooks = Hooks(),  # noqa: B008, a record of pure functions
    measure: Callable[[SearchState], Record] | None = None,
) -> SearchState:
  """Runs from a state to the end of the last epoch.

  Args:
    experiment: what is trained.
    state: is given up.
    hooks: are called around the steps.
    measure: measures a training every `experiment.eval_every` epochs and at
      last; by default on the split that it watches, else on what it holds out.

  Returns:
    The state after the last step.

  Raises:
    NotFinite: a number is not finite, and no hook says where to go on.
  """
  programs = _programs(experiment, state)
  if measure is None and experiment.arch is not None:
    split = experiment.watched or experiment.held
    measure = evaluate.evaluator(experiment.task, split, experiment.arch)
  with (
      _counted("child", "controller") as counts,
      contextlib.closing(programs.train),
      contextlib.closing(programs.held),
  ):
    while int(state.step) < experiment.steps:
      try:
        state = _epoch(experiment, programs, state, hooks, measure)
      except NotFinite as error:
        state = hooks.failed(error.step)
  hooks.compiled(counts)
  return state


@contextlib.contextmanager
def _counted(*names: str) -> Iterator[dict[str, int]]:
  """Gives how many programs are made meanwhile of the functions of each name.

  The size of a function's cache would not do: JAX describes the sharding of one
  key now with an axis and now without, and keeps a way to one program for each.
  """
  counts = dict.fromkeys(names, 0)

  def hear(event, seconds, *, fun_name="", **more):
    del seconds, more
    name = fun_name.removeprefix("jit(").removesuffix(")")
    if event == _MADE and name in counts:
      counts[name] += 1

  jax.monitoring.register_event_duration_secs_listener(hear)
  try:
    yield counts
  finally:
    jax.monitoring.unregister_event_duration_listener(hear)


def _epoch(experiment, programs, state, hooks, measure) -> SearchState:
  """Runs from the step of the state to the end of its epoch."""
  step = int(state.step)
  epoch, at = experiment.place(step)
  length = experiment.length(epoch)
  rows = programs.put(programs.order(state.step))
  before = None
  while at < length:
    if at < experiment.child_steps:
      kind, program = "child", programs.child
      count = min(programs.per_call, experiment.child_steps - at)
      given = programs.train(epoch, at), rows
    else:
      kind, count, program = "strategy", 1, programs.controller
      given = (programs.held(experiment.rewarded(step), 0),)
    # What a step reads is on the device already.
    with jax.transfer_guard("disallow"):
      state, now = program(state, *given)
    step, at = step + count, at + count
    # One dispatch behind, so that the device never waits for this process.
    _check(before)
    hooks.step(Seen(kind, count, step, before and before[1:]))
    before = now
    if at == length:
      _check(now)
      state = _end(experiment, programs, epoch, state, hooks, measure)
    # Only now: a checkpoint at an epoch's end holds what follows it.
    if hooks.due(step) or step == experiment.steps:
      _check(now)
      hooks.save(state)
  return state


def _check(info) -> None:
  failed = NEVER if info is None else int(jax.device_get(info[0]))
  if failed != NEVER:
    raise NotFinite(failed)


def _end(experiment, programs, epoch, state, hooks, measure) -> SearchState:
  """Tells the numbers of an epoch; returns the state with empty records."""
  values = {
      **evaluate.summarize(state.child, "child/"),
      **evaluate.summarize(state.controller, "controller/"),
      "child/lr": float(experiment.rates[epoch]),
  }
  last = epoch + 1 == experiment.epochs
  if measure and (last or (epoch + 1) % experiment.eval_every == 0):
    part = "valid" if experiment.watched else experiment.part
    seen = evaluate.summarize(measure(state), f"{part}/")
    values.update(seen)
    if experiment.watched:
      task = experiment.task
      worth = task.worth(seen[f"{part}/{task.metric}"])
      opt_state = optim.observe(state.opt_state, -worth)
      state = state._replace(opt_state=opt_state)
  hooks.epoch(epoch, values)
  return programs.next_epoch(state)


class _Programs(NamedTuple):
  """The compiled steps, and what they read on the devices."""

  child: Callable  # (state, train, rows) -> (state, what `_check` reads)
  controller: Callable  # (state, held) -> the same
  next_epoch: Callable
  order: Callable  # step -> the plan of its epoch
  put: Callable  # puts that on all devices
  per_call: int  # child steps of a dispatch
  train: feeds.Feed
  held: feeds.Feed


def _programs(experiment: Experiment, state: SearchState) -> _Programs:
  """Makes the steps, on one device or on several."""
  child_step = functools.partial(
      steps.child_step,
      task=experiment.task,
      strategy=experiment.children,
      tx=experiment.tx,
      train=experiment.train,
      progress=experiment.fraction,
  )
  each = jax.lax.map
  if experiment.at_once > 1:
    each = functools.partial(each, batch_size=experiment.at_once)
  strategy_step = functools.partial(
      steps.strategy_step,
      task=experiment.task,
      strategy=experiment.strategy,
      valid=experiment.held,
      archs=experiment.count,
      same_batch=experiment.same_batch,
      each=each,
  )
  children, rewards = _orders(experiment, state)
  put_train = put_held = jax.device_put
  if experiment.devices > 1:
    mesh = _mesh(experiment)
    parts = parallel.places(mesh)
    children = children._replace(parts=parts, of=experiment.devices)
    child_step = parallel.child_step(child_step, mesh, experiment.train)
    strategy_step = parallel.strategy_step(
        strategy_step, mesh, experiment.train, each
    )
    put_train = functools.partial(
        parallel.place_arrays, mesh, experiment.train
    )
    put_held = functools.partial(parallel.place_everywhere, mesh)
  per_call = min(experiment.steps_per_call, experiment.child_steps)

  def child(state, arrays, rows):
    at = experiment.place(state.step)[1]

    def step(n, state):
      row = jax.tree.map(lambda leaf: leaf[at + n], rows)
      return child_step(state, arrays, row)

    if per_call == 1:
      state = step(0, state)
    else:
      count = jnp.minimum(per_call, experiment.child_steps - at)
      state = jax.lax.fori_loop(0, count, step, state)
    return state, (state.failed, state.child, state.controller)

  def controller(state, arrays):
    state = strategy_step(state, arrays)
    return state, (state.failed, state.child, state.controller)

  def order(step):
    return experiment.train.rows(children.key(experiment.place(step)[0]))

  return _Programs(
      child=jax.jit(child, donate_argnums=0),
      controller=jax.jit(controller, donate_argnums=0),
      next_epoch=jax.jit(steps.next_epoch),
      order=jax.jit(order),
      put=put_held,
      per_call=per_call,
      train=feeds.feed(experiment.train, put_train, children, per_call),
      held=feeds.feed(experiment.held, put_held, rewards, rewards.take),
  )


def _orders(
    experiment: Experiment, state: SearchState
) -> tuple[feeds.Order, feeds.Order]:
  """Returns what the child steps ask for, and what the strategy steps do."""
  # Plain data, since another process may read in this order.
  order_key, state_key = jax.device_get((
      jax.random.key_data(_keys(experiment)[1]),
      jax.random.key_data(state.key),
  ))
  first, children = experiment.warmup + 1, experiment.child_steps
  rewarded = max(experiment.strategy_steps, 1)

  def of_epoch(epoch):
    return jax.random.fold_in(jax.random.wrap_key_data(order_key), epoch)

  def of_reward(count):
    step = (first + count // rewarded) * children + count
    return steps.rows_key(jax.random.wrap_key_data(state_key), step)

  take = steps.rewarded(
      experiment.held, experiment.count, experiment.same_batch
  )
  return (
      feeds.Order(of_epoch, experiment.epochs, children),
      feeds.Order(of_reward, experiment.rewarded(experiment.steps), take),
  )


def _keys(experiment: Experiment) -> jax.Array:
  """Returns the keys of the first state and of the order of the data."""
  return jax.random.split(jax.random.key(experiment.seed))


def _mesh(experiment: Experiment) -> jax.sharding.Mesh:
  return parallel.mesh(jax.devices()[: experiment.devices])
