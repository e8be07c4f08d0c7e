"""Spaces that are declared as choices beside a flax module."""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
from micro_choices import Micro3
import numpy as np
import pytest
from test_run import Stop

import enas_jax
from enas_jax import (
  build,
  controller,
  run,
  signals,
  spaces,
  testing,
  variants,
)
from enas_jax.archfile import described
from enas_jax.configs import own_images, own_text
from enas_jax.errors import ConfigError
from enas_jax.nn import avg_pool, BatchNorm, Classifier, ConvNorm
from enas_jax.ops import choose
from enas_jax.spaces import base, choices
from enas_jax.spaces.micro import Micro
from enas_jax.tasks import TASKS
from enas_jax.types import Head

# What a declaration becomes.


class Plain(nn.Module):
  """A network of two layers; `layer` is what a test changes."""

  classes: int = 3

  @nn.compact
  def __call__(self, images, arch):
    x = nn.Conv(8, (1, 1))(images)
    return Classifier(self.classes)(self.layer(x, arch))

  def layer(self, x, arch):
    for op in arch.op:
      x = choices.apply(op, {"conv": ConvNorm(8), "pool": avg_pool}, x)
    x = choices.narrow(arch.width, ConvNorm(16), x)
    return choices.narrow(arch.channels, ConvNorm(8), x)


def plain(module=Plain):
  return choices.space(
      module,
      op=choices.one_of("conv", "pool", times=2),
      width=choices.one_of(0.5, 1.0),
      channels=choices.one_of(4, 8),
  )


def test_an_arch_reads_back_and_is_told_in_the_words_of_its_declaration():
  space = plain()()
  arch = space.unflatten([1, 0, 1, 0])
  assert space.flatten(arch) == [1, 0, 1, 0]
  assert described(arch, space) == [
      "op 0 = pool(input)",
      "op 1 = conv(0)",
      "choice width = 1.0",
      "choice channels = 4",
  ]
  with pytest.raises(ValueError) as caught:
    space.unflatten([1, 2, 1, 0])
  assert str(caught.value) == (
      "op[1] is 2, which is not one of 0..1 (conv, pool)"
  )


def test_nodes_read_earlier_ones():
  space = choices.space(
      Plain,
      source=choices.earlier(of="op"),
      op=choices.one_of("a", "b", times=3),
      act=choices.one_of("c", "d", of="op"),
      inputs=choices.subset(of="op", given=1),
  )()
  integers = [0, 0, 2, 0, 1, 0, 1, 1, 0, 0, 0, 1, 1, 0, 1]
  arch = space.unflatten(integers)
  assert space.flatten(arch) == integers
  np.testing.assert_array_equal(
      arch.inputs.value, [[0, 0, 0], [0, 1, 0], [1, 0, 1]]
  )
  assert [len(inputs) for inputs in arch.inputs] == [1, 2, 3]
  assert described(arch, space) == [
      "op 1 = a d(0)",
      "op 2 = b d(0) + 1",
      "op 3 = a c(2) + 0 + 2",
  ]
  np.testing.assert_array_equal(
      choices.unread(arch.source), [False, True, False, True]
  )
  with pytest.raises(ValueError, match=r"source\[1\] is 2, which is not one"):
    space.unflatten([0, 2, *integers[2:]])


def test_kinds_have_words_of_their_own_and_alike_ones_share_them():
  schedule = plain()().schedule
  used = [np.flatnonzero(row).tolist() for row in schedule.mask]
  assert used == [[0, 1], [0, 1], [2, 3], [4, 5]]
  assert set(schedule.head.tolist()) == {Head.OP}
  params = controller.init(
      jax.random.key(0), schedule, hidden=4, init_range=0.1
  )
  assert params["embedding"].shape == (6, 4)


