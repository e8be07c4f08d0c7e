"""What the pages tell a reader to type and to set is there."""

import re
import shlex
import sys

from absl import flags
from ml_collections import config_flags
import pytest
from test_configs import FILES, NAMES, small

from enas_jax import check

ROOT = FILES.parent
PAGES = [ROOT / "README.md", ROOT / "WORKSPACE.md", *FILES.glob("*.py")]
_NO_KEYS = {"config.json", "config.derive.update"}
_COMMAND = r"python -m enas_jax\.main((?:[^\n`]*\\\n)*[^\n`]*)"


def _commands():
  for page in PAGES:
    for found in re.findall(_COMMAND, page.read_text()):
      words = shlex.split(found.replace("\\\n", " "))
      if any(word.startswith("--config=") for word in words):
        yield pytest.param(words, id=f"{page.name}: {words[0]}")


@pytest.mark.parametrize("words", _commands())
def test_a_command_is_accepted(words, monkeypatch):
  monkeypatch.chdir(ROOT)
  monkeypatch.setattr(sys, "argv", ["main", *words])  # config_flags reads it
  values = flags.FlagValues()
  config_flags.DEFINE_config_file("config", flag_values=values)
  flags.DEFINE_string("workdir", None, "", flag_values=values)
  assert values(sys.argv) == ["main"]
  check.check(values.config)


def _known(block, name="config"):
  yield name
  for key, value in block.items():
    here = f"{name}.{key}"
    yield from _known(value, here) if hasattr(value, "items") else [here]


@pytest.mark.parametrize("page", PAGES[:2], ids=lambda page: page.name)
def test_every_key_that_a_page_names_is_one(page):
  known = {key for name in NAMES for key in _known(small(name, ""))}
  named = set(re.findall(r"\bconfig(?:\.[a-z_0-9]+)+", page.read_text()))
  assert len(named - _NO_KEYS) > 1
  assert named - _NO_KEYS <= known
