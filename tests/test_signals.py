"""How a process ends when a signal comes."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from enas_jax import signals

ROOT = pathlib.Path(__file__).parent.parent
# Runs a command that takes Ctrl-C; one in the background of a shell ignores it.
HEARS = (
    sys.executable,
    "-c",
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);"
    " os.execvp(sys.argv[1], sys.argv[1:])",
)
# A loop that never lets the handler end it, as a long compilation does.
_STUCK = """
import pathlib, sys, time
from enas_jax import signals
number = []
with signals.caught(
    lambda *its: number.append(its[0]),
    lambda number: print("at last", number, flush=True),
    grace=0.2,
) as busy:
  print("ready", flush=True)
  {amid}
  while True:
    time.sleep(0.01)
"""
_SAVING = """
  with busy:
    while not number:
      time.sleep(0.01)
    time.sleep(0.8)
    pathlib.Path("saved").touch()
"""


def started(code, folder):
  """A process of this code that has said that it is ready."""
  process = subprocess.Popen(
      [*HEARS, sys.executable, "-c", code],
      cwd=folder,
      env={**os.environ, "PYTHONPATH": str(ROOT)},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
  )
  assert process.stdout.readline() == "ready\n"
  return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("amid", ["", _SAVING], ids=["", "saving"])
def test_what_does_not_come_back_is_ended_by_the_signal(
    number, amid, tmp_path
):
  process = started(_STUCK.format(amid=amid), tmp_path)
  process.send_signal(number)
  text, wrong = process.communicate(timeout=60)
  assert process.returncode == -number  # 130 or 143 in a shell
  assert (text, wrong) == (f"at last {number:d}\n", "")
  assert (tmp_path / "saved").exists() == bool(amid)


def test_ctrl_c_twice_does_not_wait(tmp_path):
  code = _STUCK.format(amid="").replace("0.2", "1e6")
  process = started(code, tmp_path)
  for _ in range(2):
    process.send_signal(signal.SIGINT)
    # Two at once would be one.
    with pytest.raises(subprocess.TimeoutExpired):
      process.wait(0.3)
  process.communicate(timeout=60)
  assert process.returncode == -signal.SIGINT


def wait(told):
  """Waits for what another thread tells, ten seconds at most."""
  end = time.monotonic() + 10
  while not told() and time.monotonic() < end:
    time.sleep(0.01)


@pytest.mark.parametrize(
    ("number", "end"),
    [
        (signal.SIGINT, "; Ctrl-C now ends at once."),
        (signal.SIGTERM, ": SIGTERM came."),
    ],
)
def test_ctrl_c_is_named_only_where_it_came(number, end, tmp_path):
  said = []
  # Tests that a shell has put behind are started with SIGINT ignored.
  before = signal.signal(number, signal.default_int_handler)
  try:
    with signals.Signals(said.append, tmp_path):
      os.kill(os.getpid(), number)
      wait(lambda: said)
  finally:
    signal.signal(number, before)
  assert said == [f"Stopping after this step{end}"]


def test_what_a_shell_ignores_stays_ignored(tmp_path):
  code = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)"
  process = started(code + _STUCK.format(amid=""), tmp_path)
  process.send_signal(signal.SIGINT)
  process.send_signal(signal.SIGTERM)
  process.communicate(timeout=60)
  assert process.returncode == -signal.SIGTERM


def test_handlers_and_threads_are_as_before():
  before = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
  threads, seen = threading.active_count(), []
  with signals.caught(lambda *its: seen.append(its[0])):
    os.kill(os.getpid(), signal.SIGTERM)
  assert seen == [signal.SIGTERM]
  assert threading.active_count() == threads
  after = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
  assert after == before


@pytest.fixture
def ended(monkeypatch):
  """Signals by which the process would have been ended, in no time."""
  numbers = []
  monkeypatch.setattr(signals, "_GRACE", 0.01)
  monkeypatch.setattr(signals, "die", numbers.append)
  return numbers


def test_only_the_process_of_a_command_is_ended(ended, tmp_path):
  with signals.Signals(print, tmp_path):  # a notebook goes on after its run
    signal.raise_signal(signal.SIGTERM)
    time.sleep(0.1)
  assert not ended
  with signals.caught(lambda *its: None), signals.Signals(print, tmp_path):
    signal.raise_signal(signal.SIGTERM)
    wait(lambda: ended)
  assert ended == [signal.SIGTERM]


@pytest.mark.parametrize("compiling", [False, True])
@pytest.mark.parametrize("saved", [False, True])
def test_it_says_what_is_waited_for_and_what_is_saved(
    compiling, saved, ended, tmp_path
):
  said, threads = [], set()

  def say(line):
    said.append(line)
    threads.add(threading.current_thread())

  own = signals.Signals(say, tmp_path)
  own.compiling, own.saved = compiling, saved
  with signals.caught(lambda *its: None), own:
    signal.raise_signal(signal.SIGTERM)
    wait(lambda: len(said) > 1)
  # Else it would come amid a line of the main thread.
  assert threading.main_thread() not in threads
  first, last = said
  assert first.startswith(
      "Stopping. The steps are being compiled, which may take"
      if compiling
      else "Stopping after this step: SIGTERM came."
  )
  assert last.startswith(
      "Stopped while compiling. "
      if compiling
      else "Stopped amid a step, which took too long. "
  )
  assert last.endswith(
      f" The same command goes on from what was saved in {tmp_path}."
      if saved
      else " Nothing was saved yet: the same command begins from the start."
  )


def test_what_is_stopped_already_is_not_stopping(tmp_path):
  said = []
  with signals.Signals(said.append, tmp_path) as own:
    own.caught = signal.SIGTERM
    with pytest.raises(signals.Interrupted):
      own.stop_if_caught()
    own._first(signal.SIGTERM)
  assert [line.split(";")[0] for line in said] == ["Stopped"]


_SLOW = """
import time

def get_config():
  print("ready", flush=True)
  time.sleep(600)
"""


def test_a_signal_while_it_reads_is_one_line_and_ends_the_shells_loop(
    tmp_path,
):
  (tmp_path / "slow.py").write_text(_SLOW, encoding="utf-8")
  line = f"{sys.executable} -m enas_jax.main --config=slow.py --workdir=W"
  shell = subprocess.Popen(
      [*HEARS, "bash", "-c", f"for n in 1 2 3; do {line}; echo {{}} $?; done"],
      cwd=tmp_path,
      env={**os.environ, "PYTHONPATH": str(ROOT)},
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
      start_new_session=True,
  )
  assert shell.stdout.readline() == "ready\n"
  os.killpg(shell.pid, signal.SIGINT)  # as a terminal does at Ctrl-C
  try:
    text, wrong = shell.communicate(timeout=60)
  except subprocess.TimeoutExpired:  # the loop went on
    os.killpg(shell.pid, signal.SIGKILL)
    raise
  assert (text, wrong) == ("", "Stopped by SIGINT.\n")
  assert shell.returncode == -signal.SIGINT
  assert os.listdir(tmp_path) == ["slow.py"] or not (tmp_path / "W").exists()
