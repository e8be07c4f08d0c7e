"""Whole runs in small: what is written, resumed, refused and rolled back."""

import contextlib
import dataclasses
import errno
import fcntl
import functools
import gc
import json
import os
import re
import resource
import shutil
import signal
import sys
import threading
import time

from absl import logging
import chex
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

import enas_jax
from enas_jax import (
  build,
  checkpoint,
  data,
  folder,
  keeper,
  loop,
  run,
  signals,
  steps,
)
from enas_jax.configs import (
  cifar_macro,
  cifar_micro,
  digits_macro,
  digits_micro,
)
from enas_jax.derive import outcome
from enas_jax.errors import ConfigError, Unwritable, writing
from enas_jax.keeper import Diverged
from enas_jax.plan import effective
from enas_jax.report import display, metrics, words
from enas_jax.tasks import TASKS


def search_config():
  config = cifar_macro.get_config("smoke")
  # The network that compiles in the least time.
  config.space.update(layers=2, operations="avg_pool_3x3,max_pool_3x3")
  config.strategy.update(warmup=1, same_batch=True)  # of two epochs
  config.checkpoint_seconds = 0.0  # after every step
  config.objective.update(cost="params", target=1e9, weight=1.0)
  return config


def ran(config, path):
  """The result of the run of a config."""
  return run.run(build.plan(config), str(path))


def tiny_texts(folder):
  """Writes texts of a few segments; returns their folder."""
  folder.mkdir()
  for part in ("train", "valid", "test"):
    spoken = " ".join("abcdefg"[n * n % 7] for n in range(32 * 60))
    (folder / f"{part}.txt").write_text(spoken)
  return str(folder)


def lines(path):
  """Every line of a metrics file, without what a clock says."""
  found = [json.loads(line) for line in path.read_text().splitlines()]
  return [
      {k: v for k, v in line.items() if "second" not in k} for line in found
  ]


def timeless(result):
  """A result without what a clock says."""
  cost = {**result["cost"], "seconds": 0.0}
  cost["alone"] = {**cost["alone"], "seconds_estimated": 0.0}
  return {**result, "cost": cost}


def last(path):
  """The arrays of the newest checkpoint, on one device."""
  newest = max((path / "checkpoints").iterdir(), key=lambda e: int(e.name))
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  return ocp.Checkpointer(ocp.StandardCheckpointHandler()).restore(
      newest / "state",
      args=ocp.args.StandardRestore(fallback_sharding=device),
  )


class Counted:
  """Counts the calls of a function: of one inside a jit, its traces."""

  def __init__(self, function):
    self.function, self.calls = function, 0

  def __call__(self, *args, **kwargs):
    self.calls += 1
    self.given = kwargs
    return self.function(*args, **kwargs)


@pytest.fixture(scope="module")
def counts():
  """Filled by `whole`."""
  return {}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, counts):
  """A search that nothing interrupts, whose test images cannot be read."""
  path = tmp_path_factory.mktemp("whole") / "run"
  load, classification = data.load, TASKS["classification"]

  def poisoned(*args, **kwargs):
    def test():
      raise AssertionError("a search read the test split")

    return dataclasses.replace(load(*args, **kwargs), test=test)

  @functools.wraps(classification)
  def counted_task(*args, **kwargs):
    task = classification(*args, **kwargs)
    counts["measure"] = Counted(task.measure)
    return task._replace(measure=counts["measure"])

  for name in ("child_step", "strategy_step"):
    counts[name] = Counted(getattr(steps, name))
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(data, "load", poisoned)
    patch.setitem(TASKS, "classification", counted_task)
    for name in ("child_step", "strategy_step"):
      patch.setattr(steps, name, counts[name])
    result = ran(search_config(), path)
  return path, result


@pytest.mark.usefixtures("whole")
def test_each_program_is_traced_once_in_a_whole_search(counts):
  config = search_config()
  assert config.epochs > 1 and config.derive.archs > 1
  traces = {name: counted.calls for name, counted in counts.items()}
  assert traces == {"child_step": 1, "strategy_step": 1, "measure": 1}
  assert counts["strategy_step"].given["same_batch"]


