"""What a benchmark's table says of a search, and what is no such table."""

import json
import pathlib
import re

import numpy as np
import pytest
from test_run import ran

from enas_jax import archfile, build
from enas_jax.configs import cifar_micro, nasbench201
from enas_jax.derive import benchmark, ranking
from enas_jax.errors import ConfigError
from enas_jax.report import words
from enas_jax.spaces import SPACES
from enas_jax.spaces.nasbench201 import NasBench201
from enas_jax.types import Size

SPACE = NasBench201()
DATA = pathlib.Path(__file__).parents[2] / "shared" / "data"
TABLE = DATA / "nasbench201_cifar10.json"


def entries(rows=15_625):
  """A table of the space whose accuracies are made up."""
  ops = np.stack(np.unravel_index(np.arange(rows), (5,) * 6), 1).tolist()
  rng = np.random.default_rng(0)
  test = (rng.permutation(rows) / rows * 50 + 45).tolist()
  return {
      SPACE.notation(values): {"test_acc_200": own, "val_acc_200": own - 5}
      for values, own in zip(ops, test, strict=True)
  }


def write(path, content):
  path.write_text(json.dumps(content))
  return str(path)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
  folder = tmp_path_factory.mktemp("table")
  return write(folder / "nasbench201_cifar10.json", entries())


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
  said = {"searched_on": "cifar10", "same_data": True}
  first, second = words.truth({**found, **said})
  assert "Test accuracy on cifar10" in first
  assert "rank 3 of 15,625" in first
  said["searched_on"], said["same_data"] = "folder D", False
  line = words.truth({**found, **said})[0]
  assert line == (
      "The benchmark's table is of cifar10; this search is on folder D."
  )
  assert "kendall 1.000 [1.000, 1.000]" in second


def test_every_report_has_baselines_that_need_no_search(table):
  params = np.arange(2000.0)
  table = table._replace(ops=table.ops[:2000], test=table.test[:2000])
  sized = table._replace(params=params, flops=np.minimum(params, 1900))
  encodings = table.ops.tolist()
  random = [(values, 0.5) for values in encodings[:8]]
  found = benchmark.report(sized, encodings[0], encodings[:2], random, seed=0)
  own = found["baselines"]
  # The largest is that of most FLOPs, and of these that of most parameters.
  assert own["largest"]["encoding"] == encodings[-1]
  assert own["largest"]["test_accuracy"] == table.test[-1]
  assert own["largest"]["rank"] == (table.test > table.test[-1]).sum() + 1
  assert own["kendall_params"] == ranking.kendall(params, table.test)
  assert own["kendall_flops"] == ranking.kendall(sized.flops, table.test)
  said = {"searched_on": "cifar10", "same_data": True}
  line = words.truth({**found, **said})[2]
  assert f"the largest network has {table.test[-1]:.2f}%, rank" in line
  assert f"{own['kendall_params']:.3f} by parameters and" in line


def test_a_table_without_sizes_is_given_those_of_the_space(table):
  def size(arch):
    return Size(arch.ops.sum(), 2.0 * arch.ops[0])

  few = table._replace(ops=table.ops[:30])
  found = benchmark.sized(few, SPACE, size)
  assert found.params.tolist() == few.ops.sum(1).tolist()
  assert found.flops.tolist() == (2 * few.ops[:, 0]).tolist()
  assert benchmark.sized(found, SPACE, None) is found


def test_a_table_may_know_only_some(tmp_path):
  some = entries(1000)
  table = benchmark.read("key", write(tmp_path / "t.json", some), SPACE)
  encodings, unknown = table.ops.tolist(), [4] * 6
  random = [(values, 0.5) for values in [*encodings[:3], unknown]]
  found = benchmark.report(table, unknown, [unknown], random, seed=0)
  assert found["test_accuracy"] is found["rank"] is found["regret"] is None
  assert (found["known"], found["architectures"]) == (1000, 15_625)
  assert found["mean_of_policy"] is None
  assert found["mean_of_random"] == pytest.approx(table.test[:3].mean())
  assert found["ranking"] is None  # three are too few
  json.dumps(found, allow_nan=False)
  said = {"searched_on": "t", "same_data": True}
  first, second = words.truth({**found, **said})
  assert first.startswith("The benchmark knows 1,000 of the 15,625 arch")
  assert "the derived architecture in the benchmark not in the table." in second
  assert "policy's candidates unknown, of the random ones" in second


