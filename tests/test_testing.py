"""The conformance suite: our parts pass it, and broken ones are told so."""

import dataclasses
import functools
import subprocess
import sys

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from enas_jax import data, optim, testing
from enas_jax.spaces.nasbench201 import NasBench201, NasBench201Arch
from enas_jax.spaces.recurrent import Recurrent
from enas_jax.strategies import STRATEGIES
from enas_jax.tasks import TASKS
from enas_jax.testing.supernet import whole
from enas_jax.types import Mean

# Optimisers with what they need, and with all that they can do.
OPTIMISERS = {
    "nesterov": {
        "lr": 0.05,
        "lr_min": 1e-3,
        "lr_first": 1,
        "lr_factor": 2,
        "momentum": 0.9,
        "l2": 1e-4,
    },
    "sgd": {"lr": 0.1, "clip": 1.0, "l2": 1e-3, "patience": 2},
}


def test_every_optimiser_is_under_test():
  assert OPTIMISERS.keys() == optim.OPTIMISERS.keys()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser(name):
  make = functools.partial(optim.OPTIMISERS[name], **OPTIMISERS[name])
  testing.check_optimiser(make)


class Pixels(nn.Module):
  """A network of images with no choice at all."""

  @nn.compact
  def __call__(self, images, arch, *, train, dropout=None, progress=0.0):
    del arch, train, dropout, progress
    return nn.Dense(3)(images.reshape(len(images), -1)), None


def classification(**more):
  return TASKS["classification"](Pixels(), **more)


def language_model():
  sizes = {"vocabulary": 7, "hidden": 3}
  return whole(TASKS["language_model"], Recurrent(nodes=1), sizes)


ARCH = Recurrent(nodes=1).unflatten([0, 1])


def test_every_task_is_under_test():
  assert {"classification", "language_model"} == TASKS.keys()


@pytest.mark.parametrize("task, batch", [
    (classification(), testing.images(4, 2)),
    (classification(score="likelihood"), testing.images(4, 2)),
    (language_model(), testing.words(2, 3)),
])
def test_every_task(task, batch):
  testing.check_task(task, batch, ARCH)


IMAGES = {"batch": 50, "pad": 1}
DATASETS = {
    "digits": ({**IMAGES, "valid": 400}, {**IMAGES, "eval_batch": 50}),
    "synthetic": ({**IMAGES, "valid": 400}, {**IMAGES, "eval_batch": 50}),
    "pydoc": (
        {"batch": 8, "length": 9, "vary": True},
        {"batch": 8, "length": 9, "vary": True, "eval_batch": 2},
    ),
}


@functools.cache
def source(name):
  return data.load(name)


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_that_needs_no_files(name):
  wanted, final = DATASETS[name]
  testing.check_dataset(source(name), search=wanted, final=final)


# What is broken is told, by the name of the question and in words.


@dataclasses.dataclass(frozen=True)
class Small:
  """What a stranger's space has in its way when it is broken."""

  inner: NasBench201 = dataclasses.field(default_factory=NasBench201)

  def __getattr__(self, name):
    return getattr(self.inner, name)


class Reversed(Small):
  def encode(self, arch):
    return self.inner.encode(jax.tree.map(lambda leaf: leaf[::-1], arch))


class Wide(Small):
  def decode(self, choices):
    return jax.tree.map(lambda leaf: leaf * 1.0, self.inner.decode(choices))


class Careless(Small):
  def unflatten(self, values):
    return self.inner.unflatten(values[:6])


class Blind(Small):
  """Its network reads no choice."""

  def network(self, **hparams):
    return Pixels()


class Looking(Small):
  """The network grows with the architecture."""

  def network(self, **hparams):
    del hparams

    class Grown(nn.Module):
      @nn.compact
      def __call__(self, images, arch, *, train, dropout=None, progress=0.0):
        del train, dropout, progress
        width = 3
        if isinstance(arch.ops, np.ndarray):
          width += int(arch.ops[0])
        return nn.Dense(width)(images.reshape(len(images), -1))[:, :3], None

    return Grown()


BROKEN_SPACES = [
    (Reversed, "every_encoding_reads_back", "inverse of decode"),
    (Wide, "every_encoding_reads_back", "int32 arrays, decode gave float32"),
    (Careless, "integers_that_are_too_many", "must raise ValueError"),
    (Looking, "weights_do_not_depend", "must keep structure, shapes and types"),
]


def asked(questions, name):
  """The one question whose name begins so."""
  found = [ask for ask in questions if ask.name.startswith(name)]
  assert len(found) == 1
  return found[0]


def questions_of(space):
  return testing.space_questions(
      space,
      network={"classes": 3, "cells": 1, "filters": 2},
      batch=testing.images(4, 4),
      shows=[3, 2, 3, 2, 3, 2],
  )


@pytest.mark.parametrize("space, name, words", BROKEN_SPACES)
def test_a_broken_space_is_told(space, name, words):
  with pytest.raises(AssertionError, match=words):
    asked(questions_of(space()), name)()


def test_a_schedule_that_reads_what_nothing_wrote_is_told():
  questions = functools.partial(
      testing.space_questions,
      Recurrent(nodes=3),
      network={},
      batch=None,
      task="language_model",
  )
  name = "a_schedule_reads"
  asked(questions(zeros=[0]), name)()
  with pytest.raises(AssertionError, match="that no step before it writes"):
    asked(questions(), name)()


def test_a_choice_that_is_never_made_is_told():
  with pytest.raises(AssertionError, match="change with every choice"):
    asked(questions_of(Blind()), "every_choice_shows")()