def test_a_search_leaves_a_folder_that_explains_itself(whole):
  path, result = whole
  names = {entry.name for entry in path.iterdir()}
  assert names == {
      "arch.json",
      "arch.svg",
      "checkpoints",
      "config.json",
      "derive.jsonl",
      "events",
      "labels.txt",
      "log.txt",
      "metrics.jsonl",
      "report.html",
      "result.json",
  }
  content = json.loads((path / "arch.json").read_text())
  assert content["encoding"] == result["encoding"]
  assert content["space"]["name"] == "macro"
  assert [line["epoch"] for line in lines(path / "metrics.jsonl")] == [1, 2]
  assert len(lines(path / "derive.jsonl")) == 6
  log = (path / "log.txt").read_text()
  assert "shared weights" in log
  assert f"--config.arch={path / 'arch.json'}" in log
  assert f"--config.seed={search_config().seed}" in log
  assert "config.objective took nothing off" in log


def test_strategy_steps_begin_after_the_warmup(whole):
  path, _ = whole
  first, second = lines(path / "metrics.jsonl")
  assert "controller/reward" not in first and "controller/reward" in second
  assert "controller/skip_rate" in second
  assert int(last(path)["step"]) == 14 + 14 + 2


def test_children_are_random_where_the_config_says_so():
  config = search_config()
  config.strategy.children = "random"
  plan = build.plan(config)
  made = plan.experiment
  assert made.children is plan.uniform is not made.strategy
  config.strategy.children = "policy"
  plan = build.plan(config)
  made = plan.experiment
  assert made.children is made.strategy is not plan.uniform


def test_every_step_has_its_place_in_an_epoch():
  config = search_config()
  config.update(epochs=5, strategy={"warmup": 2})
  parts = build.plan(config).experiment
  places = [
      (epoch, at) for epoch in range(5) for at in range(parts.length(epoch))
  ]
  assert [parts.length(epoch) for epoch in range(5)] == [14, 14, 16, 16, 16]
  assert [parts.place(step) for step in range(parts.steps)] == places
  traced = jax.vmap(parts.place)(jnp.arange(parts.steps))
  assert np.stack(traced, 1).tolist() == [list(place) for place in places]
  # 70 child steps in all, and the last of them ends the progress.
  done = np.asarray(jax.vmap(parts.fraction)(jnp.arange(parts.steps)))
  assert done[0] == pytest.approx(1 / 70) and done[-1] == 1
  assert (np.diff(done) >= 0).all()


def test_the_derived_architecture_is_the_best_of_the_policy(whole):
  path, result = whole
  scored = lines(path / "derive.jsonl")
  policy = [line for line in scored if line["source"] == "policy"]
  best = max(policy, key=lambda line: line["accuracy"])
  assert result["encoding"] == best["encoding"]


def test_a_search_says_what_it_cost(whole):
  path, result = whole
  config, found = search_config(), result["cost"]
  built = build.plan(config).experiment
  assert found["child_steps"] == config.epochs * built.child_steps
  late = config.epochs - config.strategy.warmup
  assert found["rewards"] == late * 2 * 2 > 0
  assert found["scored"] == 6
  each = found["flops_each"]
  assert each["scoring"] == built.held.steps * each["reward"] > 0
  parts = [
      found["child_steps"] * each["child_step"],
      found["rewards"] * each["reward"],
      found["scored"] * each["scoring"],
  ]
  assert found["flops"] == pytest.approx(sum(parts))
  alone = found["alone"]
  assert alone["candidates"] == found["rewards"] + found["scored"]
  assert alone["flops"] == pytest.approx(parts[0])
  times = alone["candidates"] * parts[0] / sum(parts)
  assert alone["times"] == pytest.approx(times)
  seconds = [
      json.loads(line)["seconds"]
      for name in ("metrics.jsonl", "derive.jsonl")
      for line in (path / name).read_text().splitlines()
  ]
  assert found["seconds"] == pytest.approx(sum(seconds))
  log = (path / "log.txt").read_text()
  for line in words.cost(found):
    assert line in log


class Stop:
  """Sends this process a signal before its n-th child step."""

  def __init__(self, monkeypatch, at):
    self.left = at
    pace_step = display.Pace.step

    def step(pace, *args):
      self.left -= 1
      if not self.left:
        os.kill(os.getpid(), signal.SIGTERM)
      pace_step(pace, *args)

    monkeypatch.setattr(display.Pace, "step", step)


