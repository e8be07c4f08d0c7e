"""Architectures that a user names: what is read, and what is refused how."""

import json
import re

import chex
import numpy as np
import pytest

from enas_jax import archfile, build
from enas_jax.configs import cifar_micro_final
from enas_jax.errors import ConfigError
from enas_jax.spaces.macro import Macro
from enas_jax.spaces.micro import Micro
from enas_jax.spaces.nasbench201 import NasBench201
from enas_jax.spaces.recurrent import Recurrent
from experiments import mutations

SPACE, SMALL, CELL = Micro(), Micro(nodes=2), NasBench201()
# Published cells, as the reference's script has them.
PUBLISHED = """
0 2 0 0  0 4 0 1  0 4 1 1  1 0 0 1  0 2 1 1
1 0 1 0  0 3 0 2  1 1 3 1  1 0 0 4  0 3 1 1
"""
INTEGERS = [0, 1, 1, 2, 2, 4, 0, 3, 1, 0, 0, 4, 1, 2, 2, 1]


def parse(text, space=SMALL):
  return archfile.parse("config.arch", text, space)


def write(path, content):
  path.write_text(content if isinstance(content, str) else json.dumps(content))
  return str(path)


def test_a_preset_is_the_published_one():
  named, spelled = parse("enas_micro", SPACE), parse(PUBLISHED, SPACE)
  chex.assert_trees_all_equal(named, spelled)
  assert named.normal[1].tolist() == [0, 4, 0, 1]
  assert named.reduce[4].tolist() == [0, 3, 1, 1]
  for table in named:
    assert isinstance(table, np.ndarray) and table.dtype == np.int32


@pytest.mark.parametrize(
    "text",
    [
        " ".join(map(str, INTEGERS)),
        ",".join(map(str, INTEGERS)),
        str(INTEGERS),
        "[0,1,1,2 2,4,0,3]\n[1,0,0,4 1,2,2,1]",
    ],
)
def test_integers_are_read_however_they_are_set(text):
  assert SMALL.flatten(parse(text)) == INTEGERS


def test_a_record_reads_back(tmp_path):
  facts = {"space": {"name": "micro", "nodes": 2}, "seed": 3}
  content = archfile.record(SMALL.unflatten(INTEGERS), SMALL, facts)
  path = write(tmp_path / "arch.json", content)
  assert SMALL.flatten(parse(path)) == INTEGERS
  assert content["encoding"] == INTEGERS and content["seed"] == 3
  assert len(content["readable"]) == 4
  for named in (path, str(tmp_path)):  # the file, or the folder of the search
    record = settled(named)
    assert record["space"] == content["space"]
    assert record["arch"] == " ".join(map(str, INTEGERS))


@pytest.mark.parametrize("space, integers, lines", [
    (
        Macro(layers=3),
        [1, 5, 0, 2, 1, 1],
        [
            "tensor 1 = sep_conv_3x3(0)",
            "tensor 2 = max_pool_3x3(1)",
            "tensor 3 = conv_5x5(2) + 0 + 1",
        ],
    ),
    (
        Recurrent(nodes=3),
        [0, 1, 0, 3, 2, 2],
        [
            "node 0 = tanh(word, state)",
            "node 1 = relu(0)",
            "node 2 = identity(0)",
            "node 3 = sigmoid(2)",
        ],
    ),
    (
        Recurrent(nodes=3, dialect="2018"),
        [1, 0, 3, 1, 2],
        [
            "node 0 = relu(word, state)",
            "node 1 = sigmoid(0)",
            "node 2 = identity(1)",
        ],
    ),
])
def test_an_architecture_in_words(space, integers, lines):
  assert archfile.described(space.unflatten(integers), space) == lines


def settled(text):
  """What is recorded of a training of this arch."""
  config = cifar_micro_final.get_config("smoke")
  config.arch = text
  return build.plan(config).record


def test_a_run_records_integers_not_where_they_came_from():
  assert settled("enas_micro")["arch"] == " ".join(PUBLISHED.split())


@pytest.mark.parametrize(
    "space, message",
    [
        ({"name": "macro"}, "is of the space 'macro', not of 'micro'"),
        ({"name": "micro", "layers": 2}, "json: space.layers: no such key"),
        ({"name": "micro", "nodes": "2"}, "number >= 1 and <= 50, got"),
    ],
)
def test_a_file_of_a_space_that_cannot_be(space, message, tmp_path):
  content = {"space": space, "encoding": INTEGERS}
  with pytest.raises(ConfigError, match=re.escape(message)):
    settled(write(tmp_path / "arch.json", content))


def refusal(text, space=SMALL):
  with pytest.raises(ConfigError) as caught:
    parse(text, space)
  message = str(caught.value)
  assert message.startswith("config.arch: ")
  assert "\n" not in message
  return message


def changed(index, value):
  return str([*INTEGERS[:index], value, *INTEGERS[index + 1 :]])