@pytest.mark.parametrize("declared, words", [
    ({}, "needs a choice"),
    ({"op": "conv"}, "op= must be choices.one_of, earlier or subset"),
    ({"inputs": choices.subset(of="op")}, "is of 'op', which is no one_of"),
    (
        {
            "op": choices.one_of("a", times=2),
            "source": choices.earlier(of="op"),
            "inputs": choices.subset(of="op"),
        },
        "must have the same given=",
    ),
])
def test_a_declaration_that_cannot_be_is_refused(declared, words):
  with pytest.raises(ValueError, match=words):
    choices.space(Plain, **declared)


@pytest.mark.parametrize("make, words", [
    (lambda: choices.one_of(), "options that differ"),
    (lambda: choices.one_of("a", "a"), "options that differ"),
    (lambda: choices.one_of("a", 1), "words or numbers"),
    (lambda: choices.one_of("a", times=0), "whole numbers >= 1"),
    (lambda: choices.one_of("a", times=2, of="b"), "and not both"),
    (lambda: choices.earlier(of="op", given=0), "at least 1"),
    (lambda: choices.subset(of="op", target=1.0), "within 0 and 1"),
    (lambda: choices.space(Plain(), op=choices.one_of("a")), "the class of"),
    (lambda: choices.space(nn.Dense, op=choices.one_of("a")), "take the arch"),
])
def test_a_choice_that_cannot_be_is_refused(make, words):
  with pytest.raises(ValueError, match=words):
    make()


# What a network does by them.


class Wrapped(nn.Module):
  """The same layers; `apply` is given nothing but x."""

  @nn.compact
  def __call__(self, x, op):
    x = choices.apply(op, {
        "none": lambda x: x,
        "dense": lambda x: nn.tanh(nn.Dense(4)(x)),
        "conv": ConvNorm(4),
        "dropped": lambda x: nn.Dropout(0.5, deterministic=False)(x),
    }, x)
    return (x**3).sum()


def of(word, traced):
  kind = choices.one_of("conv", "dense", "none", "dropped")
  value = np.int32(kind.options.index(word))
  return choices.Choice(jnp.asarray(value) if traced else value, kind, "op")


@functools.cache
def wrapped():
  """(inputs, variables, a jitted function of values and gradients)."""
  x = jax.random.normal(jax.random.key(1), (2, 3, 3, 4))
  variables = Wrapped().init(jax.random.key(0), x, of("none", True))

  def value(params, x, op):
    return Wrapped().apply(
        {"params": params}, x, op, rngs={"dropout": jax.random.key(2)}
    )

  return x, variables["params"], jax.jit(jax.value_and_grad(value, (0, 1)))


@pytest.mark.parametrize("word", ["conv", "dense", "none", "dropped"])
def test_the_chosen_branch_has_the_value_and_the_gradient_of_its_own(word):
  x, params, grade = wrapped()
  value, (of_params, of_x) = grade(params, x, of(word, True))
  static = jax.value_and_grad(
      lambda params, x: Wrapped().apply(
          {"params": params},
          x,
          of(word, False),
          rngs={"dropout": jax.random.key(2)},
      ),
      (0, 1),
  )
  expected, (own_params, own_x) = static(params, x)
  np.testing.assert_allclose(value, expected, rtol=1e-5)
  np.testing.assert_allclose(of_x, own_x, rtol=1e-4, atol=1e-5)
  for grads in (of_params, own_params):
    moved = {name for name, tree in grads.items() if any(
        np.any(leaf) for leaf in jax.tree.leaves(tree)
    )}
    own = {"conv": {"ConvNorm_0"}, "dense": {"Branch_0"}}
    assert moved == own.get(word, set())
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
      of_params,
      own_params,
  )
  if word == "dense":  # what is written by hand
    hand = lambda w, x: (jnp.tanh(x @ w["kernel"] + w["bias"]) ** 3).sum()
    dense = params["Branch_0"]["Dense_0"]
    by_hand, grads = jax.value_and_grad(hand)(dense, x)
    np.testing.assert_allclose(value, by_hand, rtol=1e-5)
    np.testing.assert_allclose(
        of_params["Branch_0"]["Dense_0"]["kernel"], grads["kernel"], rtol=1e-4
    )