def test_forms_that_people_publish(tmp_path):
  space = SPACES["macro"](layers=2, operations="conv_3x3,conv_5x5,avg_pool_3x3")
  content = {
      "011": {"test_acc": [90.0, 92.0], "std": 1.0, "params": 7, "flops": 9},
      "201": {"test_acc": [50, 51], "std": 0.5, "params": 6, "flops": 8},
  }
  path = write(tmp_path / "own_ImageNet16-120.json", content)
  table = benchmark.read("key", path, space)
  assert table.ops.tolist() == [[0, 1, 1], [2, 0, 1]]
  assert table.test.tolist() == [91.0, 50.5] and table.valid is None
  assert (table.params.tolist(), table.flops.tolist()) == ([7, 6], [9, 8])
  assert (table.data, table.architectures) == ("ImageNet16-120", 18)
  assert benchmark.same_data(table.data, "imagenet16_120")
  assert benchmark.read("key", path, space, "CIFAR-10").data == "CIFAR-10"
  # The notation of digits is one of `config.arch` too.
  assert space.flatten(archfile.parse("arch", "201", space)) == [2, 0, 1]
  # Of several epochs the last count.
  one = SPACE.notation([1] * 6)
  content = {one: {"test_acc_12": 1.5, "test_acc_200": 3.5, "val_acc_200": 2}}
  table = benchmark.read("key", write(tmp_path / "a.json", content), SPACE)
  assert (table.test.tolist(), table.valid.tolist()) == ([3.5], [2.0])


def changed(**values):
  """A table of three entries, of which the second has other values."""
  content = entries(3)
  entry = content[SPACE.notation([0, 0, 0, 0, 0, 1])]
  entry.update(values)
  for name in [name for name, value in values.items() if value is None]:
    del entry[name]
  return content


def scaled(factor):
  return {
      name: {"test_acc_200": factor * entry["test_acc_200"]}
      for name, entry in entries(3).items()
  }


@pytest.mark.parametrize("content, message", [
    ([], "it is not an object with a key for each architecture"),
    ({}, "it is not an object with a key for each architecture"),
    ({SPACE.notation([0] * 6): 90.0}, "the value of a key is not an object"),
    (changed(test_acc_200=None), "1 of its 3 entries lack 'test_acc_200'"),
    (changed(test_acc_200="90"), "'test_acc_200' of an entry is no number"),
    (changed(test_acc_200=[]), "'test_acc_200' of an entry is no number"),
    (changed(val_acc_200=float("nan")), "of an entry is not finite"),
    (changed(val_acc_200=101.0), "an accuracy is no percentage"),
    (changed(params=3), "2 of its 3 entries lack 'params'"),
    (scaled(0.01), "its accuracies are fractions, not percent"),
    ({SPACE.notation([0] * 6): {"acc": 9.0}}, "no entry has 'test_acc' or"),
    (
        {"02012100": {"test_acc": 9.0}},
        "its key '02012100' is no architecture of this space (it is not in the",
    ),
    (
        {"|conv~0|": {"test_acc": 9.0}},
        "its key '|conv~0|' is no architecture of this space (no operation",
    ),
    (
        {SPACE.notation([0] * 6) + end: {"test_acc": 9.0} for end in ("", " ")},
        "' is in it twice",
    ),
])
def test_what_is_no_table_is_refused(content, message, tmp_path):
  path = write(tmp_path / "t.json", content)
  with pytest.raises(ConfigError, match=re.escape(message)) as caught:
    benchmark.read("config.benchmark.path", path, SPACE)
  assert str(caught.value).startswith("config.benchmark.path: ")
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"no table", b"PK\x03\x04\xff"])
def test_a_file_that_is_not_json(text, tmp_path):
  (tmp_path / "t.json").write_bytes(text)
  with pytest.raises(ConfigError, match=r"no benchmark: it is not JSON \("):
    benchmark.read("key", str(tmp_path / "t.json"), SPACE)


