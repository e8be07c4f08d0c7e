"""Several processes are one run."""

import os
import pathlib
import pickle
import re
import signal
import socket
import subprocess
import sys

import chex
import jax
import numpy as np
import pytest
from test_run import last, lines, tiny_texts

from enas_jax import folder, hosts, signals
from enas_jax.build import parts
from enas_jax.configs import ptb_recurrent
from enas_jax.errors import ConfigError
from enas_jax.settings import Run

ROOT = pathlib.Path(__file__).parent.parent
# The command, in a process to whose second one that happens in a second folder,
# if its last word names one, for which it first runs in --workdir in peace:
# SIGTERM, after which it goes on, and SIGKILL.
_COMMAND = """
import os, signal, sys
from absl import flags
from enas_jax import hosts, main, signals
from enas_jax.report import display

folder = sys.argv.pop()
hosts._BEAT, hosts._SILENT = 0.5, 10.0
peace, step, steps = main.main, display.Pace.step, []

def stopping(pace, *given):
  step(pace, *given)
  steps.append(given)
  if flags.FLAGS.process == 1 and len(steps) in signs:
    os.kill(os.getpid(), signs[len(steps)])

def troubled():
  global signs
  hosts.part = lambda: None
  peace()
  hosts.join = lambda *given: None
  flags.FLAGS.workdir = folder
  display.Pace.step = stopping
  for signs in {2: signal.SIGTERM}, {3: signal.SIGKILL}:
    steps.clear()
    try:
      peace()
    except signals.Interrupted as error:
      print("stopped", error.number, error.together, flush=True)

if folder:
  main.main = troubled
main.cli()
"""