def made(space, integers, final, size=8):
  """(task, shapes of the weights, of the state, arch) of a network."""
  task = TASKS["classification"](space.network(classes=3, final=final))
  arch = space.unflatten(integers)
  batch = testing.images(size=size)
  own = arch if final else jax.tree.map(jnp.asarray, arch)
  params, state = jax.eval_shape(
      lambda key: task.init(key, batch, own), jax.random.key(0)
  )
  return task, params, state, arch


@pytest.mark.parametrize("integers", [[0, 1, 0, 0], [1, 1, 0, 1], [0, 0, 1, 1]])
def test_a_width_is_a_mask_in_the_search_and_a_number_in_the_end(integers):
  shared, shapes, _, arch = made(plain()(), integers, False)
  final, own, state, _ = made(plain()(), integers, True)
  assert own["ConvNorm_2"]["conv"]["kernel"].shape[-1] == [8, 16][integers[2]]
  assert own["ConvNorm_3"]["conv"]["kernel"].shape[-1] == [4, 8][integers[3]]
  chosen = {f"ConvNorm_{n}" for n in range(2) if integers[n] == 0}
  assert {n for n in own if n in ("ConvNorm_0", "ConvNorm_1")} == chosen
  assert set(own) <= set(shapes)
  weights = testing.filled(shapes)
  batch, key = testing.images(), jax.random.key(0)
  moved = jax.tree.map(jnp.asarray, arch)
  loss, _ = shared.loss(weights, {}, moved, batch, key, 0.0)
  fixed, (after, _) = final.loss(
      testing.carried(weights, own),
      testing.filled(state),
      arch,
      batch,
      key,
      0.0,
  )
  np.testing.assert_allclose(loss, fixed, rtol=1e-5)
  # Its averages move; the shared network has none.
  before = testing.filled(state)
  assert jax.tree.leaves(before)
  for one, other in zip(
      jax.tree.leaves(before), jax.tree.leaves(after), strict=True
  ):
    assert np.any(one != other)


def test_a_final_network_evaluates_by_its_averages():
  task, shapes, state, arch = made(plain()(), [0, 1, 0, 0], True)
  params, state = testing.filled(shapes), testing.filled(state)
  batch = testing.images()
  reward = lambda batch: task.measure(params, state, arch, batch)[1]["loss"]
  whole = reward(batch).total
  halves = [
      reward(batch._replace(
          images=batch.images[part],
          labels=batch.labels[part],
          weight=batch.weight[part],
      ))
      for part in (slice(0, 2), slice(2, 4))
  ]
  np.testing.assert_allclose(whole, sum(h.total for h in halves), rtol=1e-5)


def test_a_final_network_takes_no_traced_arch():
  task, shapes, state, arch = made(plain()(), [0, 1, 0, 0], True)
  with pytest.raises(choices.Misuse, match="takes an arch of numpy arrays"):
    task.reward(
        testing.filled(shapes),
        testing.filled(state),
        jax.tree.map(jnp.asarray, arch),
        testing.images(),
        jax.random.key(0),
    )


# The micro space again.


def test_micro_of_three_nodes_is_the_houses():
  house, ours = Micro(nodes=3), Micro3()
  integers = list(Micro.presets["digits_micro"].encoding)
  tables = np.array(integers).reshape(2, 3, 4)
  inputs, ops = tables[:, :, 0::2], tables[:, :, 1::2]
  flat = [*inputs[0].ravel(), *ops[0].ravel()]
  flat += [*inputs[1].ravel(), *ops[1].ravel()]
  arch = ours.unflatten([int(value) for value in flat])
  other = house.unflatten(integers)
  for name, edges in house.graphs(other).items():
    assert edges == ours.graphs(arch)[name]
  traced = lambda arch: jax.tree.map(jnp.asarray, arch)
  batch = testing.images(2)
  networks = [
      house.network(classes=3, cells=1, filters=4, aux=False),
      ours.network(classes=3, cells=1, filters=4),
  ]
  shapes = jax.eval_shape(
      lambda key: networks[0].init(key, batch.images, other, train=True),
      jax.random.key(0),
  )["params"]
  params = testing.filled(shapes)
  # The suite asks elsewhere whether a traced arch does the same.
  run = lambda network, params, arch: jax.jit(
      lambda params: network.apply(
          {"params": params}, batch.images, arch, train=False
      )[0]
  )(params)
  expected = run(networks[0], params, other)
  own = as_choices(params)
  # No weight is left over.
  wanted = jax.eval_shape(
      lambda key: networks[1].init(key, batch.images, traced(arch), train=True),
      jax.random.key(0),
  )["params"]
  assert jax.tree.map(jnp.shape, own) == jax.tree.map(jnp.shape, dict(wanted))
  np.testing.assert_allclose(
      run(networks[1], own, arch), expected, atol=1e-5, rtol=1e-5
  )


