"""Rankings and searches on the shared weights of a finished search."""

import functools
import json

import jax
import pytest
from test_benchmark import entries, write
from test_main import answers
from test_run import ran

from enas_jax import steps
from enas_jax.configs import nasbench201_small
from enas_jax.errors import ConfigError
from enas_jax.strategies import STRATEGIES
from experiments import trained_weights as experiment


@pytest.fixture(scope="module")
def path(tmp_path_factory):
  folder = tmp_path_factory.mktemp("trained")
  config = nasbench201_small.get_config("smoke")
  config.update(epochs=1, strategy={"name": "random"})
  config.derive.finalists = 0  # what is asked here is of the shared weights
  config.data.eval_batch = 32  # of 64
  config.benchmark.path = write(folder / "t.json", entries())
  ran(config, folder / "run")
  return folder / "run"


def test_scores_are_those_of_the_search_and_rows_have_their_names(
    path, monkeypatch
):
  weights = experiment.Weights(path)
  lines = (path / "derive.jsonl").read_text().splitlines()
  for line in map(json.loads, lines[:2]):
    arch = weights.plan.space.unflatten(line["encoding"])
    assert weights.score(arch) == pytest.approx(line["likelihood"])
  monkeypatch.setattr(experiment, "_IMAGES", (16, 32, 64, 128))
  monkeypatch.setattr(experiment, "_SMALL", 15)
  found = experiment.rankings(weights, 4)
  assert list(found) == [
      f"{score}, {images} images, batches of {size}"
      for size, both in ((15, (30, 60)), (32, (32, 64)))
      for images in both
      for score in ("accuracy", "likelihood")
  ]
  assert all(-1 <= tau <= 1 for tau in found.values())


def test_rows_change_what_they_say(path, monkeypatch):
  weights = experiment.Weights(path)
  reinforce, step, seen = STRATEGIES["reinforce"], steps.strategy_step, []

  def spying(space, **arguments):
    see = functools.partial(jax.debug.callback, seen.append, ordered=True)
    strategy = reinforce(space, **arguments)

    def tell(state, archs, rewards):
      see(arguments["temperature"])
      see((8 * rewards % 1 == 0).all())  # of accuracies of 8 images
      return strategy.tell(state, archs, rewards)

    return strategy._replace(tell=tell)

  def spied(*args, valid, same_batch, **kwargs):
    seen.append((len(valid.shapes().labels), same_batch))
    return step(*args, valid=valid, same_batch=same_batch, **kwargs)

  monkeypatch.setitem(STRATEGIES, "reinforce", spying)
  monkeypatch.setattr(steps, "strategy_step", spied)
  change = {"images": 8, "score": "accuracy", "same": True}
  change["reinforce"] = {"temperature": (4.0, 1.0)}
  experiment.searched(weights, change, length=3)
  jax.effects_barrier()
  assert seen == [(8, True), 4.0, True, 2.5, True, 1.0, True]
  seen.clear()
  experiment.searched(weights, {}, length=1)
  jax.effects_barrier()
  assert seen == [(32, False), 1.0, False]


def test_what_has_no_finished_search_is_refused(tmp_path):
  with pytest.raises(ConfigError, match=r"--workdirs: .* is no finished"):
    experiment.Weights(tmp_path)


def test_a_mistake_is_one_line(tmp_path):
  finished, config = "--workdirs=W", "--config=configs/digits_micro.py"
  cases = [
      ([], "--workdirs: give the folders"),
      ([finished, "--workdir=W"], "--workdir: no such flag."),
      ([finished, config], "--config: no such flag."),
      ([finished], "--workdirs: W is no finished search."),
  ]
  found = answers(cases, str(tmp_path), "experiments.trained_weights")
  for (_, expected), (code, text, files) in zip(cases, found, strict=True):
    assert (code, files) == (2, [])
    assert text.startswith(f"error: {expected}")