def started(path, texts, devices, processes, troubled=""):
  """The processes of a small search of text in a folder."""
  with socket.create_server(("localhost", 0)) as server:
    place = f"localhost:{server.getsockname()[1]}"
  count = f" --xla_force_host_platform_device_count={devices}"
  environment = {
      **os.environ,
      "PYTHONPATH": str(ROOT),
      "XLA_FLAGS": os.environ.get("XLA_FLAGS", "") + count,
      "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
      "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
  }
  words = (
      "--config=ptb_recurrent:smoke",
      "--config.space.nodes=2",
      "--config.data.name=ptb",
      f"--config.data.path={texts}",
      "--config.epochs=1",
      "--config.devices=0",
      "--config.checkpoint_seconds=0",
      f"--workdir={path}",
  )
  found = []
  # Several read the text from its files, each the rows of its own devices.
  words = (*words, "--config.data.stream=True") if processes > 1 else words
  for rank in range(processes):
    own = (f"--coordinator={place}", f"--processes={processes}")
    own = (*own, f"--process={rank}") if processes > 1 else ()
    found.append(
        subprocess.Popen(
            [sys.executable, "-c", _COMMAND, *words, *own, str(troubled)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    )
  return found


def ended(processes):
  """Their exit codes, and what they wrote to the output and beside it."""
  told = [process.communicate() for process in processes]
  return [process.returncode for process in processes], *zip(*told, strict=True)


def test_processes_are_one_run_whatever_happens_to_one_of_them(tmp_path):
  texts = tiny_texts(tmp_path / "texts")
  whole, run, alone = (tmp_path / name for name in ("whole", "run", "alone"))

  # A signal to one process saves and stops both, at one step. Where one dies,
  # the other ends, too, with a line that says which.
  codes, out, wrong = ended(started(whole, texts, 2, 2, run))
  assert codes == [1, -signal.SIGKILL], wrong
  assert all(f"stopped {signal.SIGTERM:d} True" in text for text in out)
  assert "everything is saved" in out[0]
  line = wrong[0].splitlines()[-1]
  assert re.fullmatch(
      r"error: process 1 of 2 \(.+\) has ended or cannot be reached: it has"
      r" said nothing for 10 s. Start the same command on every host again: it"
      r" goes on from what was saved\.",
      line,
  )
  assert not (run / "result.json").exists()

  # The same command goes on, to the same bits.
  codes, out, wrong = ended(started(run, texts, 2, 2))
  assert codes == [0, 0], wrong
  assert "Going on from the checkpoint" in out[0] and "It ran" not in out[0]
  assert "epoch" not in out[1]  # one of them speaks
  for name in ("metrics.jsonl", "derive.jsonl"):
    assert lines(run / name) == lines(whole / name)
  chex.assert_trees_all_equal(last(run), last(whole))
  on = {"step": 0, "devices": 4, "processes": 2}
  assert folder.read_json(run / "config.json")["run_on"] == [on]

  # One process with all the devices does the same, to rounding.
  codes, _, wrong = ended(started(alone, texts, 4, 1))
  assert codes == [0], wrong
  chex.assert_trees_all_close(
      last(alone)["params"], last(whole)["params"], atol=1e-4
  )


def test_what_a_run_goes_on_from_is_noted(tmp_path):
  (tmp_path / "config.json").write_text('{"seed": 0}')
  four, two = {"devices": 4, "processes": 2}, {"devices": 2, "processes": 1}
  noted = lambda: folder.read_json(tmp_path / "config.json")["run_on"]
  assert folder.run_on(tmp_path, 0, **four) is None
  assert folder.run_on(tmp_path, 5, **four) is None
  assert folder.run_on(tmp_path, 5, **two) == {"step": 0, **four}
  assert noted() == [{"step": 0, **four}, {"step": 5, **two}]
  # What was done on two was lost before it was saved.
  assert folder.run_on(tmp_path, 5, **four) is None
  assert noted() == [{"step": 0, **four}]
  folder.note(tmp_path, {"seed": 0, "devices": 4})
  assert noted() == [{"step": 0, **four}]
  # The same run, whatever its devices are.
  assert folder.claim(tmp_path, {"seed": 0, "devices": 1}) == tmp_path
  with pytest.raises(folder.OtherConfig, match=r"seed \(0 there, 1 here\)"):
    folder.claim(tmp_path, {"seed": 1, "devices": 1})


def test_errors_go_from_process_to_process():
  error = ConfigError("key", "words.").inside("block")
  again = pickle.loads(pickle.dumps(error))
  assert str(again) == str(error) and again.key == "block.key"
  error = folder.OtherConfig("words.", {"a": 1}, {"a": 2})
  again = pickle.loads(pickle.dumps(error))
  assert (str(again), again.there) == (str(error), error.there)


def test_a_plain_process_is_alone(monkeypatch):
  monkeypatch.setattr(jax.distributed, "initialize", None)
  hosts.join()
  hosts.join(processes=1)
  # A pod of no job, and a task of SLURM that is alone.
  monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
  slurm(monkeypatch, 1)
  hosts.join()
  assert not hosts.several() and hosts.writes() and hosts.count() == 1
  assert hosts.first(lambda: 3) == hosts.together(lambda: 3) == 3
  assert hosts.alike(1 << 31) and hosts.gathered(5).tolist() == [5]


def slurm(monkeypatch, count):
  for name, value in {
      "JOB_ID": 5,
      "STEP_NODELIST": "node[01-02]",
      "NTASKS": count,
      "PROCID": 1,
      "LOCALID": 0,
  }.items():
    monkeypatch.setenv(f"SLURM_{name}", str(value))


def test_processes_of_a_cluster_are_found(monkeypatch):
  given = []
  monkeypatch.setattr(
      jax.distributed, "initialize", lambda *a, **k: given.append((a, k))
  )
  monkeypatch.setattr(jax.config, "update", lambda *given: None)
  monkeypatch.setattr(hosts.own, "set_handler", lambda *given: None)
  monkeypatch.setattr(hosts.threading.Thread, "start", lambda self: None)
  monkeypatch.setattr(hosts, "_JOINED", hosts.threading.Event())
  slurm(monkeypatch, 2)
  hosts.join()
  ((args, kwargs),) = given
  assert args == (None, None, None)
  assert kwargs["cluster_detection_method"] is None
  hosts.join("10.0.0.1:1234", 2, 1)  # what is said counts
  assert given[1][0] == ("10.0.0.1:1234", 2, 1)
  assert given[1][1]["cluster_detection_method"] == "deactivate"


@pytest.mark.parametrize("given, words", [
    ((None, 2, 1), r"--coordinator: is required: --coordinator=HOST:PORT"),
    (("here:1", 2, None), r"--process: is required"),
    (("here", 2, 0), r"--coordinator: must be HOST:PORT, got 'here'"),
    (("here:0", 2, 0), r"--coordinator: must be HOST:PORT, got 'here:0'"),
    (("here:1", 2, 2), r"--process: must be 0 to 1, got 2 of --processes=2"),
])
def test_what_cannot_be_joined_is_one_line(given, words):
  with pytest.raises(ConfigError, match=words):
    hosts.join(*given)


def test_an_mpi_that_jax_cannot_ask(monkeypatch):
  monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "4")
  monkeypatch.setattr(hosts.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(ConfigError, match="MPI has started 4 processes"):
    hosts.join()


def test_all_devices_of_all_processes_take_part(monkeypatch):
  config = ptb_recurrent.get_config("smoke")
  blocks = [key for key in config if key not in parts.options.of(Run)]
  config.devices = 0
  run = lambda: parts.run(config, Run, (*blocks, "child"))
  assert run().devices == jax.device_count()
  monkeypatch.setattr(hosts, "several", lambda: True)
  monkeypatch.setattr(hosts, "count", lambda: 2)
  config.devices = 1
  words = rf"devices: must be 0, for all, or the {jax.device_count()}"
  with pytest.raises(ConfigError, match=words):
    run()


def test_processes_look_together_and_not_at_every_step(monkeypatch):
  asked, clock = [], iter(np.arange(0, 1000, 0.25))

  def gathered(value):  # a signal came to the other one, which is ahead
    asked.append(value)
    return np.array([value, [signal.SIGTERM * (len(asked) > 4), 99]])

  monkeypatch.setattr(hosts.time, "monotonic", lambda: next(clock))
  watch = hosts.Watch()
  monkeypatch.setattr(hosts, "several", lambda: True)
  monkeypatch.setattr(hosts, "gathered", gathered)
  looks = []
  for call in range(1, 40):
    before = len(asked)
    watch.look(0)
    if len(asked) > before:
      looks.append((call, watch.caught))
  assert [call for call, _ in looks] == [1, 3, 7, 15, 23, 31, 39]
  assert [caught for _, caught in looks] == [0] * 4 + [signal.SIGTERM] * 3


def test_a_signal_to_another_process_stops_this_one(monkeypatch, tmp_path):
  own = signals.Signals(print, tmp_path)
  monkeypatch.setattr(hosts, "several", lambda: True)
  seen = np.array([[0, 10], [signal.SIGINT, 12]])
  monkeypatch.setattr(hosts, "gathered", lambda value: seen)
  with pytest.raises(signals.Interrupted) as caught:
    own.stop_if_caught()
  assert caught.value.number == signal.SIGINT and caught.value.together
  assert own.time == 1.0