def as_choices(params):
  """The weights of the house's micro network, by the names of `Micro3`."""
  out = {k: v for k, v in params.items() if not k.startswith("cell_")}
  for name, cell in params.items():
    if not name.startswith("cell_"):
      continue
    new = {k: v for k, v in cell.items() if k == "_Calibrate_0"}
    new["BatchNorm_0"] = {"norm": cell["BatchNorm_0"]}
    for k, matrix in enumerate(cell["mix"]):
      new[f"Dense_{k}"] = {"kernel": matrix}
    row = 0
    for node in range(3):
      for source in range(node + 2):
        for side in range(2):
          of = lambda what, size: cell[f"{what}_{size}"][row, side]  # noqa: B023
          layers = {}
          for n, size in enumerate((3, 5)):
            layers[f"SeparableConv_{n}"] = {"conv": {}}
            inner = layers[f"SeparableConv_{n}"]["conv"]
            for stack in range(2):
              inner[f"depthwise_{stack}"] = of("depthwise", size)[stack]
              inner[f"pointwise_{stack}"] = of("pointwise", size)[stack]
              inner[f"BatchNorm_{stack}"] = {
                  what: of(what, size)[stack] for what in ("scale", "offset")
              }
          new[f"node{node}_{side}_{source}"] = layers
        row += 1
    out[name] = new
  return out


# The examples.


@pytest.mark.parametrize("ask", testing.space_questions(
    own_images.Layers(),
    network={"classes": 3, "filters": 4},
    batch=testing.images(),
    cheap=[0, 3, 4, 2, 4, 4] + [1] * 10 + [0] * 11 + [0],
    plain=[3, 4, 4, 4, 4, 4] + [1] * 10 + [0] * 11 + [0],
), ids=str)
def test_the_images_example(ask):
  ask()


@pytest.mark.parametrize("ask", testing.space_questions(
    own_text.Layers(),
    network={
        "vocabulary": 7,
        "hidden": 8,
        **dict.fromkeys(
            ("word_keep", "embedded_keep", "input_keep", "output_keep"), 1.0
        ),
    },
    batch=testing.words(),
    task="language_model",
    cheap=[0, 1, 2, 2, 0, 1, 2, 0] + [0, 1] * 5,
), ids=str)
def test_the_text_example(ask):
  ask()


# What goes wrong is told at the start, with what to write instead.


def planned(space, monkeypatch, **network):
  monkeypatch.setitem(spaces.SPACES, "mine", space)
  config = own_images.get_config("smoke").unlock()
  config.space.name = "mine"
  config.network = config.retrain.config.network = network
  return build.plan(config)


def natural(x, arch):
  return nn.BatchNorm(use_running_average=False)(x)


def natural_branch(x, arch):
  norm = nn.BatchNorm(use_running_average=True)
  return choices.apply(arch.op[0], {"conv": norm, "pool": avg_pool}, x)


def closure(x, arch):
  conv = nn.Conv(8, (3, 3))
  return choices.apply(
      arch.op[0], {"conv": lambda x: conv(x), "pool": avg_pool}, x
  )


def chosen_in_closures(x, arch):
  conv = nn.Conv(8, (3, 3))
  branches = (lambda x, w: conv(x), lambda x, w: x)
  return choose.choose(arch.op[0].value, branches, x, ())


