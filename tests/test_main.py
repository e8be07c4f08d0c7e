"""What a user gets who types something that cannot work.

`python tests/test_main.py` prints the table: what was typed, what it says.
"""

import importlib
import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile

import pytest

SEARCH = "--config=configs/cifar_micro.py:smoke"
DIGITS = "--config=configs/digits_micro.py"
SMALL = "--config=configs/nasbench201_small.py:smoke"
FINAL = "--config=configs/cifar_micro_final.py:smoke"
W = "--workdir=W"

# (what was typed, the line that it prints, or its beginning...). {} stands for
# the case's own folder.
CASES = [
    ([W], "--config: is required."),
    ([SEARCH], "--workdir: is required."),
    ([SEARCH, W, "extra"], "extra: is not a flag."),
    (
        [SEARCH, W, "--config.derive.by=luck"],
        "config.derive.by: must be one of the choices, got 'luck'. Choices:"
        " policy, score.",
    ),
    (
        [DIGITS, W, "--config.retrain.random=99"],
        "config.retrain.random: 99 is more than the 50 drawn"
        " (config.derive.random).",
    ),
    (
        [SEARCH, W, "--config.retrain.random=1"],
        "config.retrain.random: nothing is trained without a final config in"
        " config.retrain.config, which a config file sets, as"
        " enas_jax.configs.digits_micro does.",
    ),
    (
        [SEARCH, W, "--config.derive.finalists=2"],
        "config.derive.finalists: nothing is trained without a final config in"
        " config.derive.config or config.retrain.config, which a config file"
        " sets, as enas_jax.configs.digits_micro does.",
    ),
    (
        [SMALL, W, "--config.derive.finalists=1"],
        "config.derive.finalists: must be 0, for none, or 2 to 265, which are"
        " what is chosen, its 24 neighbours, and those that differ in two"
        " choices, got 1.",
    ),
    (
        [SMALL, W, "--config.derive.config.space.name=micro"],
        "config.derive.config.space: no such key. Choices: ...",
    ),
    (
        [DIGITS, W, "--config.retrain.config.seed=1"],
        "config.retrain.config.seed: no such key. Choices: ...",
    ),
    (
        [SMALL, W, "--config.derive.config.data.valid=7"],
        "config.derive.config.data.valid: no such key. ...",
    ),
    (
        [SEARCH, W, "--config.retrain.command=configs/cifar_micro_fin.py"],
        "config.retrain.command: there is no file 'configs/cifar_micro_fin.py'."
        " Did you mean 'configs/cifar_micro_final.py'? Choices: ...",
    ),
    (
        [SEARCH, W, "--config.retrain.command=configs/cifar_micro.py"],
        "config.retrain.command: must be a final config of the space 'micro',"
        " got a search of 'micro'.",
    ),
    (
        [
            SEARCH,
            W,
            "--config.retrain.command=configs/cifar_micro_final.py:smokee",
        ],
        "config.retrain.command: 'configs/cifar_micro_final.py:smokee': unknown"
        " variant 'smokee'. Did you mean 'smoke'? Choices: ...",
    ),
    (
        [SEARCH, W, "--config=cifar_mirco"],
        "--config: there is no file 'cifar_mirco'. Did you mean 'cifar_micro'?"
        " Choices: ...",
    ),
    (
        [SEARCH, W, "--config.retrain.command=README.md"],
        "config.retrain.command: README.md:...",
    ),
    (
        [DIGITS, W, "--config.retrain.command=configs/digits_micro_final.py"],
        "config.retrain.command: does nothing here; config.retrain.config"
        " retrains.",
    ),
    (
        [SEARCH, W, "--config.retrain.config.epochs=3"],
        "config.retrain.config.epochs: no such key: the block is empty. A"
        " config file of your own sets it whole, as"
        " enas_jax.configs.digits_micro sets config.retrain.config.",
    ),
    (
        [DIGITS, W, "--config.retrain.config.data.eval_batch=1000"],
        "config.retrain.config.data.eval_batch: ...",
    ),
    (
        [SEARCH, W, "--config.controller.lr=0.1"],
        "config.controller: no such key. Did you mean '--config.reinforce'?"
        " Choices: ...",
    ),
    (
        [SEARCH, "--wrkdir=W"],
        "--wrkdir: no such flag. Did you mean '--workdir'? Choices: --config,"
        " --coordinator, --process, --processes, --workdir.",
    ),
    (
        ["--config=configs/cifar_mirco.py", W],
        "--config: there is no file 'configs/cifar_mirco.py'. Did you mean"
        " 'configs/cifar_micro.py'? Choices: ...",
    ),
    (
        ["--config=README.md", W],
        "--config: README.md:...",
    ),
    (
        ["--config=configs/cifar_micro.py:smoek", W],
        "config: unknown variant 'smoek'. Did you mean 'smoke'? Choices:"
        " profile=faithful, profile=repaired, smoke.",
    ),
    (
        ["--config=configs/cifar_micro.py:profile=faithful,profile=repaired"],
        "config: two profiles were given.",
    ),
    (
        [SEARCH, W, "--config.child.lrr=0.1"],
        "config.child.lrr: no such key. Did you mean '--config.child.lr'?"
        " Choices: batch, clip, freeze_aux, l2, l2_all, lr, lr_factor,"
        " lr_first, lr_min, momentum, optimiser.",
    ),
    (
        [SEARCH, W, "--config.chid.lr=0.1"],
        "config.chid: no such key. Did you mean '--config.child'? Choices: ...",
    ),
    (
        ["--config", "configs/cifar_micro.py:smoke", W, "--config.epoch=1"],
        "config.epoch: no such key. Did you mean '--config.epochs'? Choices:"
        " ...",
    ),
    (
        [SEARCH, W, "--config.seed.lr=0.1"],
        "config.seed.lr: no such key. Choices: none.",
    ),
    (
        [SEARCH, W, "--noconfig.network.auxx"],
        "config.network.auxx: no such key. Did you mean '--config.network.aux'?"
        " Choices: ...",
    ),
    (
        [SEARCH, W, "--config.child.lr=fast"],
        "config.child.lr: must be a number, got 'fast'.",
    ),
    (
        [SEARCH, W, "--config.epochs=1.5"],
        "config.epochs: must be a whole number, got '1.5'.",
    ),
    (
        [SEARCH, W, "--config.network.aux=5"],
        "config.network.aux: must be true or false, got '5'.",
    ),
    (
        [SEARCH, W, "--config.child=5"],
        "config.child: must be a block: set its values one by one, got '5'.",
    ),
    (
        [SEARCH, W, "--config.epochs=0"],
        "config.epochs: must be a whole number >= 1, got 0.",
    ),
    (
        [SEARCH, W, "--config.seed=-1"],
        "config.seed: must be a whole number >= 0 and < 4294967296, got -1.",
    ),
    (
        [
            "--config=configs/digits_micro.py:smoke",
            W,
            "--config.retrain.config.child.lr=0",
        ],
        "config.retrain.config.child.lr: must be a number > 0, got 0.0.",
    ),
    (
        [SEARCH, W, "--config.child.lr=-0.1"],
        "config.child.lr: must be a number > 0, got -0.1.",
    ),
    (
        [SEARCH, W, "--config.child.lr=nan"],
        "config.child.lr: must be a number > 0, got nan.",
    ),
    (
        [SEARCH, W, "--config.child.l2=inf"],
        "config.child.l2: must be a number >= 0, got inf.",
    ),
    (
        [SEARCH, W, "--config.child.momentum=1"],
        "config.child.momentum: must be a number >= 0 and < 1, got 1.0.",
    ),
    (
        [SEARCH, W, "--config.network.keep=0"],
        "config.network.keep: must be a number > 0 and <= 1, got 0.0.",
    ),
    (
        [SEARCH, W, "--config.network.cells=0"],
        "config.network.cells: must be a whole number >= 1, got 0.",
    ),
    (
        [SEARCH, W, "--config.space.nodes=0"],
        "config.space.nodes: must be a whole number >= 1 and <= 50, got 0.",
    ),
    (
        [SEARCH, W, "--config.reinforce.temperature=0"],
        "config.reinforce.temperature: must be a number > 0, got 0.0.",
    ),
    (
        [SEARCH, W, "--config.derive.archs=0"],
        "config.derive.archs: must be a whole number >= 1, got 0.",
    ),
    (
        [SEARCH, W, "--config.strategy.steps=-1"],
        "config.strategy.steps: must be a whole number >= 0, got -1.",
    ),
    (
        [SEARCH, W, "--config.space.name=mcro"],
        "config.space.name: unknown search space 'mcro'. Did you mean 'micro'?"
        " Choices: macro, micro, nasbench201, recurrent."
        " Or one of your own: file.py:Name.",
    ),
    (
        [SEARCH, W, "--config.dtype=float16"],
        "config.dtype: must be one of the choices, got 'float16'. Did you mean"
        " 'bfloat16'? Choices: bfloat16, float32.",
    ),
    (
        [SEARCH, W, "--config.task.score=likelyhood"],
        "config.task.score: must be one of the choices, got 'likelyhood'. Did"
        " you mean 'likelihood'? Choices: accuracy, likelihood.",
    ),
    (
        [SEARCH, W, "--config.strategy.children=uniform"],
        "config.strategy.children: must be one of the choices, got 'uniform'."
        " Choices: policy, random.",
    ),
    (
        [
            *(SEARCH, W, "--config.strategy.archs=1"),
            "--config.reinforce.step_baseline=True",
        ],
        "config.strategy.archs: must be at least 2, as config.reinforce"
        " compares those of a step, got 1.",
    ),
    (
        [SEARCH, W, "--config.strategy.warmup=2"],
        "config.strategy.warmup: 2 leaves none of the 2 config.epochs.",
    ),
    (
        [SEARCH, W, "--config.strategy.name=reinforced"],
        "config.strategy.name: unknown strategy 'reinforced'. Did you mean"
        " 'reinforce'? Choices: evolution, random, reinforce."
        " Or one of your own: file.py:Name.",
    ),
    (
        [SEARCH, W, "--config.objective.cost=parms"],
        "config.objective.cost: must be one of the choices, got 'parms'. Did"
        " you mean 'params'? Choices: flops, latency, params.",
    ),
    (
        [SEARCH, W, "--config.objective.weight=0.5"],
        "config.objective.cost: a target and a weight need one. Choices:"
        " params, flops, latency.",
    ),
    (
        [SEARCH, W, "--config.objective.cost=flops"],
        "config.objective.target: must be a number > 0, got 0.0.",
    ),
    (
        [
            *(SEARCH, W, "--config.objective.cost=flops"),
            "--config.objective.target=1e6",
        ],
        "config.objective.weight: must be a number > 0, got 0.0.",
    ),
    (
        [SEARCH, W, "--config.child.optimiser=nestrov"],
        "config.child.optimiser: unknown optimiser 'nestrov'. Did you mean"
        " 'nesterov'? Choices: nesterov, sgd."
        " Or one of your own: file.py:Name.",
    ),
    (
        [SEARCH, W, "--config.data.name=pydoc"],
        "config.task.name: 'pydoc' is data for the task 'language_model', got"
        " 'classification'.",
    ),
    (
        [SEARCH, W, "--config.child.optimiser=sgd"],
        "config.child.freeze_aux: no such key of 'sgd'. Choices: average_after,"
        " clip, l2, lr, patience, whole.",
    ),
    (
        [SEARCH, W, "--config.task.name=language_model"],
        "config.task.name: 'synthetic' is data for the task 'classification',"
        " got 'language_model'.",
    ),
    (
        ["--config=configs/ptb_recurrent.py:smoke", W, "--config.data.path={}"],
        "config.data.path: no such key of 'pydoc'. Choices: length, stream,"
        " vary.",
    ),
    (
        ["--config=configs/ptb_recurrent.py", W, "--config.data.path={}"],
        "config.data.path: {} must hold one file train.txt or NAME.train.txt,"
        " it has none.",
    ),
    (
        ["--config=configs/ptb_recurrent.py", W],
        "config.data.path: 'ptb' needs the folder of its three texts."
        " --config.data.name=pydoc needs none.",
    ),
    (
        ["--config=configs/cifar_macro.py:smoke", W, "--config.space.layers=0"],
        "config.space.layers: must be a whole number >= 1 and <= 100, got 0.",
    ),
    (
        [
            "--config=configs/cifar_macro_final.py:smoke",
            W,
            "--config.arch=0 0 7 0 0 0",
            "--config.space.layers=3",
        ],
        "config.arch: layer 1 has skip bit 0 = 7, which is not 0 or 1. ...",
    ),
    (
        [SEARCH, W, "--config.task.name=clasification"],
        "config.task.name: unknown task 'clasification'. Did you mean"
        " 'classification'? Choices: classification, language_model."
        " Or one of your own: file.py:Name.",
    ),
    (
        [FINAL, W, "--config.strategy.name=reinforce"],
        "config.strategy: no such key. Choices: ...",
    ),
    (
        [SEARCH, W, "--config.data.name=cifar11"],
        "config.data.name: unknown data set 'cifar11'. Did you mean...",
    ),
    (
        [SEARCH, W, "--config.data.name=cifar100", "--config.data.path={}"],
        "config.data.name: 'cifar100' is not prepared in {}/cifar100/3.0.2."
        " Run: python -m enas_jax.data.prepare cifar100 --data_dir={}",
    ),
    (
        [SEARCH, W, "--config.data.name=imdb_reviews"],
        "config.data.name: 'imdb_reviews' is not a set of images with one class"
        " each; its features: label (ClassLabel), text (Text).",
    ),
    (
        [SEARCH, W, "--config.data.name=folder"],
        "config.data.path: 'folder' needs it: The folder that holds `train` and"
        " `test`.",
    ),
    (
        [SEARCH, W, "--config.data.name=folder", "--config.data.path={}/no"],
        "config.data.path: there is no folder {}/no.",
    ),
    (
        [SEARCH, W, "--config.data.size=4"],
        "config.data.size: must be a whole number >= 8, got 4.",
    ),
    (
        [SEARCH, W, "--config.data.valid=512"],
        "config.data.valid: must be a whole number >= 1 and <= 511, got 512.",
    ),
    (
        [SEARCH, W, "--config.child.batch=1000"],
        "config.child.batch: 1000 is more than the 448 examples of the training"
        " split.",
    ),
    (
        [DIGITS, W, "--config.child.batch=300"],
        "config.child.batch: 300 is more than the 287 examples of the"
        " validation split.",
    ),
    (
        [SEARCH, W, "--config.data.eval_batch=65"],
        "config.data.eval_batch: 65 is more than the 64 examples of the"
        " validation split.",
    ),
    (
        [FINAL, W, "--config.data.eval_batch=1000"],
        "config.data.eval_batch: 1000 is more than the 256 examples of the test"
        " split.",
    ),
    (
        [SEARCH, W, "--config.augment.pad=9"],
        "config.augment.pad: must be a whole number >= 0 and <= 8, got 9.",
    ),
    (
        [FINAL, W, "--config.arch=enas_mirco"],
        "config.arch: 'enas_mirco' is no file and no preset. Did you mean"
        " 'enas_micro'? This space reads a preset (digits_micro, enas_micro),"
        " the path of an arch.json or of the folder of a run, 40 integers, or"
        " the path of a file of integers.",
    ),
    (
        [FINAL, W, "--config.arch=configs"],
        "config.arch: the folder configs has no arch.json, with which a search"
        " ends, and no model/model.json, with which a training does. This"
        "...",
    ),
    (
        [FINAL, W, "--config.arch=0 1 2"],
        "config.arch: 40 integers make an architecture of 5 nodes, got 3. ...",
    ),
    (
        [FINAL, W, f"--config.arch={'9 ' * 40}"],
        "config.arch: node 2 of the normal cell reads input 9, which is not one"
        " of 0..1. This space reads ...",
    ),
    (
        [SEARCH, "--workdir=/proc/none"],
        "--workdir: cannot write to /proc/none: ...",
    ),
    (
        [SEARCH, "--workdir=README.md"],
        "--workdir: cannot write to README.md: File exists.",
    ),
    (
        [SEARCH, "--workdir=configs"],
        "--workdir: configs holds README.md, and is not the folder of a run."
        " Name another folder.",
    ),
]


