"""Pictures larger than a thumbnail: the stem of the image networks."""

import functools
import json

from flax import linen as nn
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest
from test_spaces import count

import enas_jax
from enas_jax import build
from enas_jax.configs import (
  cifar_macro,
  cifar_micro,
  digits_macro,
  digits_micro,
  nasbench201,
  own_images,
)
from enas_jax.errors import ConfigError
from enas_jax.ops import stem
from enas_jax.spaces import SPACES
from experiments import pictures


def shapes(name, side, *, final, **more):
  """The parameters' shapes of a small network on square pictures."""
  if name == "micro":
    space, more["cells"] = SPACES[name](nodes=1), 1
  else:
    space = SPACES[name](layers=3)
  arch = space.unflatten(space.flatten(first(space)))
  network = space.network(classes=10, final=final, **more)
  images = jnp.zeros((1, side, side, 3))

  def init(key):
    keys = {"params": key, "dropout": key}
    return network.init(keys, images, arch, train=True)

  return jax.eval_shape(init, jax.random.key(0))["params"]


def first(space):
  """The arch of first choices, in numpy arrays."""
  choices = np.zeros(space.schedule.mask.shape, bool)
  choices[:, 0] = True
  return jax.tree.map(np.asarray, space.decode(choices))


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize(
    "name, last, channels, network",
    [
        ("micro", "Conv_0", 15, {"filters": 5, "aux": False}),
        ("macro", "stem", 15, {"filters": 15}),
    ],
)
def test_a_stem_changes_no_other_weight(name, last, channels, network, final):
  found = [shapes(name, 64, final=final, stem=n, **network) for n in range(3)]
  kernels = [
      [params.pop(part)["kernel"].shape for part in parts]
      for params, parts in zip(
          found, ([last], [last], ["halving_1", last]), strict=True
      )
  ]
  half = 8  # of 15, rounded up
  assert kernels == [
      [(3, 3, 3, channels)],
      [(3, 3, 3, channels)],
      [(3, 3, 3, half), (3, 3, half, channels)],
  ]
  assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    "side, halvings, kernel",
    [(32, 0, 2), (64, 0, 4), (64, 1, 2), (224, 0, 18), (224, 2, 4)],
)
def test_the_auxiliary_head_reads_what_the_stem_leaves(side, halvings, kernel):
  params = shapes("micro", side, final=True, filters=4, stem=halvings)["aux"]
  assert params["Conv_1"]["kernel"].shape == (kernel, kernel, 128, 768)


def test_the_published_network_reads_pictures_of_224_pixels():
  space = SPACES["micro"]()
  arch = space.unflatten(space.presets["enas_micro"].encoding)
  network = functools.partial(
      space.network, classes=10, final=True, cells=15, filters=36
  )
  small = space.size(arch, network(), (32, 32, 3))
  large = space.size(arch, network(stem=2), (224, 224, 3))
  own = 9 * 3 * 54 + 2 * 54 + 9 * 54 * 108 + 2 * 108
  assert large.params == small.params - (9 * 3 * 108 + 2 * 108) + own
  # Its cells read 56 x 56 pixels and not 32 x 32; the classifier is next to
  # nothing.
  cells = small.flops - 2 * 32**2 * 9 * 3 * 108
  stems = 2 * (112**2 * 9 * 3 * 54 + 56**2 * 9 * 54 * 108)
  assert large.flops - stems == pytest.approx(cells * (56 / 32) ** 2, rel=1e-4)