class Lost(nn.Module):
  """Its first weights matter and have no gradient."""

  @nn.compact
  def __call__(self, images, arch, *, train, dropout=None, progress=0.0):
    del arch, train, dropout, progress
    images = images.reshape(len(images), -1)
    lost = jax.lax.stop_gradient(nn.Dense(4)(images))
    return nn.Dense(3)(lost), None


class Losing(Small):
  def network(self, **hparams):
    return Lost()


def test_a_gradient_that_is_lost_is_told():
  with pytest.raises(AssertionError, match="without a gradient matter"):
    asked(questions_of(Losing()), "weights_without_a_gradient")()


SPACE = NasBench201()
RANDOM = STRATEGIES["random"](SPACE)


def growing():
  """Its state is longer after every round."""
  return RANDOM._replace(
      init=lambda key: jnp.zeros(1),
      tell=lambda state, archs, rewards: (
          jnp.append(state, rewards), {"reward": rewards.mean()}
      ),
  )


def strategy_questions(strategy):
  return testing.strategy_questions(lambda space: strategy, SPACE)


GROWING = strategy_questions(growing())  # one run of it serves all


@pytest.mark.parametrize("name, words", [
    ("thirty_asks_and_tells", "3 traces"),
    ("tell_keeps_the_state", "must keep structure, shapes and types"),
    ("any_number_of_archs", "after 1 rewards must keep"),
])
def test_a_state_that_grows_is_told(name, words):
  with pytest.raises(AssertionError, match=words):
    asked(GROWING, name)()


@pytest.mark.parametrize("changed, name, words", [
    (
        {"tell": lambda state, archs, rewards: (state, {"reward": rewards})},
        "metrics_are_finite_scalars",
        "'reward' must be a finite scalar",
    ),
    (
        {"ask": lambda state, key: SPACE.unflatten([1] * 6)},
        "the_key_alone_decides",
        "Another key must be another",
    ),
    (
        {"ask": lambda state, key: NasBench201Arch(jnp.full(6, 7, jnp.int32))},
        "ask_stays_inside",
        "choose one at every step",
    ),
])
def test_a_broken_strategy_is_told(changed, name, words):
  questions = strategy_questions(RANDOM._replace(**changed))
  with pytest.raises(AssertionError, match=words):
    asked(questions, name)()


def lying(**changed):
  return classification()._replace(**changed)


@pytest.mark.parametrize("task, words", [
    (lying(reward=lambda *args: jnp.float32(2)), "the_reward_is_the_worth"),
    (lying(metric="accurracy"), "measure must record 'accurracy'"),
    (
        lying(
            measure=lambda params, state, *args: (
                {"more": jnp.ones(())}, {"accuracy": Mean(1.0, 1.0)}
            )
        ),
        "model state that measure returns must keep",
    ),
])
def test_a_broken_task_is_told(task, words):
  with pytest.raises(AssertionError, match=words):
    testing.check_task(task, testing.images(4, 2), ARCH)


def spoilt(**changed):
  return dataclasses.replace(source("synthetic"), **changed)


def peeking():
  """A source whose search looks at the test split."""
  inner = source("synthetic")

  class Peeking(type(inner)):
    def search(self, **wanted):
      self.test()
      return super().search(**wanted)

  fields = dataclasses.fields(inner)
  return Peeking(*(getattr(inner, field.name) for field in fields))


@pytest.mark.parametrize("make, words", [
    (peeking, "a_search_does_not_read_the_test_split: "),
    (lambda: spoilt(test=source("synthetic").train), "is in both splits"),
    (lambda: spoilt(classes=5, names=()), "every class of 5 and no other"),
])
def test_a_broken_data_set_is_told(make, words):
  wanted, final = DATASETS["synthetic"]
  with pytest.raises(AssertionError, match=words):
    testing.check_dataset(make(), search=wanted, final=final)


@pytest.mark.parametrize("tx, rates, words", [
    (optax.sgd(-0.1), 2, "it_goes_downhill"),
    (optax.sgd(0.1), 3, "it_has_a_rate_for_every_epoch"),
    (
        optax.GradientTransformation(
            lambda params: jnp.zeros(1),
            lambda grads, state, params: (
                jax.tree.map(lambda g: -0.1 * g, grads), jnp.append(state, 0.0)
            ),
        ),
        2,
        "Updates were traced 6 times",
    ),
])
def test_a_broken_optimiser_is_told(tx, rates, words):
  make = lambda **_: optim.Optimiser(tx, np.ones(rates, np.float32))
  with pytest.raises(AssertionError, match=words):
    testing.check_optimiser(make)


def test_options_that_say_too_little_are_told():
  def good(*, size: int = 3):
    """Makes nothing.

    Args:
      size: pixels a side.
    """

  def bad(*, size: bool = 3, untyped=1):
    """Makes nothing."""

  testing.check_options(good)
  with pytest.raises(AssertionError) as caught:
    testing.check_options(bad)
  for words in (
      "'untyped' has no type",
      "says nothing of the option 'size'",
      "out of bounds. size: must be true or false, got 3",
  ):
    assert words in str(caught.value)


def test_the_suite_needs_no_pytest():
  code = "import sys; sys.modules['pytest'] = None; import enas_jax.testing"
  subprocess.run([sys.executable, "-c", code], check=True)


def test_all_that_fails_is_told_at_once():
  def make(**_):
    return optim.Optimiser(optax.sgd(-0.1), np.ones(3, np.float32))

  with pytest.raises(AssertionError) as caught:
    testing.check_optimiser(make)
  names = [part.partition(":")[0] for part in str(caught.value).split("\n\n")]
  assert names == ["it_has_a_rate_for_every_epoch", "it_goes_downhill"]