def switched(x, arch):
  conv = nn.Conv(8, (3, 3))
  return jax.lax.switch(arch.op[0].value, [lambda x: conv(x), avg_pool], x)


def flax_switch(x, arch):
  made = nn.Conv(8, (3, 3)), nn.Conv(8, (1, 1))
  branches = [lambda mdl, x, conv=conv: conv(x) for conv in made]
  return nn.switch(arch.op[0].value, branches, made[0], x)


def traced_width(x, arch):
  return nn.Conv(int(8 * choices.number(arch.width)), (3, 3))(x)


def traced_channels(x, arch):
  return nn.Conv(choices.number(arch.channels), (3, 3))(x)


def compared(x, arch):
  return avg_pool(x) if arch.op[0] == "pool" else x


def a_condition(x, arch):
  return avg_pool(x) if arch.op[0].value == 1 else x


def indexed(x, arch):
  return [avg_pool, nn.relu][arch.op[0]](x)


def misnamed(x, arch):
  return choices.apply(arch.op[0], {"conv": nn.relu, "pol": avg_pool}, x)


def whole_field(x, arch):
  return choices.apply(arch.op, {"conv": nn.relu, "pool": avg_pool}, x)


def reshaped(x, arch):
  return choices.apply(arch.op[0], {"conv": ConvNorm(4), "pool": avg_pool}, x)


def word_as_number(x, arch):
  return x * choices.number(arch.op[0])


_TRACED = "Write choices.apply for layers, choices.number for a number"
_OUTSIDE = "made outside of it. Give choices.apply the module itself"


@pytest.mark.parametrize("layer, words", [
    (natural, "the network keeps batch_stats, .* Use enas_jax.nn.BatchNorm"),
    (natural_branch, "'conv' of op.0. keeps batch_stats, .*nn.BatchNorm"),
    (closure, _OUTSIDE),
    (chosen_in_closures, _OUTSIDE),
    (switched, _OUTSIDE),
    (flax_switch, "Write choices.apply|Give choices.apply"),
    (traced_width, _TRACED),
    (traced_channels, _TRACED),
    (compared, "cannot be compared with 'pool'.*write choices.apply"),
    (a_condition, _TRACED),
    (indexed, _TRACED),
    (misnamed, "op.0. is one of conv, pool; the branches are conv, pol."),
    (whole_field, "op holds 2: give it an item, as op.0.."),
    (reshaped, "one shape and type: conv float32.* pool float32"),
    (word_as_number, "one of the words conv, pool; use choices.apply"),
])
def test_what_a_search_cannot_do_is_one_line(layer, words, monkeypatch):
  class Net(Plain):
    pass

  Net.layer = lambda self, x, arch: layer(x, arch)
  with pytest.raises(ConfigError, match=words) as caught:
    planned(plain(Net), monkeypatch)
  said = str(caught.value)
  assert "\n" not in said
  assert said.startswith("config.space.name: ")
  if layer is not natural:
    assert f"{__file__}:" in said  # and the line of the user's file


def test_what_is_right_is_planned_and_its_final_network_is_final(monkeypatch):
  plan = planned(plain(), monkeypatch)
  assert plan.facts.network["final"] is False and not plan.notes
  assert plan.retrain.facts.network["final"] is True


def test_a_choice_that_the_network_never_reads_is_told(monkeypatch):
  class Net(Plain):
    def layer(self, x, arch):
      for op in arch.op[:1], arch.op[1:]:
        x = choices.apply(op[0], {"conv": ConvNorm(8), "pool": avg_pool}, x)
      return choices.narrow(arch.channels, ConvNorm(8), x)

  [line] = planned(plain(Net), monkeypatch).notes
  assert line.startswith("The network of mine never reads arch.width: ")