def test_a_bad_path_dies_before_the_run(tmp_path, path):
  config = nasbench201.get_config("smoke")
  config.benchmark.path = str(tmp_path / "none.json")
  with pytest.raises(ConfigError, match=r"config\.benchmark\.path: there is"):
    ran(config, tmp_path / "run")
  assert not (tmp_path / "run").exists()
  # Nor does a space that the table does not know have it.
  config = cifar_micro.get_config("smoke")
  config.benchmark = {"path": path}
  with pytest.raises(ConfigError, match="is no architecture of this space"):
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
  said = words.truth(found)
  assert said[0] == (
      "The benchmark's table is of cifar10; this search is on synthetic."
  )
  for line in said:
    assert line in log
  worth = result["worth"]
  assert worth["equivalent"] == pytest.approx(15_625 / found["rank"])
  alone = config.benchmark.training
  assert worth["cost"] == pytest.approx(result["cost"]["flops"] / alone)
  assert worth["gain"] == pytest.approx(worth["equivalent"] / worth["cost"])
  # Less than one training is one, whichever arch it is of.
  assert worth["random_alone"] == pytest.approx(table.test.mean())
  assert words.worth(worth) in log
  sizes = [line["params"] for line in lines]
  largest = found["baselines"]["largest"]
  assert largest["encoding"] == [3] * 6  # all of them 3 x 3 convolutions
  assert largest["test_accuracy"] == table.test[table.rows[(3,) * 6]]
  assert max(sizes) > min(sizes)
  kept = json.loads((tmp_path / "run" / "arch.json").read_text())
  assert kept["benchmark"] == found


def test_the_published_table_is_one():
  if not TABLE.exists():
    pytest.skip("the benchmark's table is not there")
  table = benchmark.read("key", str(TABLE), SPACE)
  assert (table.data, len(table.test)) == ("cifar10", table.architectures)
  assert table.test.max() == pytest.approx(94.37, abs=0.005)
  assert table.test.mean() == pytest.approx(87.06, abs=0.005)
  skips = benchmark.accuracies(table, [[1] * 6])
  assert skips == pytest.approx(54.30, abs=0.005)


def lines(tmp_path, *entries, **head):
  """Writes a table of one's own; returns its path."""
  head = {"data": "pydoc", "metric": "likelihood", "training": 5e9, **head}
  path = tmp_path / "recurrent_pydoc.jsonl"
  path.write_text("".join(json.dumps(e) + "\n" for e in (head, *entries)))
  return str(path)


def test_a_table_of_ones_own_says_how_it_came_about(tmp_path):
  space = SPACES["recurrent"](nodes=2)
  recipe = {"data.name": "pydoc", "epochs": 3}
  path = lines(
      tmp_path,
      {"encoding": [0, 1, 1, 2], "test_likelihood_3": [0.5, 0.7]},
      {"encoding": [0, 3, 0, 3], "test_likelihood_3": [0.8]},
      recipe=recipe,
  )
  table = benchmark.read("key", path, space)
  assert table.ops.tolist() == [[0, 1, 1, 2], [0, 3, 0, 3]]
  assert table.test.tolist() == pytest.approx([0.6, 0.8])
  np.testing.assert_array_equal(table.trainings, [[0.5, 0.7], [0.8, np.nan]])
  assert (table.data, table.metric) == ("pydoc", "likelihood")
  assert (table.training, table.recipe) == (5e9, recipe)
  path = lines(tmp_path, {"encoding": [0, 1, 9, 2], "test_likelihood": 0.5})
  with pytest.raises(ConfigError, match="is no architecture of this space"):
    benchmark.read("key", path, space)
  path = lines(tmp_path, {"test_likelihood": 0.5})
  with pytest.raises(ConfigError, match="after the first has no 'encoding'"):
    benchmark.read("key", path, space)
  entry = '{"encoding": [0, 1, 1, 2], "test_likelihood": 0.5}'
  for head in ("[1]", "3", '{"training": "long"}'):
    path = tmp_path / "recurrent_pydoc.jsonl"
    path.write_text(f"{head}\n{entry}\n")
    with pytest.raises(ConfigError, match="its first line is no object"):
      benchmark.read("key", str(path), space)