@pytest.mark.parametrize(
    "text, parts",
    [
        ("0 1 2", ["16 integers", "2 nodes", "got 3"]),
        ("[]", ["16 integers", "got 0"]),
        (changed(0, 2), ["node 2", "normal cell", "input 2", "0..1"]),
        (changed(4, 3), ["node 3", "normal cell", "input 3", "0..2"]),
        (changed(9, 5), ["node 2", "reduce cell", "operation 5", "0..4"]),
        (changed(15, -1), ["node 3", "reduce cell", "operation -1", "0..4"]),
        (changed(14, -2), ["node 3", "reduce cell", "input -2", "0..2"]),
        (changed(0, 10**11), ["node 2", "normal cell", "0..1"]),
        (changed(0, 10**30), ["node 2", "normal cell", "0..1"]),
    ],
)
def test_integers_that_are_no_architecture(text, parts):
  message = refusal(text)
  for part in parts:
    assert part in message


@pytest.mark.parametrize(
    "text, near",
    [
        ("enas_mirco", True),
        ("micro_enas_2", False),
        ("", False),
        (300 * "x", False),
    ],
)
def test_an_unknown_preset(text, near):
  message = refusal(text, SPACE)
  assert repr(text) in message
  assert "a preset (digits_micro, enas_micro)" in message
  assert ("Did you mean 'enas_micro'?" in message) == near
  assert "arch.json" in message and "integers" in message


def test_a_folder_does_not_hide_a_preset(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "enas_micro").mkdir()
  assert settled("enas_micro")["arch"] == " ".join(PUBLISHED.split())


def test_a_missing_file():
  message = refusal("runs/none/arch.json", SPACE)
  assert "'runs/none/arch.json' is no file" in message
  assert "a preset (digits_micro, enas_micro)" in message


GOOD = {"space": {"name": "micro", "nodes": 2}, "encoding": INTEGERS}


@pytest.mark.parametrize(
    "content, parts",
    [
        ('{"encoding": [0, 1', ["not an arch.json", "JSONDecodeError"]),
        ([1, 2], ["16 integers", "got 2"]),
        ("genes: 1 2", ["arch.json, line 1: 'genes:' is no integer"]),
        ("[0 1]\n[1 x2]\n", ["arch.json, line 2: 'x' is no integer"]),
        ('{"a":' * 100_000, ["not an arch.json", "RecursionError"]),
        ("[" * 100_000, ["16 integers", "got 0"]),
        ({"op_1": {"_value": "conv", "_idx": 0}}, ["lacks 'space'"]),
        ({"space": GOOD["space"]}, ["not an arch.json", "encoding"]),
        ({"encoding": INTEGERS}, ["not an arch.json", "space"]),
        ({**GOOD, "space": {"name": 3}}, ["not an arch.json", "no name"]),
        ({**GOOD, "encoding": None}, ["not an arch.json"]),
        ({**GOOD, "encoding": ["a"] * 16}, ["not an arch.json"]),
        ({**GOOD, "encoding": [0.7] * 16}, ["not an arch.json", "integers"]),
        ({**GOOD, "encoding": "0" * 16}, ["not an arch.json", "integers"]),
        ({**GOOD, "encoding": [[0, 1]] * 8}, ["not an arch.json", "integers"]),
        ({**GOOD, "encoding": INTEGERS[:-1]}, ["16 integers", "got 15"]),
    ],
)
def test_files_that_are_no_architecture(content, parts, tmp_path):
  path = write(tmp_path / "arch.json", content)
  message = refusal(path)
  assert " This space reads a preset (" in message
  if "integers" not in parts[0]:
    assert path in message
  for part in parts:
    assert part in message


@pytest.mark.parametrize(
    "text",
    [
        "[0 1 1 2 2 4 0 3]\n[1 0 0 4 1 2 2 1]\n",
        "\ufeff0, 1, 1, 2,\r\n2, 4, 0, 3, 1, 0, 0, 4, 1, 2, 2, 1",
        str([[0, 1, 1, 2, 2, 4, 0, 3], (1, 0, 0, 4, 1, 2, 2, 1)]),
    ],
)
def test_a_file_of_integers_reads_as_the_integers_do(text, tmp_path):
  (tmp_path / "printed.txt").write_text(text, encoding="utf-8")
  assert SMALL.flatten(parse(str(tmp_path / "printed.txt"))) == INTEGERS


@pytest.mark.parametrize(
    "text",
    [
        "64:64:64:64:64",
        "12804",
        "Genotype(normal=[('sep_conv_3x3', 1)], normal_concat=range(2, 6))",
        "0 1 2",
        "|none~0|",
    ],
)
def test_a_refusal_lists_the_forms_that_the_space_reads(text):
  message = refusal(text)
  assert message.endswith(
      " This space reads a preset (digits_micro, enas_micro), the path of an"
      " arch.json or of the folder of a run, 16 integers, or the path of a file"
      " of integers."
  )
  assert "notation |none~0|+|none~0|none~1|+" in refusal(text, CELL)


def test_a_home_folder_is_found(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  write(tmp_path / "arch.json", GOOD)
  assert settled("~/arch.json")["arch"] == " ".join(map(str, INTEGERS))


def test_bytes_that_are_no_text(tmp_path):
  path = tmp_path / "arch.json"
  path.write_bytes(b"\xff\xfe\x00")
  assert "not an arch.json" in refusal(str(path))


def test_files_that_are_broken_are_refused_in_a_line(tmp_path):
  found = mutations.attack_archs(tmp_path / "arch.json", 400)
  assert found.total() == 400
  assert 0 < found["arch taken"] < 200
