"""Makes small data, choices and weights to ask questions with."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.types import Arch, Head, Params, Schedule


class ImageBatch(NamedTuple):
  """A batch of images as a classification task reads it."""

  images: jax.Array  # f32[B, H, W, 3]
  labels: jax.Array  # i32[B], 0 to 2
  weight: jax.Array  # f32[B]
  share: jax.Array  # f32[], 1


class TextBatch(NamedTuple):
  """A segment of text as a language model's task reads it."""

  words: jax.Array  # i32[B, S], 0 to 6
  targets: jax.Array  # i32[B, S]
  weight: jax.Array  # f32[B, S]
  first: jax.Array  # bool[]
  share: jax.Array  # f32[], 1


def images(count: int = 4, size: int = 8) -> ImageBatch:
  """Returns noise of `size` x `size` pixels in three classes."""
  rng = np.random.default_rng(0)
  pixels = rng.normal(size=(count, size, size, 3)).astype(np.float32)
  return ImageBatch(
      jnp.asarray(pixels),
      jnp.asarray(np.arange(count, dtype=np.int32) % 3),
      jnp.asarray(np.ones(count, np.float32)),
      jnp.asarray(np.float32(1)),
  )


def words(rows: int = 3, length: int = 6) -> TextBatch:
  """Returns random words of a vocabulary of seven; the last ones do not count.
  """
  drawn = np.random.default_rng(0).integers(0, 7, (rows, length))
  drawn = drawn.astype(np.int32)
  weight = np.ones((rows, length), np.float32)
  weight[:, -1] = 0
  parts = drawn, (drawn * 3 + 1) % 7, weight, np.asarray(True), np.float32(1)
  return TextBatch(*map(jnp.asarray, parts))


def random_choices(schedule: Schedule, count: int, seed: int = 0) -> np.ndarray:
  """Draws choices bool[count, T, K] uniformly, without a strategy."""
  rng = np.random.default_rng(seed)
  choices = np.zeros((count, *schedule.mask.shape), bool)
  for one in choices:
    for t, head in enumerate(schedule.head):
      exist = np.flatnonzero(schedule.mask[t])
      if head == Head.SKIP:
        one[t, exist] = rng.integers(0, 2, len(exist))
      elif head != Head.NONE:
        one[t, rng.choice(exist)] = True
  return choices


def changes(schedule: Schedule, choices: np.ndarray) -> list[np.ndarray]:
  """Returns all choices that differ from these, bool[T, K], in one place."""
  found = []
  for t, head in enumerate(schedule.head):
    for j in np.flatnonzero(schedule.mask[t] & (head != Head.NONE)):
      other = choices.copy()
      if head == Head.SKIP:
        other[t, j] ^= True
      else:
        other[t] = np.arange(len(other[t])) == j
      if np.any(other != choices):
        found.append(other)
  return found


def on_host(arch: Arch) -> Arch:
  """Returns the arch in numpy arrays."""
  return jax.tree.map(np.asarray, arch)


def filled(shapes: Params, seed: int = 0) -> Params:
  """Draws parameters as after some training; none is zero, no two are alike."""
  rng = np.random.default_rng(seed)

  def fill(path, leaf):
    drawn = rng.normal(size=leaf.shape).astype(np.float32)
    name = getattr(path[-1], "key", "")  # of an item of a tuple, none
    if name.startswith(("scale", "var")):
      return jnp.asarray((1 + 0.1 * np.abs(drawn)).astype(np.float32))
    return jnp.asarray(np.float32(0.3) * drawn)

  return jax.tree_util.tree_map_with_path(fill, shapes)


def unmoved(tree: Any) -> list[str]:
  """Returns the paths of the leaves that are false."""
  paths = jax.tree.leaves_with_path(tree)
  return [jax.tree_util.keystr(path) for path, ok in paths if not ok]
