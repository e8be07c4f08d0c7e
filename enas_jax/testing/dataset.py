"""Asks the questions of a data set."""

from collections.abc import Mapping
import dataclasses
import functools
from typing import Any

import chex
import jax
import numpy as np

from enas_jax.testing.asking import ask_all, demand, named, Question, same_form
from enas_jax.types import Split


def dataset_questions(
    source: Any, *, search: Mapping[str, Any], final: Mapping[str, Any]
) -> list[Question]:
  """Returns the questions of a data set.

  Args:
    source: The source that a data set's loader returns.
    search: The arguments of `source.search`.
    final: The arguments of `source.final` with the test split.
  """
  reads = [name for name in ("train", "valid", "test") if hasattr(source, name)]

  def never():
    raise AssertionError("A search must not read the test split, it did.")

  @functools.cache
  def splits() -> tuple[Split, Split]:
    return dataclasses.replace(source, test=never).search(**search)

  def every_read_is_the_same():
    for name in reads:
      read = getattr(source, name)
      chex.assert_trees_all_equal(read(), read())

  def examples_are_what_the_source_says():
    for name in reads:
      found = getattr(source, name)()
      if source.task == "classification":
        _check_images(source, found, name)
      else:
        demand(
            found.dtype == np.int32 and found.ndim == 1 and len(found),
            f"{name} must give words as i32[n].",
        )
        demand(
            found.min() >= 0 and found.max() < source.facts["vocabulary"],
            f"{name} has words outside of the vocabulary.",
        )

  def no_test_example_is_trained_on():
    if source.task != "classification":
      return  # two texts share words
    train, test = (
        {image.tobytes() for image in read().images}
        for read in (source.train, source.test)
    )
    demand(not train & test, "An image is in both splits.")

  def a_search_does_not_read_the_test_split():
    splits()

  def what_is_measured_on_valid_leaves_the_test_split_alone():
    left = {k: v for k, v in final.items() if k != "measure"}
    held_out = {k: v for k, v in search.items() if k == "valid"}
    blind = dataclasses.replace(source, test=never)
    blind.final(**left, **held_out, measure="valid")

  def a_pass_in_order_has_every_example_once():
    for split in splits():
      if source.task != "classification":
        continue
      index, weight = map(np.asarray, split.rows(None))
      counts = np.zeros(len(split.arrays.images))
      np.add.at(counts, index.ravel(), weight.ravel())
      demand(
          np.all(counts == 1), "A pass in order counts every example once."
      )

  def the_same_key_is_the_same_order():
    for split in splits():
      first, again = (split.rows(jax.random.key(0)) for _ in range(2))
      chex.assert_trees_all_equal(first, again)
      chex.assert_trees_all_equal(split.rows(None), split.rows(None))
      same_form(
          jax.tree.map(np.asarray, split.rows(None)),
          jax.tree.map(np.asarray, first),
          "A shuffled plan",
      )
      for leaf in jax.tree.leaves(first):
        demand(
            len(leaf) == split.steps,
            f"A plan has a row for each of {split.steps} steps, one of its"
            f" arrays has {len(leaf)}.",
        )

  def another_key_is_another_order():
    split = splits()[0]
    plans = [jax.device_get(split.rows(jax.random.key(n))) for n in range(3)]
    if split.steps < 2:
      return
    same = jax.tree.map(np.array_equal, plans[0], plans[1])
    fixed = jax.tree.map(np.array_equal, plans[0], plans[2])
    always = jax.tree.leaves(same) + jax.tree.leaves(fixed)
    demand(
        not all(always) or source.task != "classification",
        "Another key must be another order.",
    )

  def batches_have_one_form():
    for split in splits():
      arrays = jax.device_put(split.arrays)
      get = jax.jit(split.batch)
      for key in (None, jax.random.key(0)):
        rows = split.rows(key)
        for n in {0, split.steps - 1}:
          row = jax.tree.map(lambda leaf: leaf[n], rows)  # noqa: B023
          same_form(
              split.shapes(),
              jax.eval_shape(lambda b: b, get(arrays, row, key)),
              "A batch",
          )

  def only_what_is_trained_on_is_augmented():
    held = splits()[1]
    row = jax.tree.map(lambda leaf: leaf[0], held.rows(None))
    arrays = jax.device_put(held.arrays)
    chex.assert_trees_all_equal(
        held.batch(arrays, row, None),
        held.batch(arrays, row, jax.random.key(0)),
    )

  return named(
      every_read_is_the_same,
      examples_are_what_the_source_says,
      no_test_example_is_trained_on,
      a_search_does_not_read_the_test_split,
      what_is_measured_on_valid_leaves_the_test_split_alone,
      a_pass_in_order_has_every_example_once,
      the_same_key_is_the_same_order,
      another_key_is_another_order,
      batches_have_one_form,
      only_what_is_trained_on_is_augmented,
  )


def _check_images(source: Any, found: Any, name: str) -> None:
  """Demands that the images of a split are as the source says."""
  pixels, labels = found
  demand(
      pixels.dtype == np.uint8 and pixels.shape[1:] == tuple(source.shape),
      f"{name} must give images as u8 of {source.shape}, it gave"
      f" {pixels.dtype} of {pixels.shape[1:]}.",
  )
  demand(
      labels.dtype == np.int32 and labels.shape == pixels.shape[:1],
      f"{name} must give one int32 label an image.",
  )
  demand(
      set(labels.tolist()) == set(range(source.classes)),
      f"{name} must have every class of {source.classes} and no other.",
  )


def check_dataset(
    source: Any, *, search: Mapping[str, Any], final: Mapping[str, Any]
) -> None:
  """Asks all of `dataset_questions`, with the same arguments.

  Raises:
    AssertionError: A question failed; says which one and what to mend.
  """
  ask_all(dataset_questions(source, search=search, final=final))