def _of_file():
  """The cases in mistakes.txt: a line of words, and a line of the answer."""
  file = pathlib.Path(__file__).with_name("mistakes.txt")
  found = file.read_text(encoding="utf-8").splitlines()
  for typed, answer in zip(found[::2], found[1::2], strict=True):
    yield shlex.split(typed.removeprefix("$ ")), answer


CASES += _of_file()

# The files that they name, in the folder {files}.
FILES = {
    "foreign.json": '{"op_1": {"_value": "conv", "_idx": 0}}',
    "nested.json": '{"a":' * 100_000,
    "list.json": "[1, 2.5]",
    "words.json": '"enas_micro"',
    "no_space.json": '{"encoding": [0, 1, 0, 1]}',
    "no_encoding.json": '{"space": {"name": "micro"}}',
    "macro.json": '{"space": {"name": "macro"}, "encoding": [0]}',
    "text.json": '{"space": {"name": "micro"}, "encoding": "0 1"}',
    "fractions.json": '{"space": {"name": "micro"}, "encoding": [0.5]}',
    "huge_nodes.json": (
        '{"space": {"name": "micro", "nodes": 1000000000}, "encoding": [0]}'
    ),
    "extra.json": '{"space": {"name": "micro", "cells": 2}, "encoding": [0]}',
    "bytes.json": "\xff\xfe\x00",
    "cut.json": '{"space": {"name": "mic',
    "string_space.json": '{"space": "micro", "encoding": [0]}',
    "empty_object.json": "{}",
    "printed.txt": "[0 1]\n[2 3 4]\n",
    "words.txt": "[0 1 2]\n[skip 3 4]\n",
    "short.txt": "",
    "beside/log.txt": "",
    "no_config.py": "",
    "broken.py": "def get_config(:\n",
    "list.py": "def get_config():\n  return []\n",
}