@pytest.mark.parametrize("halvings", range(3))
def test_a_stem_is_what_it_says(halvings):
  random = np.random.RandomState(halvings)
  images = random.normal(size=(2, 9, 12, 3)).astype(np.float32)

  class Net(nn.Module):

    @nn.compact
    def __call__(self, x):
      return stem.apply(x, 5, halvings, False, name="last", train=True)

  found, variables = Net().init_with_output(jax.random.key(0), images)
  expected = images
  names = [f"halving_{n}" for n in range(1, halvings)] + ["last"]
  for n, name in enumerate(names):
    kernel = variables["params"][name]["kernel"]
    expected = jax.nn.relu(expected) if n else expected
    expected = lax.conv_general_dilated(
        expected,
        kernel,
        (2, 2) if halvings else (1, 1),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    mean, var = expected.mean((0, 1, 2)), expected.var((0, 1, 2))
    expected = (expected - mean) / jnp.sqrt(var + 1e-5)
  assert found.shape == (2, *stem.sides(images.shape[1:], halvings), 5)
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
  pair = stem.counted(5, halvings, images.shape[1:])
  assert pair[0] == count(variables["params"])


SMALL = [digits_micro, digits_macro, cifar_micro, cifar_macro]


@pytest.mark.parametrize("page", SMALL)
def test_a_stem_too_deep_for_the_pictures_is_one_line(page):
  config = page.get_config("smoke")  # of 8 x 8 pixels
  config.network.stem = 1
  build.plan(config)
  for halvings, line in (
      (
          2,
          "2 halvings need pictures of at least 16 pixels a side, these have"
          " 8 x 8. Take a smaller stem (0, 1 or 2), or a larger"
          " config.data.size.",
      ),
      (3, "must be a whole number >= 0 and <= 2, got 3."),
  ):
    config.network.stem = halvings
    with pytest.raises(ConfigError) as caught:
      build.plan(config)
    assert str(caught.value) == f"config.network.stem: {line}"


@pytest.mark.parametrize("page", SMALL)
def test_what_is_found_is_trained_with_the_stem_of_its_search(page):
  config = page.get_config("smoke")
  config.data.size, config.network.stem = 16, 2
  config.objective.update(cost="flops", target=1.0, weight=1.0)
  plan = build.plan(config)
  assert plan.facts.network["stem"] == 2
  arch = first(plan.space)
  if plan.retrain:
    assert plan.retrain.facts.network["stem"] == 2
  else:
    assert "--config.network.stem=2" in plan.command
  deep = plan.size(arch)
  config.network.stem = 0
  assert deep.flops < build.plan(config).size(arch).flops / 4


def test_a_recipe_does_not_say_the_stem():
  config = digits_micro.get_config("smoke").unlock()
  config.retrain.config.network.stem = 1
  with pytest.raises(ConfigError) as caught:
    build.plan(config)
  assert str(caught.value).startswith(
      "config.retrain.config.network.stem: does nothing here"
  )


@pytest.mark.parametrize("name", ["nasbench201", "own"])
def test_other_spaces_have_no_stem(name):
  page = own_images if name == "own" else nasbench201
  config = page.get_config("smoke").unlock()
  assert "stem" not in config.network
  config.network.stem = 1
  with pytest.raises(ConfigError, match=r"^config\.network\.stem: no such key"):
    build.plan(config)


def test_the_table_of_larger_pictures_is_json():
  found = pictures.paper("macro", 64)
  assert json.loads(json.dumps(found))["1"]["params"] == found[0]["params"]
  assert found[1]["gflop"] == pytest.approx(found[0]["gflop"] / 4, rel=1e-3)


def test_large_pictures_are_searched_retrained_and_predicted(tmp_path):
  config = digits_macro.get_config("smoke")
  config.data.size = 32
  config.network.stem = 2
  config.augment.update(scale=0.3, pad=0)
  config.space.update(layers=2, operations="conv_3x3,avg_pool_3x3")
  config.child.batch = 16
  config.retrain.random = 0
  config.retrain.config.augment.scale = 0.3
  found = enas_jax.search(config, tmp_path / "W")
  model = enas_jax.load(found.retrained.folder)
  assert model.content["network"]["stem"] == 2
  assert model.content["images"]["shape"] == [32, 32, 3]
  seen = np.zeros((3, 224, 100, 3), np.uint8)
  assert model.predict(list(seen)).shape == (3, 4)
