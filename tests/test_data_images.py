"""Splits, plans and batches of images; statistics; augmentation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from enas_jax.data import Augment, Images, Source
from enas_jax.data import augment as augments
from enas_jax.data.examples import hold_out, statistics
from enas_jax.data.images import image_split
from enas_jax.errors import ConfigError


def make_images(n, height=4, width=5, channels=3):
  random = np.random.RandomState(n)
  return Images(
      random.randint(0, 256, (n, height, width, channels), np.uint8),
      np.arange(n, dtype=np.int32) % 3,
  )


def make_split(n=10, batch=4, **more):
  images = make_images(n)
  mean, std = statistics(images)
  return image_split(images, mean=mean, std=std, batch=batch, **more), images


def rows_of(split, key, i):
  return jax.tree.map(lambda x: x[i], split.rows(key))


def first_batch(split, key=None):
  """Makes the first batch of a pass in order; a key augments it."""
  arrays = jax.device_put(split.arrays)
  return split.batch(arrays, rows_of(split, None, 0), key)


class TestHoldOut:
  def test_takes_the_last_in_order(self):
    images = make_images(10)
    train, valid = hold_out(images, 3)
    np.testing.assert_array_equal(train.images, images.images[:7])
    np.testing.assert_array_equal(train.labels, images.labels[:7])
    np.testing.assert_array_equal(valid.images, images.images[7:])
    np.testing.assert_array_equal(valid.labels, images.labels[7:])

  @pytest.mark.parametrize("count", [0, -1, 10, 2.5, True, "3"])
  def test_refuses_what_leaves_a_part_empty(self, count):
    with pytest.raises(ConfigError, match=r"^valid: must be "):
      hold_out(make_images(10), count)


def make_source(*, test=None, **more):
  return Source(
      shape=(4, 5, 3),
      classes=3,
      train=functools.partial(make_images, 10),
      test=test or functools.partial(make_images, 6),
      **more,
  )


class TestSource:
  def test_a_search_has_two_parts_of_the_train_split_only(self):
    def test():
      raise AssertionError("the test split was read")

    train, held = make_source(test=test).search(batch=3, valid=4, pad=1)
    images = make_images(10)
    np.testing.assert_array_equal(train.arrays.images, images.images[:6])
    np.testing.assert_array_equal(held.arrays.images, images.images[6:])
    mean, std = statistics(Images(images.images[:6], images.labels[:6]))
    for split, first in ((train, 0), (held, 6)):
      batch = first_batch(split)
      expected = (images.images[first : first + 3] / 255 - mean) / std
      np.testing.assert_allclose(batch.images, expected, atol=1e-5)

  def test_a_reward_may_see_more_images_than_a_child_step(self):
    wanted = {"batch": 3, "valid": 6, "pad": 1}
    for eval_batch, expected in ((None, 3), (5, 5)):
      train, held = make_source().search(eval_batch=eval_batch, **wanted)
      batches = [
          first_batch(split).images for split in (train, held)
      ]
      assert [len(batch) for batch in batches] == [3, expected]
    with pytest.raises(ConfigError, match=r"^eval_batch: 7 "):
      make_source().search(eval_batch=7, **wanted)

  def test_a_final_training_has_all_of_both_splits(self):
    train, _, held = make_source().final(batch=3, eval_batch=2, pad=1)
    np.testing.assert_array_equal(train.arrays.images, make_images(10).images)
    np.testing.assert_array_equal(held.arrays.images, make_images(6).images)
    assert (train.steps, held.steps) == (4, 3)
    mean, std = statistics(make_images(10))
    batch = first_batch(held)
    expected = (make_images(6).images[:2] / 255 - mean) / std
    np.testing.assert_allclose(batch.images, expected, atol=1e-5)

  def test_a_final_training_may_leave_the_test_split_alone(self):
    def test():
      raise AssertionError("the test split was read")

    source = make_source(test=test)
    train, _, held = source.final(
        batch=3, eval_batch=2, measure="valid", valid=4, pad=1
    )
    search = source.search(batch=3, valid=4, pad=1)
    for split, other in zip((train, held), search, strict=True):
      np.testing.assert_array_equal(split.arrays.images, other.arrays.images)
    with pytest.raises(ConfigError, match=r"^measure: .*'tset'"):
      source.final(batch=3, eval_batch=2, measure="tset")

  def test_only_what_is_trained_on_is_augmented(self):
    for train, *_, held in (
        make_source().search(batch=3, valid=4, pad=2),
        make_source().final(batch=3, eval_batch=3, pad=2),
    ):
      for split, same in ((train, False), (held, True)):
        plain = first_batch(split).images
        keyed = first_batch(split, jax.random.key(0)).images
        assert np.array_equal(plain, keyed) == same

  @pytest.mark.parametrize("mirrors", [True, False])
  def test_what_has_no_mirror_image_is_not_flipped(self, mirrors):
    source = make_source(mirrors=mirrors)
    wanted = {"pad": 0, "flip": True, "batch": 5}
    for train, *_ in (
        source.search(valid=5, **wanted),
        source.final(eval_batch=5, **wanted),
    ):
      plain = first_batch(train).images
      keyed = first_batch(train, jax.random.key(0)).images
      assert np.array_equal(plain, keyed) != mirrors


  def test_all_that_is_made_of_a_source_is_read_once_and_shared(self):
    reads = []

    def read(n):
      reads.append(n)
      return make_images(n)

    source = Source(
        shape=(4, 5, 3),
        classes=3,
        train=functools.partial(read, 10),
        test=functools.partial(read, 6),
    )
    assert not reads
    wanted = {"batch": 3, "pad": 1}
    train, held = source.search(valid=4, **wanted)
    finalist, _, watched = source.final(
        valid=4, eval_batch=2, measure="valid", **wanted
    )
    assert reads == [10]
    whole, _, test = source.final(eval_batch=2, **wanted)
    source.final(eval_batch=3, **wanted)
    assert reads == [10, 6]
    for split in (train, held, finalist, watched, whole, test):
      assert isinstance(split.arrays.images, np.ndarray)
    for split in (train, held, finalist, watched):
      assert np.shares_memory(split.arrays.images, whole.arrays.images)

  def test_reading_and_splitting_puts_no_image_on_a_device(self):
    before = {id(array) for array in jax.live_arrays()}
    for split in make_source().search(batch=3, valid=4, pad=1):
      split.shapes()
    made = [a for a in jax.live_arrays() if id(a) not in before]
    assert not [a for a in made if a.dtype == jnp.uint8]


def changed(**changes):
  """Makes a read function of ten images with these in place of its arrays."""
  return lambda: make_images(10)._replace(**changes)


GREY = np.zeros((10, 4, 5), np.uint8)
LABELS = np.arange(10) % 3


class TestAWrongSource:
  @pytest.mark.parametrize("given, line", [
      (
          {"names": ("a", "b")},
          "its names must be a tuple of 3 texts, one for each class, got 2:"
          " ('a', 'b').",
      ),
      (
          {"names": "abc"},
          "its names must be a tuple of 3 texts, one for each class, got"
          " 'abc'.",
      ),
      (
          {"names": (0, 1, 2)},
          "its names must be a tuple of 3 texts, one for each class, got 3:"
          " (0, 1, 2).",
      ),
      (
          {"shape": (4, 5)},
          "its shape must be (height, width, channels), got (4, 5).",
      ),
      (
          {"train": GREY},
          "its train must be a function that returns Images, got"
          " uint8[10, 4, 5].",
      ),
      (
          {"test": make_images(6)},
          "its test must be a function that returns Images, got Images.",
      ),
  ])
  def test_is_refused_when_it_is_made(self, given, line):
    read = functools.partial(make_images, 10)
    whole = {"shape": (4, 5, 3), "classes": 3, "train": read, "test": read}
    with pytest.raises(ConfigError) as caught:
      Source(**whole | given)
    assert str(caught.value) == f"name: {line}"

  @pytest.mark.parametrize("read, line", [
      (
          lambda: (GREY, LABELS),
          "what its test returns must be Images, got tuple.",
      ),
      *[
          (
              changed(images=images),
              "the images of its test must be uint8[n, 4, 5, 3] in numpy, got"
              f" {got}.",
          )
          for images, got in [
              (GREY, "uint8[10, 4, 5]"),
              (GREY[..., None], "uint8[10, 4, 5, 1]"),
              (np.zeros((10, 4, 5, 3), np.float32), "float32[10, 4, 5, 3]"),
              (np.zeros((10, 4, 5, 3), np.uint16), "uint16[10, 4, 5, 3]"),
              (np.zeros((), np.uint8), "uint8[]"),
              (jnp.zeros(10, np.uint8), "uint8[10] in jaxlib"),
              ([], "list"),
          ]
      ],
      *[
          (
              changed(labels=labels),
              "the labels of its test must be int32[10] in numpy, one for each"
              f" image, got {got}.",
          )
          for labels, got in [
              (LABELS[:9], "int64[9]"),
              (np.eye(3, dtype=np.int32)[LABELS], "int32[10, 3]"),
              (LABELS.astype(np.float32), "float32[10]"),
              (LABELS.tolist(), "list"),
          ]
      ],
      *[
          (
              changed(labels=labels),
              "the labels of its test must be 0 to 2 for its 3 classes, got"
              f" {got}.",
          )
          for labels, got in [
              (np.arange(10) % 5, "0 to 4"),
              (LABELS - 1, "-1 to 1"),
          ]
      ],
  ])
  def test_is_refused_when_the_split_is_read(self, read, line):
    source = make_source(test=read)
    source.search(batch=3, valid=4, pad=1)
    with pytest.raises(ConfigError) as caught:
      source.final(batch=3, eval_batch=2, pad=1)
    assert str(caught.value) == f"name: {line}"

  def test_but_whole_numbers_of_any_type_are_labels(self):
    for dtype in (np.int64, np.uint8):
      read = changed(labels=LABELS.astype(dtype))
      assert make_source(test=read).test().labels.dtype == dtype


class TestStatistics:
  def test_are_those_of_numpy_in_double_precision(self):
    images = make_images(1500)  # more than one chunk
    pixels = images.images.astype(np.float64) / 255
    mean, std = statistics(images)
    np.testing.assert_allclose(mean, pixels.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, pixels.std((0, 1, 2)), rtol=1e-6)

  def test_a_constant_channel_is_not_divided_by_zero(self):
    images = make_images(6)
    images.images[..., 1] = 9
    mean, std = statistics(images)
    assert std[1] == np.float32(1 / 255)
    split = image_split(images, mean=mean, std=std, batch=6)
    batch = first_batch(split)
    np.testing.assert_allclose(batch.images[..., 1], 0, atol=1e-5)


class TestRows:
  @pytest.mark.parametrize("n, batch", [(10, 4), (12, 4), (5, 5), (7, 1)])
  def test_in_order_each_example_counts_once(self, n, batch):
    split, _ = make_split(n, batch)
    index, weight = split.rows(None)
    assert index.shape == weight.shape == (split.steps, batch)
    assert split.steps == -(-n // batch)
    counts = np.zeros(n)
    np.add.at(counts, np.ravel(index), np.ravel(weight))
    np.testing.assert_array_equal(counts, np.ones(n))
    np.testing.assert_array_equal(np.ravel(index)[:n], np.arange(n))
    # What fills the last batch is real, and none of it is there twice.
    assert len(set(np.asarray(index[-1]))) == batch

  @pytest.mark.parametrize("n, batch", [(10, 4), (12, 4), (5, 5), (7, 1)])
  def test_shuffled_it_is_a_permutation_from_its_beginning_again(
      self, n, batch
  ):
    split, _ = make_split(n, batch)
    index, weight = split.rows(jax.random.key(0))
    assert index.shape == weight.shape == (split.steps, batch)
    index = np.ravel(index)
    assert sorted(index[:n]) == list(range(n))
    np.testing.assert_array_equal(index[n:], index[: len(index) - n])
    assert (weight == 1).all()

  def test_a_key_is_an_order(self):
    split, _ = make_split(50, 8)
    rows = jax.jit(split.rows)
    first, other = rows(jax.random.key(0))[0], rows(jax.random.key(1))[0]
    np.testing.assert_array_equal(first, split.rows(jax.random.key(0))[0])
    assert not np.array_equal(first, other)
    assert not np.array_equal(np.ravel(first)[:50], np.arange(50))

  def test_types(self):
    split, _ = make_split()
    for key in (None, jax.random.key(0)):
      index, weight = split.rows(key)
      assert (index.dtype, weight.dtype) == (jnp.int32, jnp.float32)


class TestBatch:
  def test_is_normalised_and_in_the_order_of_the_row(self):
    split, images = make_split(10, 4, augment=Augment(pad=1))
    index, weight = row = rows_of(split, None, 2)
    batch = jax.jit(functools.partial(split.batch, key=None))(images, row)
    mean, std = statistics(images)
    expected = (images.images[np.asarray(index)] / 255 - mean) / std
    np.testing.assert_allclose(batch.images, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(batch.labels, images.labels[index])
    np.testing.assert_array_equal(batch.weight, weight)
    assert batch.images.dtype == batch.weight.dtype == jnp.float32
    assert batch.labels.dtype == jnp.int32
    # An optimiser may scale its step by the share of the usual batch.
    assert batch.share == 1
    assert (batch.share.shape, batch.share.dtype) == ((), jnp.float32)

  def test_a_key_augments_and_only_if_asked(self):
    for augment, same in ((None, True), (Augment(pad=2), False)):
      split, _ = make_split(10, 4, augment=augment)
      plain = first_batch(split)
      moved = first_batch(split, jax.random.key(0))
      assert np.array_equal(plain.images, moved.images) == same
      np.testing.assert_array_equal(plain.labels, moved.labels)

  def test_images_stay_the_bytes_that_were_read(self):
    split, images = make_split()
    assert split.arrays is images

  def test_shapes_are_those_of_a_batch(self):
    split, _ = make_split(augment=Augment(pad=1))
    found = jax.tree.map(lambda x: (x.shape, x.dtype), split.shapes())
    batch = first_batch(split)
    assert found == jax.tree.map(lambda x: (x.shape, x.dtype), batch)


@pytest.mark.parametrize(
    "changes, line",
    [
        ({"batch": 11}, "^batch: 11 is more than the 10 "),
        (
            {"batch": 11, "batch_key": "eval_batch"},
            "^eval_batch: 11 ",
        ),
        ({"batch": 0}, "^batch: must be a whole number >= 1"),
        ({"augment": Augment(pad=5)}, "^pad: .* <= 4"),
        ({"augment": Augment(pad=0.5)}, "^pad: .* whole"),
        ({"augment": Augment(pad=0, cutout=9)}, "^cutout: .* <= 8"),
        ({"augment": Augment(pad=0, cutout=-1)}, "^cutout: .* >= 0"),
    ],
)
def test_what_cannot_work_is_refused(changes, line):
  with pytest.raises(ConfigError, match=line):
    make_split(**{"n": 10, "batch": 4, **changes})


HEIGHT, WIDTH = 6, 7


def numbered(batch):
  """f32[B, H, W, 1], every pixel another number, none of them 0."""
  pixels = np.arange(1, batch * HEIGHT * WIDTH + 1, dtype=np.float32)
  return pixels.reshape(batch, HEIGHT, WIDTH, 1)


def run(augment, images, seed=0):
  apply = jax.jit(functools.partial(augments.apply, augment))
  return np.asarray(apply(jax.random.key(seed), images))


@pytest.mark.parametrize("pad, flip", [(2, False), (2, True), (0, True)])
def test_crops_are_windows_of_the_padded_image(pad, flip):
  images = numbered(600)
  out = run(Augment(pad=pad, flip=flip), images)
  padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
  seen = []
  for window, result in zip(padded, out, strict=True):
    found = [
        (top, left, mirrored)
        for top in range(2 * pad + 1)
        for left in range(2 * pad + 1)
        for mirrored in range(1 + flip)
        if np.array_equal(
            window[top : top + HEIGHT, left : left + WIDTH][
                :, :: -1 if mirrored else 1
            ],
            result,
        )
    ]
    seen.extend(found)
    assert len(found) == 1
  # Each of them, about as often as any other.
  kinds = (2 * pad + 1) ** 2 * (1 + flip)
  counts = np.unique(seen, axis=0, return_counts=True)[1]
  assert len(counts) == kinds
  assert abs(counts / 600 - 1 / kinds).max() < 5 * (600 * kinds) ** -0.5


def ramps(batch, height=HEIGHT, width=WIDTH):
  """f32[B, H, W, 2]: where a pixel lies, in shares of the sides."""
  rows = (np.arange(height, dtype=np.float32) + 0.5) / height
  columns = (np.arange(width, dtype=np.float32) + 0.5) / width
  both = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1)
  return np.tile(both, (batch, 1, 1, 1))


CROP = {"pad": 0, "flip": False}


@pytest.mark.parametrize(
    "scale, ratio", [(0.08, 4 / 3), (0.5, 1.0), (0.9, 9.0)]
)
def test_random_parts_are_those_that_were_asked_for(scale, ratio):
  augment = Augment(scale=scale, ratio=ratio)
  found = augments.parts(augment, jax.random.key(3), 4000)
  top, left, height, width = map(np.asarray, found)
  for start, share in ((top, height), (left, width)):
    assert start.min() >= 0 and share.min() > 0
    assert (start + share).max() <= 1 + 1e-6
  area, wider = height * width, width / height
  assert scale - 1e-6 <= area.min() and area.max() <= 1
  # Uniform, as the mean and the spread tell.
  assert abs(area.mean() - (1 + scale) / 2) < 5 * (1 - scale) / 12**0.5 / 60
  assert area.std() == pytest.approx((1 - scale) / 12**0.5, rel=0.05)
  assert 1 / ratio - 1e-6 <= wider.min() and wider.max() <= ratio + 1e-5
  assert abs(np.log(wider).mean()) < 0.05 * np.log(ratio) + 1e-6
  # No corner is preferred, wherever there is room.
  for start, share in ((top, height), (left, width)):
    room = share < 0.99
    assert (start[room] / (1 - share[room])).mean() == pytest.approx(
        0.5, abs=0.03
    )


def test_a_random_part_is_resized_to_the_whole():
  # Of a ramp the interpolation between two pixels is the ramp.
  images = ramps(50, 16, 12)
  augment = Augment(scale=0.2, **CROP)
  key = jax.random.key(5)
  out = run(augment, images, seed=5)
  part = augments.parts(augment, jax.random.fold_in(key, 3), 50)
  rows = (np.arange(16) + 0.5) / 16
  columns = (np.arange(12) + 0.5) / 12
  y = np.asarray(part.top)[:, None] + rows * np.asarray(part.height)[:, None]
  x = np.asarray(part.left)[:, None] + columns * np.asarray(part.width)[:, None]
  # Outside of the outermost pixels' centres there is nothing to go between.
  y, x = np.clip(y, 0.5 / 16, 15.5 / 16), np.clip(x, 0.5 / 12, 11.5 / 12)
  for channel, ramp in enumerate((y[:, :, None], x[:, None])):
    ramp = np.broadcast_to(ramp, out.shape[:3])
    np.testing.assert_allclose(out[..., channel], ramp, atol=1e-5)
  assert images.min() <= out.min() and out.max() <= images.max()


def test_the_whole_image_is_itself():
  images = numbered(7)
  for augment in (Augment(**CROP), Augment(scale=1.0, ratio=2.0, **CROP)):
    np.testing.assert_array_equal(run(augment, images), images)
  whole = augments.Part(*np.float32([0, 0, 1, 1])[:, None].repeat(7, 1))
  resized = augments.resized(jnp.asarray(images), whole)
  np.testing.assert_array_equal(resized, images)
  # The only part of all of the area is the whole, whatever the ratio.
  only = augments.parts(Augment(scale=1.0, ratio=3.0), jax.random.key(0), 5)
  np.testing.assert_array_equal(np.stack(only), np.stack(whole)[:, :5])


def test_a_random_part_changes_no_other_draw():
  # The mirror turns the ramp of columns; holes are zeros.
  images = ramps(200)
  wanted = {"pad": 0, "flip": True, "cutout": 2}
  plain, cropped = (
      run(Augment(scale=scale, **wanted), images) for scale in (1.0, 0.4)
  )
  holes, others = plain[..., 1] == 0, cropped[..., 1] == 0
  np.testing.assert_array_equal(holes, others)

  def mirrored(out):
    seen = np.ma.masked_equal(out[..., 1], 0)
    return np.ma.median(np.ma.diff(seen, axis=2), axis=(1, 2)) < 0

  flipped = mirrored(plain)
  assert 60 < flipped.sum() < 140
  np.testing.assert_array_equal(flipped, mirrored(cropped))


@pytest.mark.parametrize("size", [1, 2, 3, 9])
@pytest.mark.parametrize("corner", [False, True])
def test_holes_are_those_of_the_witness(size, corner):
  augment = Augment(pad=0, flip=False, cutout=size, cutout_corner=corner)
  images = numbered(2000)
  out = run(augment, images)
  assert ((out == 0) | (out == images)).all()
  before = 0 if corner else size // 2
  expected = []
  for row in range(HEIGHT):
    for column in range(WIDTH):
      hole = np.zeros((HEIGHT, WIDTH), bool)
      top, left = max(row - before, 0), max(column - before, 0)
      hole[top : row - before + size, left : column - before + size] = True
      expected.append(hole.tobytes())
  found = [hole.tobytes() for hole in out[..., 0] == 0]
  assert set(found) == set(expected)
  # As often as the witness, which has each place once.
  for hole in set(expected):
    share = expected.count(hole) / len(expected)
    spread = (share * (1 - share) / len(found)) ** 0.5
    assert abs(found.count(hole) / len(found) - share) <= 5 * spread


def test_nothing_is_done_when_all_is_off():
  images = numbered(5)
  out = run(Augment(pad=0, flip=False, cutout=0), images)
  np.testing.assert_array_equal(out, images)