# Amid the child steps; on the last step of the first epoch, which has child
# steps alone, where its line has just been written; amid the strategy steps.
@pytest.mark.parametrize("at", [5, 14, 29])
def test_a_resumed_run_is_the_uninterrupted_run(
    whole, tmp_path, monkeypatch, at
):
  path, result = whole
  config = search_config()
  config.checkpoint_seconds = 1e6  # only the signal saves
  with monkeypatch.context() as patched:
    stop, clock = Stop(patched, at), time.monotonic
    # An hour passes in a step before.
    slow = lambda: clock() + 3600 * (stop.left < 3)
    patched.setattr(time, "monotonic", slow)
    with pytest.raises(signals.Interrupted):
      ran(config, tmp_path / "run")
  assert "not finished" in (tmp_path / "run" / "report.html").read_text()
  resumed = ran(config, tmp_path / "run")
  for name in ("encoding", "scores", "cost"):
    assert timeless(resumed)[name] == timeless(result)[name]
  assert 3600 < resumed["cost"]["seconds"] < 7200
  for name in ("metrics.jsonl", "derive.jsonl"):
    assert lines(tmp_path / "run" / name) == lines(path / name)
  chex.assert_trees_all_equal(last(tmp_path / "run"), last(path))


@pytest.fixture
def full():
  """Lets no file grow beyond some bytes, as a full disk or a quota does."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  yield lambda size: resource.setrlimit(
      resource.RLIMIT_FSIZE, (size, before[1])
  )
  resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_line_and_the_run_goes_on(
    whole, tmp_path, monkeypatch, capfd, full
):
  path, result = whole
  config, left = search_config(), [17]
  pace_step = display.Pace.step

  def step(pace, *args):
    left[0] -= 1
    if not left[0]:
      full(30_000)  # the log goes on, a checkpoint cannot
    pace_step(pace, *args)

  monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # as it was
  with monkeypatch.context() as patched:
    patched.setattr(display.Pace, "step", step)
    with pytest.raises(Unwritable) as caught:
      ran(config, tmp_path / "run")
  full(-1)
  gc.collect()
  message = str(caught.value)
  assert message.startswith(f"cannot write to {tmp_path / 'run'}")
  assert "File too large." in message and "\n" not in message
  captured = capfd.readouterr()
  assert captured.err == "" and "Traceback" not in captured.out
  assert timeless(ran(config, tmp_path / "run")) == timeless(result)
  for name in ("metrics.jsonl", "derive.jsonl"):
    assert lines(tmp_path / "run" / name) == lines(path / name)
  chex.assert_trees_all_equal(last(tmp_path / "run"), last(path))


def test_a_thread_of_orbax_that_fails_later_is_silent_too(caplog):
  class Late(threading.Thread):
    __module__ = "orbax.late"

    def run(self):
      time.sleep(0.2)
      logging.error("a traceback")

  late, verbosity = Late(), logging.get_verbosity()
  logging.set_verbosity(logging.WARNING)
  with pytest.raises(OSError), checkpoint._quiet():
    late.start()
    raise OSError(errno.ENOSPC, "full")
  late.join()
  assert not caplog.records
  logging.error("as before")
  assert caplog.messages == ["as before"]
  logging.set_verbosity(verbosity)


def test_metrics_on_a_full_disk(tmp_path, full):
  writer = metrics.Writer(tmp_path, 0, 1)
  full(100)
  with pytest.raises(Unwritable, match="File too large"), writing("here"):
    for epoch in range(9):
      writer.write(epoch, {"loss": 0.5})
      writer.flush()
  with pytest.raises(OSError):
    writer.close()
  full(-1)


@pytest.mark.parametrize(
    "error, words",
    [
        (OSError(errno.ENOSPC, "", "a/b"), "a/b: No space left on device."),
        (OSError(errno.EDQUOT, ""), "here: Disk quota exceeded."),
        (ValueError("x [os_error_code='28']"), "here: No space left on device"),
    ],
)
def test_whoever_cannot_write_is_told_in_one_line(error, words):
  with pytest.raises(Unwritable, match=re.escape(words)), writing("here"):
    try:
      raise error
    except type(error):
      raise RuntimeError("of a package") from error


def test_other_errors_stay_what_they_are():
  for error in (FileNotFoundError(errno.ENOENT, "", "a"), ValueError("b")):
    with pytest.raises(type(error)), writing("here"):
      raise error


def test_several_steps_a_call_are_the_same_steps(whole, tmp_path):
  path, result = whole
  config = search_config()
  config.steps_per_call = 5  # no divisor of an epoch's child steps
  found = ran(config, tmp_path / "run")
  assert found["encoding"] == result["encoding"]
  for a, b in zip(
      lines(tmp_path / "run" / "metrics.jsonl"),
      lines(path / "metrics.jsonl"),
      strict=True,
  ):
    assert a == pytest.approx(b, rel=1e-3)


def test_one_bad_number_rolls_back_and_the_run_is_the_same(
    whole, tmp_path, monkeypatch
):
  path, result = whole
  step, failed = keeper.Keeper._step, []

  def once(kept, seen):
    step(kept, seen)
    if seen.step == 20 and not failed:
      failed.append(20)
      raise loop.NotFinite(20)

  monkeypatch.setattr(keeper.Keeper, "_step", once)
  found = ran(search_config(), tmp_path / "run")
  assert failed
  log = (tmp_path / "run" / "log.txt").read_text()
  assert "not finite at step 20. Rolled back to the checkpoint of" in log
  assert found["scores"] == result["scores"]
  metrics = "metrics.jsonl"
  assert lines(tmp_path / "run" / metrics) == lines(path / metrics)


def test_twice_at_the_same_place_it_stops_and_names_the_step(tmp_path):
  config = search_config()
  config.child.lr = 1e30
  with pytest.raises(Diverged, match=r"is not finite at step [1-9]\d* "):
    ran(config, tmp_path / "run")
  log = (tmp_path / "run" / "log.txt").read_text()
  assert log.count("Rolled back") == 1


def test_a_truncated_newest_checkpoint_falls_back_to_the_one_before(
    whole, tmp_path
):
  path, result = whole
  run = tmp_path / "run"
  shutil.copytree(path, run)
  for name in ("result.json", "arch.json", "derive.jsonl"):
    (run / name).unlink()
  saved = sorted(int(entry.name) for entry in (run / "checkpoints").iterdir())
  assert len(saved) == 2
  for file in (run / "checkpoints" / str(saved[-1])).rglob("*"):
    if file.is_file():
      os.truncate(file, file.stat().st_size // 2)
  again = ran(search_config(), run)
  assert timeless(again) == timeless(result)
  log = (run / "log.txt").read_text()
  assert f"The checkpoint of step {saved[-1]} cannot be read" in log
  assert f"Going on from the checkpoint of step {saved[0]}" in log
  for name in ("metrics.jsonl", "derive.jsonl"):
    assert lines(run / name) == lines(path / name)


def test_derive_goes_on_after_its_last_whole_line(whole, tmp_path):
  path, result = whole
  run = tmp_path / "run"
  shutil.copytree(path, run)
  (run / "result.json").unlink()
  text = (run / "derive.jsonl").read_text()
  (run / "derive.jsonl").write_text(text[: len(text) // 2])
  again = ran(search_config(), run)
  assert timeless(again) == timeless(result)
  assert lines(run / "derive.jsonl") == lines(path / "derive.jsonl")


def test_a_candidate_without_a_number_is_not_derived(whole, tmp_path):
  path, _ = whole
  run = tmp_path / "run"
  shutil.copytree(path, run)
  (run / "result.json").unlink()
  text = (run / "derive.jsonl").read_text()
  found = [json.loads(line) for line in text.splitlines()]
  policy = [line for line in found if line["source"] == "policy"]
  for line in policy[:-1]:
    line["accuracy"] = float("nan")
  text = "".join(json.dumps(line) + "\n" for line in found)
  (run / "derive.jsonl").write_text(text)
  again = ran(search_config(), run)
  assert again["encoding"] == policy[-1]["encoding"]
  assert again["score"] == policy[-1]["accuracy"]


def test_a_search_that_retrains_sets_the_derived_beside_random(
    tmp_path, capsys
):
  config = digits_macro.get_config("smoke")
  config.epochs = config.retrain.config.epochs = 1
  config.space.operations = "avg_pool_3x3,max_pool_3x3"  # what compiles fast
  config.derive.update(archs=6, by="policy")
  found = enas_jax.search(config, tmp_path / "run")
  assert capsys.readouterr().out == ""
  result = found.content
  assert 0 <= result["test"]["derived"] <= 1
  assert len(result["test"]["random"]) == config.retrain.random == 1
  finals = {
      name: json.loads(
          (tmp_path / "run" / "retrain" / name / "result.json").read_text()
      )
      for name in ("derived", "random_0")
  }
  assert finals["derived"]["encoding"] == result["encoding"]
  assert finals["derived"]["test/accuracy"] == result["test"]["derived"]
  log = (tmp_path / "run" / "retrain" / "derived" / "log.txt").read_text()
  assert "Training this architecture:\n  " + "\n  ".join(found.readable) in log
  arch = json.loads((tmp_path / "run" / "arch.json").read_text())
  assert (found.encoding, found.readable, found.score) == (
      arch["encoding"], arch["readable"], arch["score"]
  )
  for one, name in zip(
      (found.retrained, *found.random), finals, strict=True
  ):
    assert one.encoding == finals[name]["encoding"]
    assert one.scores["test/accuracy"] == finals[name]["test/accuracy"]
  again = enas_jax.search(config, str(tmp_path / "run"), show=True)
  assert again.content == result
  assert "is finished" in capsys.readouterr().out
  drawn = lines(tmp_path / "run" / "derive.jsonl")
  of_policy, of_random = (
      [line for line in drawn if line["source"] == source]
      for source in ("policy", "random")
  )
  assert finals["random_0"]["encoding"] == of_random[0]["encoding"]
  line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
  assert 0 < line["controller/skip_rate"] < 1
  # The same picture where it was found and where it was retrained.
  pictures = [
      (tmp_path / "run" / folder / "arch.svg").read_text()
      for folder in (".", "retrain/derived", "retrain/random_0")
  ]
  assert pictures[0] == pictures[1] != pictures[2]
  # The likeliest choices come first, whatever scores best.
  assert result["encoding"] == of_policy[0]["encoding"]
  assert result["score"] == of_policy[0]["accuracy"]
  assert result["scores"]["policy"]["best"] == max(
      line["accuracy"] for line in of_policy
  )


@pytest.mark.parametrize("diverging", ["random_1", "derived"])
def test_a_retraining_that_diverges_is_a_row(diverging, tmp_path, monkeypatch):
  config = digits_micro.get_config("smoke")
  config.derive.random = config.retrain.random = 5
  encoding = [0, 0, 1, 0, 0, 1, 1, 1] * 2
  shared = [0.5, 0.4, 0.9, 0.3, 0.1, 0.2]
  found = {"metric": "accuracy", "encoding": encoding, "score": shared[0]}
  drawn = [{"encoding": encoding, "accuracy": s} for s in shared[1:]]
  names = ["derived", *(f"random_{n}" for n in range(5))]
  scores = dict(zip(names, shared, strict=True))
  plan = build.plan(config)

  def training(stage):
    if stage.path.name == diverging:
      raise Diverged("at step 7")
    return {"test/accuracy": scores[stage.path.name] / 2, "parameters": 1}

  def retrained(name):
    with contextlib.closing(display.Display(tmp_path / name)) as shown:
      stage = run.Stage(
          plan, tmp_path, tmp_path, shown, signals.Signals(print, tmp_path)
      )
      test = run._retrained(stage, found, drawn)
    return test, (tmp_path / name).read_text()

  with monkeypatch.context() as patched:
    patched.setattr(run, "_training", training)
    test, log = retrained("log.txt")
  assert "It diverged: at step 7" in log
  row = next(line for line in log.splitlines() if f"│ {diverging} " in line)
  assert "diverged" in row
  expected = [None if k == diverging else v / 2 for k, v in scores.items()]
  assert [test["derived"], *test["random"]] == expected
  assert test["ranking"]["candidates"] == 5
  assert test["ranking"]["kendall"] == pytest.approx(1)
  assert "Shared weights against retraining" in log
  # What is finished, diverged or not, is not trained again.
  again, log = retrained("again.txt")
  assert again == test and "It diverged" not in log


def test_checkpoints_of_another_shape_are_kept_and_refused(whole, tmp_path):
  path, _ = whole
  run = tmp_path / "run"
  shutil.copytree(path, run)
  (run / "result.json").unlink()
  config = search_config()
  config.network.filters = 6
  record = build.plan(config).record
  (run / "config.json").write_text(json.dumps(record))
  with pytest.raises(ConfigError, match=r"no checkpoint in .* can be read"):
    ran(config, run)
  saved = {entry.name for entry in (run / "checkpoints").iterdir()}
  assert saved == {entry.name for entry in (path / "checkpoints").iterdir()}
  assert lines(run / "metrics.jsonl") == lines(path / "metrics.jsonl")


def test_a_folder_at_work_is_refused(tmp_path):
  path, said = folder.claim(tmp_path / "run", {}), []
  refused = pytest.raises(ConfigError, match="another process is at work")
  lock = lambda: folder.locked(path, said.append)
  with lock(), refused, lock():
    pass
  assert not said


@pytest.mark.parametrize(
    "number, refused",
    [
        (errno.ENOSYS, False),
        (errno.ENOLCK, False),
        (errno.EOPNOTSUPP, False),
        (errno.EACCES, True),
        (errno.EIO, True),
    ],
)
def test_a_file_system_without_locks_is_told_of(
    number, refused, tmp_path, monkeypatch
):
  def flock(*unused):
    raise OSError(number, os.strerror(number))

  path, said = folder.claim(tmp_path / "run", {}), []
  monkeypatch.setattr(fcntl, "flock", flock)
  expected = contextlib.nullcontext()
  if refused:
    words = f"cannot be locked: {os.strerror(number)}."
    expected = pytest.raises(ConfigError, match=words)
  with expected, folder.locked(path, said.append):
    [line] = said
    assert f"has no locks ({os.strerror(number)})" in line


def test_a_folder_with_the_file_of_a_shell_is_used(tmp_path):
  for name in ("shell.log", "slurm-1.out", ".nfs01", "printed.txt"):
    (tmp_path / name).touch()
  folder.claim(tmp_path, {})
  assert (tmp_path / "config.json").exists()


@pytest.mark.parametrize(
    "name, why",
    [
        ("log.txt", "which a run writes itself"),
        ("own.py", "and is not the folder of a run"),
        ("metrics.jsonl", "and is not the folder of a run"),
        (".git/", "and is not the folder of a run"),
        ("old.log/", "and is not the folder of a run"),
    ],
)
def test_a_folder_with_anything_else_is_named_with_it(name, why, tmp_path):
  path = tmp_path / name
  path.mkdir() if name.endswith("/") else path.touch()
  message = f"{tmp_path} holds {path.name}, {why}. Name another folder."
  with pytest.raises(ConfigError, match=re.escape(message)):
    folder.claim(tmp_path, {})
  assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("text", ["gs://b/run", "s3://b", "file:///tmp/x"])
def test_a_bucket_is_no_folder(text, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  for use in (folder.claim, folder.finished):
    with pytest.raises(ConfigError, match=f"--workdir: {text} is no folder"):
      use(text, {})
  assert not os.listdir(tmp_path)


def test_a_run_in_the_home_folder(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  assert folder.claim("~/run", {}) == tmp_path / "run"
  assert (tmp_path / "run" / "config.json").exists()


def test_the_final_config_matters_where_an_objective_counts_its_network():
  record = {"retrain": {"command": "one"}, "objective": {"cost": ""}}
  other = {**record, "retrain": {"command": "other"}}
  assert effective(record) == effective(other)
  for each in (record, other):
    each["objective"] = {"cost": "params"}
  assert effective(record) != effective(other)


def test_a_finished_folder_is_not_run_again(whole, capsys):
  path, result = whole
  assert ran(search_config(), path) == result
  assert "is finished" in capsys.readouterr().out


def test_a_folder_of_another_config_is_refused_with_the_keys(whole):
  path, _ = whole
  config = search_config()
  config.child.lr = 0.1
  with pytest.raises(ConfigError, match=r"child\.lr \(0\.05 there, 0\.1 here"):
    ran(config, path)


@pytest.mark.parametrize("profile", ["repaired", "faithful"])
def test_profiles_set_every_quirk(profile):
  config = cifar_micro.get_config(f"profile={profile}")
  quirks = [
      config.task.dropout_in_reward,
      config.space.saturated_prior,
      config.network.row_fan_in,
      config.child.l2_all,
      config.child.freeze_aux,
      config.reinforce.zero_baseline,
  ]
  assert quirks == [profile == "faithful"] * 6


def test_a_hash_changes_with_any_value():
  one, other = search_config().to_dict(), search_config().to_dict()
  assert outcome.config_hash(one) == outcome.config_hash(other)
  other["child"]["l2"] *= 2
  assert outcome.config_hash(one) != outcome.config_hash(other)


def test_what_a_killed_save_leaves_is_gone_at_the_next_start(tmp_path):
  folder = tmp_path / "checkpoints"
  for name in ("3", "917.orbax-checkpoint-tmp"):
    (folder / name / "state").mkdir(parents=True)
  checkpoint.Checkpoints(folder).close()
  assert [path.name for path in folder.iterdir()] == ["3"]
