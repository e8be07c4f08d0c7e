"""Operations are counted as by hand, and a recipe's as its own network's."""

import jax
from jax import lax
import jax.numpy as jnp
import pytest
from test_spaces import SMALL, small_space

from enas_jax import build
from enas_jax.configs import digits_micro, nasbench201
from enas_jax.derive import cost, flops
from enas_jax.ops import conv
from enas_jax.tasks import TASKS

X = jnp.ones((2, 8, 6, 5))  # B, H, W, C


@pytest.mark.parametrize("function, expected", [
    (lambda x: x + 1, 0),
    (lambda x: x @ jnp.ones((5, 7)), 2 * 96 * 5 * 7),
    (lambda x: conv.dense(x, jnp.ones((3, 3, 5, 4))), 2 * 96 * 9 * 5 * 4),
    (lambda x: conv.dense(x, jnp.ones((3, 3, 5, 4)), 2), 2 * 24 * 9 * 5 * 4),
    (lambda x: conv.depthwise(x, jnp.ones((5, 5, 5))), 2 * 96 * 25 * 5),
    (
        lambda x: lax.scan(
            lambda y, w: (y @ w, None), x, jnp.ones((3, 5, 5))
        )[0],
        3 * 2 * 96 * 5 * 5,
    ),
    (jax.jit(lambda x: x @ jnp.ones((5, 7))), 2 * 96 * 5 * 7),
])
def test_operations_are_those_of_products(function, expected):
  assert flops.count(function, X) == expected


def test_only_the_chosen_branch_is_counted():
  small, space = SMALL["micro"], small_space("micro")
  task = TASKS["classification"](space.network(**small.network))
  chosen = {
      name: space.unflatten([0, op, 1, 4, 0, 4, 1, 4] * 2)
      for name, op in (("conv", 0), ("identity", 4))
  }
  arch = jax.tree.map(jnp.asarray, chosen["conv"])
  init = lambda: task.init(jax.random.key(0), small.batch, arch)
  params, state = jax.eval_shape(init)
  count = {
      name: cost.child_step(task, arch, params, state, small.batch)
      for name, arch in chosen.items()
  }
  # A normal cell, and reductions before its pixels are a quarter and less.
  batch, filters, total = len(small.batch.images), 4, 0
  for side, width in ((4, 2), (2, 4), (2, 4)):
    c = filters * width
    total += 2 * batch * side**2 * (9 * c + c * c) * 2
  assert count["conv"] - count["identity"] == 3 * total


def test_a_recipe_counts_the_network_that_it_trains():
  config = digits_micro.get_config("smoke")
  plan = build.plan(config)
  arch = plan.space.unflatten([0, 4, 1, 0] * 4)
  found = cost.report(plan, [arch], [arch] * 2, [], seconds=2.0)
  alone = found["alone"]
  assert alone["recipe"] == "config.retrain.config"
  final = plan.retrain.experiment
  assert alone["steps"] == final.epochs * final.child_steps
  given = cost.shapes(final.task, final.train, arch)
  step = cost.child_step(final.task, arch, *given)
  assert alone["flops"] == pytest.approx(alone["steps"] * step)
  assert step != found["flops_each"]["child_step"]
  assert alone["times"] == pytest.approx(
      alone["candidates"] * alone["flops"] / found["flops"]
  )
  assert alone["seconds_estimated"] == pytest.approx(2.0 * alone["times"])
  assert found["counted"] == found["scored"] == 3


def test_what_is_counted_on_a_few_is_of_the_mean_size_of_all():
  config = nasbench201.get_config("smoke")
  config.strategy.children = "random"
  plan = build.plan(config)
  conv, pool = (plan.space.unflatten([op] * 6) for op in (3, 4))
  few, many = [conv] * cost.SAMPLES, [conv] * cost.SAMPLES + [pool] * 12
  small = cost.report(plan, few, [pool] * cost.SAMPLES, [], 1.0)
  large = cost.report(plan, few, many, [], 1.0)
  sizes = plan.size_here(conv).flops, plan.size_here(pool).flops
  ratio = small["flops_each"]["child_step"] / large["flops_each"]["child_step"]
  of_many = (cost.SAMPLES * sizes[0] + 12 * sizes[1]) / len(many)
  assert ratio < 0.9
  per_size = large["flops_each"]["child_step"] / of_many
  assert per_size == pytest.approx(3 * 32, rel=0.1)  # passes, images
