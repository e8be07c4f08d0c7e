"""Jobs in processes of their own, here and by SLURM."""

import functools
import json
import os
import signal
import stat
import threading
import time

import pytest

from enas_jax import launch, process, signals
from enas_jax.errors import ConfigError


def cpu(count):
  return process.slots("--at_once", count, platform="cpu", found=1)


def gpus(count, **more):
  return process.slots("--at_once", count, platform="gpu", **more)


def test_slots_share_out_the_cores(monkeypatch):
  monkeypatch.setattr(os, "sched_getaffinity", lambda _: {7, 1, 5, 3})
  assert cpu(None) == cpu(1) == [process.Slot((), ())]
  assert [slot.cores for slot in cpu(2)] == [(1, 5), (3, 7)]
  assert [slot.cores for slot in cpu(3)] == [(1, 7), (3,), (5,)]
  with pytest.raises(ConfigError, match="--at_once: 5 is more than the 4 core"):
    cpu(5)


def test_no_slots_share_a_gpu(monkeypatch):
  monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
  assert [slot.gpus for slot in gpus(None, found=2)] == [("0",), ("1",)]
  monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-a,6,7")
  two = gpus(None, found=4, each=2)
  assert [slot.gpus for slot in two] == [("4", "GPU-a"), ("6", "7")]
  assert [slot.gpus for slot in gpus(2, found=4, taken=1)] == [
      ("GPU-a",),
      ("6",),
  ]
  with pytest.raises(ConfigError, match="need 4 GPUs, and 3 are free"):
    gpus(2, found=4, each=2, taken=1)
  with pytest.raises(ConfigError, match=r"must be 1: .* the tpu"):
    process.slots("--at_once", 2, platform="tpu", found=4)


class Fake:
  """Two jobs at a time; each is over when it was asked for often enough."""

  def __init__(self, looks=2):
    self.running, self.most, self.stopped, self.looks = [], 0, None, looks

  def room(self):
    return len(self.running) < 2

  def start(self, job):
    looks = iter(range(self.looks))
    handle = Handle(job, lambda: next(looks, None) is None)
    self.running.append(handle)
    self.most = max(self.most, len(self.running))
    return handle

  def over(self, job, handle):
    self.running.remove(handle)
    return job.work()

  def stop(self, handles):
    self.stopped = [handle.job.name for handle in handles]


class Handle:
  def __init__(self, job, done):
    self.job, self.done = job, done


@pytest.fixture
def quick(monkeypatch):
  monkeypatch.setattr(launch, "_TICK", 0.0)


def jobs(*names):
  return [
      launch.Job(name, lambda name=name: "no" if name == "bad" else None)
      for name in names
  ]


def test_what_fails_is_told_and_the_others_go_on(quick, tmp_path):
  told, fake = [], Fake()
  with signals.Signals(print, tmp_path) as stopping:
    launch.each(jobs("a", "bad", "c", "d"), fake, stopping, told.append)
  ends = {ended.name: ended.failure for ended in told}
  assert ends == {"a": None, "bad": "no", "c": None, "d": None}
  assert fake.most == 2 and fake.stopped is None


def test_a_signal_stops_the_jobs_that_run_and_starts_no_other(quick, tmp_path):
  fake, said = Fake(looks=10**9), []
  with signals.Signals(said.append, tmp_path) as stopping:
    start = fake.start

    def interrupted(job):
      if job.name == "a":
        signal.raise_signal(signal.SIGTERM)
      return start(job)

    fake.start = interrupted
    with pytest.raises(signals.Interrupted):
      launch.each(jobs("a", "b", "c"), fake, stopping, said.append)
  assert fake.stopped == ["a"]
  assert "The same command goes on" in said[-1]


def run_local(root, work, tell, slots=2):
  with signals.Signals(print, root) as stopping:
    launch.each(
        [launch.Job(name, each) for name, each in work.items()],
        launch.Local(root / "jobs", cpu(slots)),
        stopping,
        tell,
    )