def answers(cases, root, program="enas_jax.main"):
  """[exit code, standard error, files written] of each, in order."""
  script = pathlib.Path(__file__)
  done = subprocess.run(
      [sys.executable, str(script), root, program],
      input=json.dumps([args for args, _ in cases]),
      capture_output=True,
      text=True,
      cwd=script.parent.parent,
  )
  assert not done.returncode, done.stderr
  return [json.loads(line) for line in done.stdout.splitlines()]


def _serve(root, program):
  """Answers the cases on standard input, in forks of one process.

  JAX is imported once and starts no thread before the fork.
  """
  sys.path.insert(0, os.getcwd())
  main = importlib.import_module(program)

  files = pathlib.Path(root, "files")
  (files / "beside").mkdir(parents=True)
  for name, content in FILES.items():
    (files / name).write_text(content, encoding="latin-1")
  for number, args in enumerate(json.load(sys.stdin)):
    home = pathlib.Path(root, str(number))
    home.mkdir()
    (reader, writer), child = os.pipe(), os.fork()
    if not child:
      os.dup2(writer, 2)
      os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
      signal.alarm(60)  # of a case that is not refused
      sys.argv = ["main", *(_in(home, arg) for arg in args)]
      try:
        main.cli()
      except SystemExit as error:
        os._exit(error.code or 0)
      finally:
        sys.stderr.flush()
        os._exit(99)
    os.close(writer)
    with open(reader, encoding="utf-8") as file:
      text = file.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([code, text, os.listdir(home)]), flush=True)


