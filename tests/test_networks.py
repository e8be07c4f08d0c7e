"""The network of an architecture in a training loop of one's own."""

import json
import pathlib
import re
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_spaces import SMALL, small_space

import enas_jax
from enas_jax.errors import ConfigError
from enas_jax.spaces import Micro
from enas_jax.tasks import TASKS
from experiments import own_loop


def test_what_is_public_is_there_and_documented():
  assert set(enas_jax._HOME) == set(enas_jax.__all__)
  listed = re.findall(r"^  (\w+)  +\S", enas_jax.__doc__, re.MULTILINE)
  assert sorted(listed) == sorted(enas_jax.__all__)
  for name in enas_jax.__all__:
    assert callable(getattr(enas_jax, name))
    assert getattr(enas_jax, name).__doc__
  with pytest.raises(AttributeError, match="no attribute 'lode'"):
    _ = enas_jax.lode


@pytest.mark.parametrize("name", ["macro", "micro", "nasbench201"])
def test_it_is_the_network_of_a_training(name):
  small, space = SMALL[name], small_space(name)
  values = {**small.network, **({"aux": True} if name == "micro" else {})}
  arch = space.unflatten(small.plain)
  module = space.network(**values, final=True)
  net = enas_jax.network(small.plain, space, **values)
  assert net == enas_jax.network(small.plain, space, **values)
  assert hash(net) is not None
  batch = small.batch
  keys = dict(zip(("params", "dropout"), jax.random.split(jax.random.key(0)),
                  strict=True))
  variables = net.lazy_init(keys, batch.images, train=False)
  params, state = TASKS["classification"](module).init(
      jax.random.key(0), batch, arch
  )
  jax.tree.map(
      np.testing.assert_array_equal, variables, {"params": params, **state}
  )
  # Averages of which each has a value of its own.
  variables["averages"] = jax.tree.map(
      lambda a: 1 + jnp.arange(a.size) / a.size, variables["averages"]
  )
  np.testing.assert_array_equal(
      net.apply(variables, batch.images, train=False),
      module.apply(variables, batch.images, arch, train=False)[0],
  )
  mutable = ["averages", "intermediates"]
  logits, moved = net.apply(
      variables,
      batch.images,
      train=True,
      progress=0.5,
      rngs={"dropout": keys["params"]},
      mutable=mutable,
  )
  (expected, aux), also = module.apply(
      variables,
      batch.images,
      arch,
      train=True,
      progress=0.5,
      rngs={"dropout": keys["params"]},
      mutable=mutable,
  )
  np.testing.assert_array_equal(logits, expected)
  jax.tree.map(
      np.testing.assert_array_equal, moved["averages"], also["averages"]
  )
  sown = moved.get("intermediates", {}).get("auxiliary", (None,))
  if name == "micro":
    np.testing.assert_array_equal(sown[0], aux)
  else:
    assert sown[0] is None and aux is None


def test_a_cell_reads_a_text_in_pieces():
  net = enas_jax.network("enas_lm", vocabulary=20, hidden=8)
  words = jnp.arange(12).reshape(2, 6)
  variables = net.init(jax.random.key(0), words, train=False)
  assert set(variables["params"]) == {"embedding", "first", "nodes"}
  whole, carry = net.apply(variables, words, train=False)
  assert whole.shape == (2, 6, 20) and np.std(whole) > 0
  first, between = net.apply(variables, words[:, :4], train=False)
  last, after = net.apply(variables, words[:, 4:], between, train=False)
  np.testing.assert_allclose(
      np.concatenate([first, last], 1), whole, atol=1e-6
  )
  np.testing.assert_allclose(after, carry, atol=1e-6)


def arch_json(path, integers, **space):
  content = {"space": space, "encoding": integers}
  (path / "arch.json").write_text(json.dumps(content))
  return path


def test_an_arch_comes_in_as_the_config_takes_it(tmp_path):
  integers = SMALL["micro"].cheap
  space = Micro(nodes=2)
  folder = arch_json(tmp_path, integers, name="micro", nodes=2)
  wanted = enas_jax.network(integers, space, classes=3)
  for arch in (folder, folder / "arch.json", str(folder)):
    assert enas_jax.network(arch, classes=3) == wanted
    assert enas_jax.network(arch, "micro", classes=3) == wanted
  text = " ".join(map(str, integers))
  assert enas_jax.network(text, space, classes=3) == wanted
  assert enas_jax.network("digits_micro", classes=3).space == Micro(nodes=3)
  arch_json(tmp_path, integers, name="theirs", nodes=2)
  assert enas_jax.network(folder, Micro, classes=3) == wanted
  with pytest.raises(ConfigError, match="is of 'theirs', which is none of"):
    enas_jax.network(folder, classes=3)


@pytest.mark.parametrize(
    "arch, values, line",
    [
        ("digits_micro", {}, "classes: 'MicroNetwork' needs it: The number"),
        (
            "digits_micro",
            {"classes": 3, "filter": 4},
            "filter: no such key of 'MicroNetwork'. Did you mean 'filters'? C",
        ),
        ("digits_micro", {"classes": "x"}, "classes: must be a whole number"),
        ("digits_micro", {"classes": 3, "final": False}, "final: no such key"),
        ("digits_micro", {"space": "macro"}, "arch: 'digits_micro' is no file"),
        ("nowhere", {}, "arch: 'nowhere' is no file and no preset, and in"),
        ([0, 1], {}, "arch: '0 1' is no file and no preset, and integers need"),
        ([0, 1], {"space": "micro"}, "arch: 40 integers make an architecture"),
        ([0, 1], {"space": "mirco"}, "space: unknown search space 'mirco'. Di"),
        (3, {}, "arch: must be a path or integers, got 3."),
        ("enas_lm", {"classes": 3}, "classes: no such key of 'RecurrentNetwo"),
    ],
)
def test_what_cannot_be_is_a_line(arch, values, line):
  with pytest.raises(ConfigError) as caught:
    enas_jax.network(arch, **values)
  assert str(caught.value).startswith(line)
  assert "\n" not in str(caught.value)


def test_the_lines_of_the_guide_run(tmp_path, monkeypatch):
  guides = pathlib.Path(__file__).parents[1] / "experiments" / "guides"
  page = (guides / "trained-models.md").read_text()
  block = re.search(r"^    net = (?:.*\n)*?(?=^\S)", page, re.MULTILINE)[0]
  (tmp_path / "W").mkdir()
  arch_json(tmp_path / "W", [0, 4, 1, 4] * 2, name="micro", nodes=1)
  monkeypatch.chdir(tmp_path)
  names = {"enas_jax": enas_jax, "key": jax.random.key(0)}
  names["images"] = jnp.zeros((2, 8, 8, 3))
  small = block.replace("filters=36", "cells=1, filters=4")
  assert small != block
  exec(textwrap.dedent(small), names)
  assert names["logits"].shape == (2, 10)
  assert set(names["averages"]) == {"averages"}


def test_a_loop_of_ones_own_learns_and_measures_by_its_averages(tmp_path):
  with open(own_loop.__file__, encoding="utf-8") as opened:
    assert len(opened.readlines()) < 60
  folder = arch_json(tmp_path, [0, 0, 1, 4] * 2, name="micro", nodes=1)
  # Averages that had stayed as they began would leave it near chance.
  assert own_loop.train(str(folder), steps=60, filters=4) > 0.5