def test_processes_end_well_or_in_a_line(tmp_path):
  if len(os.sched_getaffinity(0)) < 2:
    pytest.skip("there is one core")

  def well(file):
    import os
    import signal

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    facts = [
        len(os.sched_getaffinity(0)),
        os.environ["PJRT_NPROC"],
        os.environ["CUDA_VISIBLE_DEVICES"],
        signal.SIGINT in mask,
    ]
    file.write_text(repr(facts))

  def badly():
    from enas_jax.errors import ConfigError

    raise ConfigError("config.epochs", "is wrong.")

  def killed():
    import os

    os.kill(os.getpid(), 9)

  told, file = {}, tmp_path / "facts"
  cores = len(os.sched_getaffinity(0))
  run_local(
      tmp_path,
      {"a": functools.partial(well, file), "b": badly, "c": killed},
      lambda ended: told.update({ended.name: ended.failure}),
  )
  assert file.read_text() == repr([cores - cores // 2, str(cores), "", True])
  assert told["a"] is None
  assert told["b"] == "config.epochs: is wrong."
  assert told["c"].startswith("it ended without a word")
  left = sorted(path.name for path in (tmp_path / "jobs").iterdir())
  assert left == ["b", "c"]  # with their output


def test_a_stopped_process_saves_before_it_ends(tmp_path):
  began, saved = tmp_path / "began", tmp_path / "saved"

  def work(began, saved):
    import time

    began.touch()
    try:
      time.sleep(60)
    finally:
      saved.touch()

  def stop():
    while not began.exists():
      time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)

  threading.Thread(target=stop, daemon=True).start()
  with pytest.raises(signals.Interrupted):
    run_local(
        tmp_path,
        {"a": functools.partial(work, began, saved)},
        lambda ended: pytest.fail(f"{ended} has ended"),
        slots=1,
    )
  assert saved.exists()


def test_a_run_saves_before_slurm_has_it_queued_again(monkeypatch):
  asked = []

  def queue_again(number, frame):
    asked.append(number)
    raise SystemExit(-1)  # as submitit does

  def stop(number, frame):
    raise signals.Interrupted(number)

  before = signal.signal(signal.SIGUSR2, queue_again)
  try:
    with (
        pytest.raises(SystemExit),
        signals.caught(stop, grace=None),
        launch._requeued(),
    ):
      try:
        signal.raise_signal(signal.SIGUSR2)
      except signals.Interrupted:
        assert not asked  # here it saves
        raise
    assert asked == [signal.SIGUSR2]
    assert signal.getsignal(signal.SIGUSR2) is queue_again
  finally:
    signal.signal(signal.SIGUSR2, before)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
  """Stand-ins of SLURM's commands, which run a job at once."""
  home = tmp_path / "bin"
  home.mkdir()
  commands = {
      # Its job runs as process group 7 would: alone, and unwatched.
      "sbatch": (
          'echo "$1" >> "$HOME/queued"; echo "Submitted batch job 7"\n'
          '(sleep 0.5; SLURM_JOB_ID=7 exec bash "$1") >/dev/null 2>&1 &'
      ),
      "srun": (
          'while [ "$1" != "" ] && [ "${1#-}" != "$1" ]; do\n'
          '  case "$1" in --unbuffered) shift;; *) shift 2;; esac\n'
          'done; exec "$@"'
      ),
      "sacct": 'printf "JobID|State\\n7|%s\\n" "$(cat "$HOME/state")"',
  }
  for name, text in commands.items():
    (home / name).write_text(f"#!/bin/bash\n{text}\n")
    (home / name).chmod(stat.S_IRWXU)
  (tmp_path / "state").write_text("RUNNING")
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
  return tmp_path


def test_slurm_runs_a_job_and_finds_the_one_it_has(cluster):
  pytest.importorskip("submitit")
  root, file, told = cluster / "W", cluster / "here", []
  options = {"time": 5, "partition": "gpu"}
  job = launch.Job("a", functools.partial(file.write_text, "done"))
  first = launch.Slurm(root, options, None, print)
  first.start(job)
  with signals.Signals(print, root) as stopping:
    second = launch.Slurm(root, options, 1, print)
    launch.each([job], second, stopping, told.append)
  assert [(ended.name, ended.failure) for ended in told] == [("a", None)]
  assert file.read_text() == "done"
  (queued,) = (cluster / "queued").read_text().splitlines()
  assert json.loads((root / "slurm.json").read_text()) == {"a": "7"}
  assert not (root / "a").exists() and queued.startswith(str(root / "a"))


def test_options_that_slurm_lacks_are_one_line(cluster, monkeypatch):
  pytest.importorskip("submitit")
  cases = [
      ({}, r"--slurm: must say time=MINUTES"),
      ({"time": 5, "partitoin": "gpu"}, r"--slurm: .*partitoin"),
  ]
  for options, message in cases:
    with pytest.raises(ConfigError, match=message) as caught:
      launch.Slurm(cluster / "W", options, None, print)
    assert "\n" not in str(caught.value)
  monkeypatch.setenv("PATH", "/nowhere")
  with pytest.raises(ConfigError, match="--launch: there is no command srun"):
    launch.Slurm(cluster / "W", {"time": 5}, None, print)
  assert not (cluster / "W").exists()