def _in(home, text):
  text = text.replace("--workdir=W", f"--workdir={home}/W")
  text = text.replace("{HOME}", os.path.expanduser("~"))
  text = text.replace("{files}", str(home.parent / "files"))
  return text.replace("{}", str(home))


_OWN = """
from enas_jax.configs import cifar_micro

def get_config():
  config = cifar_micro.get_config("smoke")
  {line}
  {end}
"""


def test_a_slip_in_a_users_own_file_is_one_line(tmp_path):
  cases = []
  for line, end, message in [
      ("config.child.lr = '0.1'", "return config", ".py:6: TypeError: Cou"),
      ("config.child.lr = None", "return config", "config.child.lr: must be"),
      ("config.augment = None", "return config", "config.augment: must be"),
      ("", "", ".py: its get_config() returns nothing."),
  ]:
    file = tmp_path / f"own_{len(cases)}.py"
    file.write_text(_OWN.format(line=line, end=end))
    cases.append(([f"--config={file}", W], message))
  (tmp_path / "runs").mkdir()
  found = answers(cases, str(tmp_path / "runs"))
  for (_, message), (code, text, files) in zip(cases, found, strict=True):
    assert (code, files) == (2, [])
    *_, last = text.splitlines()
    assert last.startswith("error: ") and message in last


