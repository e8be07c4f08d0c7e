"""What a benchmark's table says of a search, and what is no such table."""

import json
import re

import numpy as np
import pytest
from test_nasbench201 import TABLE
from test_run import ran

from enas_jax import build
from enas_jax.configs import cifar_micro, nasbench201
from enas_jax.derive import benchmark, ranking
from enas_jax.errors import ConfigError
from enas_jax.report import words
from enas_jax.spaces.nasbench201 import NasBench201

SPACE = NasBench201()


def arrays(rows=15_625):
  """A table of the space whose accuracies are made up."""
  ops = np.stack(np.unravel_index(np.arange(rows), (5,) * 6), 1).astype(np.int8)
  rng = np.random.default_rng(0)
  test = rng.permutation(rows) / rows * 50 + 45
  return {
      "ops": ops,
      "arch": np.array([SPACE.notation(values) for values in ops.tolist()]),
      "cifar10_test": test,
      "cifar10_valid": (test - 5).astype(np.float32),
  }


def write(path, content):
  np.savez(path, **content)
  return str(path)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
  return write(tmp_path_factory.mktemp("table") / "t.npz", arrays())


@pytest.fixture(scope="module")
def table(path):
  return benchmark.read("key", path, SPACE)


def test_a_report_ranks_among_all(table):
  order = np.argsort(-table.test)
  encodings = table.ops.tolist()
  derived = encodings[order[2]]
  random = [(encodings[n], float(table.test[n]) / 2) for n in order[::500]]
  policy = [encodings[order[0]], encodings[order[1]]]
  found = benchmark.report(table, derived, policy, random, seed=0)
  assert (found["rank"], found["architectures"]) == (3, 15_625)
  best, _, third = table.test[order[:3]]
  assert found["test_accuracy"] == third and found["best"] == best
  assert found["regret"] == best - third > 0
  assert found["mean_of_policy"] == table.test[order[:2]].mean()
  assert found["mean_of_random"] == table.test[order[::500]].mean()
  ranking = found["ranking"]
  assert ranking["candidates"] == 32
  assert ranking["kendall"] == pytest.approx(1)
  assert ranking["spearman_95"] == pytest.approx([1, 1])
  assert ranking["top"] == {"1": 1, "3": 1, "5": 1, "10": 1, "20": 1}
  json.dumps(found, allow_nan=False)
  first, second = words.truth(found)
  assert "rank 3 of 15,625" in first
  assert "kendall 1.000 [1.000, 1.000]" in second


def broken(**changed):
  return {k: v for k, v in {**arrays(), **changed}.items() if v is not None}


def other_order():
  content = arrays()
  return {**content, "ops": content["ops"][:, ::-1]}


@pytest.mark.parametrize("content, message", [
    (broken(cifar10_valid=None), "is not an .npz file of ops, arch, cifar10_"),
    (broken(arch=arrays()["arch"].astype(object)), "ValueError: Object arrays"),
    (broken(ops=arrays()["ops"] / 1.0), "'ops' is not a table of integers"),
    (broken(cifar10_test=np.ones(3)), "have not one entry for each row"),
    (broken(cifar10_test=np.ones((15_625, 1))), "have not one entry for each"),
    (broken(arch=arrays()["arch"].astype("S")), "'arch' is not of text"),
    (arrays(1000), "it has 1,000 of the 15,625 architectures"),
    (broken(cifar10_test=np.full(15_625, 101.0)), "is no percentage"),
    (broken(cifar10_valid=np.full(15_625, np.nan)), "is no percentage"),
    (broken(cifar10_test=arrays()["cifar10_test"] / 100), "are fractions, not"),
    (other_order(), "is of another space than config.space.name"),
    (
        {k: np.concatenate([v, v[:1]]) for k, v in arrays().items()},
        "an architecture is in it twice",
    ),
])
def test_what_is_no_table_is_refused(content, message, tmp_path):
  path = write(tmp_path / "t.npz", content)
  with pytest.raises(ConfigError, match=re.escape(message)) as caught:
    benchmark.read("config.benchmark.path", path, SPACE)
  assert str(caught.value).startswith("config.benchmark.path: ")
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "no zip", "PK\x03\x04"])
def test_a_file_that_is_no_npz(text, tmp_path):
  (tmp_path / "t.npz").write_text(text)
  with pytest.raises(ConfigError, match=r"is not an \.npz file of ops"):
    benchmark.read("key", str(tmp_path / "t.npz"), SPACE)


def test_a_bad_path_dies_before_the_run(tmp_path, path):
  config = nasbench201.get_config("smoke")
  config.benchmark.path = str(tmp_path / "none.npz")
  with pytest.raises(ConfigError, match=r"config\.benchmark\.path: there is"):
    ran(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()
  # Nor does a space that the table does not know have it.
  config = cifar_micro.get_config("smoke")
  config.benchmark = {"path": path}
  with pytest.raises(ConfigError, match="another space"):
    build.plan(config)


def test_a_search_ends_with_the_truth(tmp_path, path, table):
  config = nasbench201.get_config("smoke")
  config.epochs = 1
  config.derive.update(archs=8, random=8, by="score")
  config.benchmark.path = path
  config.objective.update(cost="params", target=3000.0, weight=0.5)
  result = ran(config, tmp_path / "run")
  found = result["benchmark"]
  row = table.rows[tuple(result["encoding"])]
  assert found["test_accuracy"] == table.test[row]
  lines = (tmp_path / "run" / "derive.jsonl").read_text().splitlines()
  lines = [json.loads(line) for line in lines]
  # Derived is the best by accuracy less what its parameters cost.
  policy, random = (
      [line for line in lines if line["source"] == source]
      for source in ("policy", "random")
  )
  value = lambda line: line["accuracy"] - 0.5 * max(
      0, line["params"] / 3000 - 1
  )
  best = max(policy, key=value)
  assert result["encoding"] == best["encoding"]
  assert result["scores"]["policy"]["best"] == best["accuracy"]
  assert result["params"] == best["params"]
  assert result["penalty"] == pytest.approx(best["accuracy"] - value(best))
  # The ranking is of accuracies alone.
  scores = [line["accuracy"] for line in random]
  true = [table.test[table.rows[tuple(line["encoding"])]] for line in random]
  tau = ranking.kendall(scores, true)
  assert found["ranking"]["kendall"] == pytest.approx(tau)
  assert found["ranking"]["candidates"] == 8
  log = (tmp_path / "run" / "log.txt").read_text()
  assert "took nothing off" not in log
  for line in words.truth(found):
    assert line in log
  kept = json.loads((tmp_path / "run" / "arch.json").read_text())
  assert kept["benchmark"] == found


def test_the_published_table_is_one():
  if not TABLE.exists():
    pytest.skip("the benchmark's table is not there")
  table = benchmark.read("key", str(TABLE), SPACE)
  assert table.test.max() == pytest.approx(94.37, abs=0.005)
  assert table.test.mean() == pytest.approx(87.06, abs=0.005)
  skips = benchmark.accuracies(table, [[1] * 6])
  assert skips == pytest.approx(54.30, abs=0.005)