@pytest.mark.parametrize("variant", ["", "smoke"])
def test_a_network_in_place_of_its_space_is_told_what_to_name(variant):
  config = own_images.get_config(variant).unlock()
  config.space.name = config.space.name.replace("Layers", "Net")
  with pytest.raises(ConfigError) as caught:
    build.plan(config) if not variant else variants.parse(variant).shrink(
        config
    )
  assert str(caught.value) == (
      f"config.space.name: {config.space.name!r} is a network, and no space."
      f" Name the space that is made of it: {own_images.__file__}:Layers."
  )
  with pytest.raises(ConfigError, match=r"Layers = choices.space\(Net, op="):
    base.refuse_network("key", "file.py:Net", Plain)


def test_a_stopped_search_goes_on_and_its_model_loads(tmp_path, monkeypatch):
  def searched():
    plan = planned(plain(), monkeypatch)._replace(retrained=0)
    return run.run(plan, str(tmp_path / "run"))

  with monkeypatch.context() as patched:
    Stop(patched, 20)
    with pytest.raises(signals.Interrupted):
      searched()
  result = searched()
  log = (tmp_path / "run" / "log.txt").read_text()
  assert "Going on from the checkpoint of step 20" in log
  assert (
      "Programs compiled for all architectures: 1 of the child step, 1 of the"
      " controller step." in log
  )
  assert "input" in (tmp_path / "run" / "arch.svg").read_text()
  model = enas_jax.load(tmp_path / "run" / "retrain/derived", space=plain())
  assert model.space.flatten(model.arch) == result["encoding"]
  pixels = np.zeros((2, 8, 8, 3), np.uint8)
  assert model.predict(pixels).shape == (2, 4)


def test_a_missing_member_is_found_at_the_start(monkeypatch):
  class Mine:
    """A space without a base."""

    module = Plain

  with pytest.raises(ConfigError) as caught:
    planned(Mine, monkeypatch)
  said = str(caught.value)
  assert said.startswith("config.space.name: 'mine' must make a space")
  assert "graphs" in said
  assert "(enas_jax.spaces.base.Space)" in said


def test_an_arch_of_other_types_and_a_drawing_that_fails_are_found_at_the_start(
    monkeypatch,
):
  class Wide(plain()):
    def decode(self, choices):
      return jax.tree.map(
          lambda leaf: leaf.astype(jnp.int8), super().decode(choices)
      )

  class Undrawn(plain()):
    def graphs(self, arch):
      return arch.nothing

  with pytest.raises(ConfigError, match=r"made int8: write .astype"):
    planned(Wide, monkeypatch)
  with pytest.raises(ConfigError, match=r"\.py:\d+: AttributeError: 'Arch'"):
    planned(Undrawn, monkeypatch)


class Averaging(nn.Module):
  """Its norm knows by itself whether the network is final."""

  classes: int = 3

  @nn.compact
  def __call__(self, images, arch, train):
    x = choices.apply(arch.op, {"a": nn.relu, "b": nn.silu}, images)
    x = BatchNorm()(x)
    auxiliary = Classifier(self.classes)(x) if train else None
    return Classifier(self.classes)(x), auxiliary


def test_a_module_may_ask_for_train_and_have_an_auxiliary_head():
  space = choices.space(Averaging, op=choices.one_of("a", "b"))()
  task, params, state, arch = made(space, [1], True)
  assert state["averages"]
  loss, _ = task.loss(
      testing.filled(params),
      testing.filled(state),
      arch,
      testing.images(),
      jax.random.key(0),
      0.0,
  )
  assert np.isfinite(loss)


def test_a_final_network_that_differs_is_told():
  class Differs(Plain):
    def layer(self, x, arch):
      y = super().layer(x, arch)
      return y * 2 if self.final else y

  ask = next(
      ask
      for ask in testing.space_questions(
          plain(Differs)(), network={"classes": 3}, batch=testing.images()
      )
      if ask.name.startswith("a_final_network")
  )
  with pytest.raises(AssertionError, match="has another loss than the shared"):
    ask()


def test_what_a_part_raises_is_told_by_the_suite():
  class Fails(Plain):
    def layer(self, x, arch):
      raise KeyError("nowhere")

  with pytest.raises(AssertionError, match="it raised KeyError: 'nowhere'"):
    testing.check_space(
        plain(Fails)(), network={"classes": 3}, batch=testing.images()
    )