def test_help_is_no_failure(tmp_path):
  [[code, text, files]] = answers([(["--help"], "")], str(tmp_path))
  assert (code, files) == (0, [])
  assert "error" not in text


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
  root = tmp_path_factory.mktemp("cases")
  return root, answers(CASES, str(root))


@pytest.mark.parametrize(
    "number", range(len(CASES)), ids=[" ".join(args) for args, _ in CASES]
)
def test_a_mistake_is_one_line_and_nothing_is_written(answered, number):
  root, found = answered
  code, text, files = found[number]
  lines = [line for line in text.splitlines() if not re.match(r"I\d{4} ", line)]
  _, expected = CASES[number]
  assert code == 2
  assert len(lines) == 1
  expected = f"error: {_in(root / str(number), expected)}"
  if expected.endswith("..."):
    assert lines[0].startswith(expected[:-3])
  else:
    assert lines[0] == expected
  assert not files


def test_an_empty_value_keeps_the_word_after_it(monkeypatch):
  from enas_jax import command

  monkeypatch.setattr(sys, "argv", ["main.py", "--config.init=", "--config=a"])
  assert command.again(["config.init"], ["--b"]).endswith(" --config=a --b")


if __name__ == "__main__":
  if len(sys.argv) > 1:
    _serve(*sys.argv[1:])
  else:
    with tempfile.TemporaryDirectory() as folder:
      print("| typed | code | answer |\n|---|---|---|")
      for (args, _), (code, text, _) in zip(
          CASES, answers(CASES, folder), strict=True
      ):
        line = text.strip().splitlines()[-1].replace("|", "\\|")
        print(f"| `{' '.join(args)}` | {code} | {line} |")
