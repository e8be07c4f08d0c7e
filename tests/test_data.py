"""Data sets by name: what they hold, what they read, what they refuse."""

import pathlib
import pickle
import shutil
import subprocess
import sys
import tempfile
from typing import Any

import jax
import numpy as np
from PIL import Image
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import registered

from enas_jax import data, feeds, options
from enas_jax.data import tfds as sets
from enas_jax.data.examples import hold_out
from enas_jax.errors import ConfigError

TRAIN, TEST = 24, 9  # examples of the sets that are made here


@pytest.fixture(autouse=True)
def no_litter(tmp_path, monkeypatch):
  # TFDS leaves a temporary folder behind for each set that it prepares.
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def write_folder(root, seed, *, size=(8, 6), channels=1):
  random = np.random.RandomState(seed)
  for split, count in (("train", TRAIN), ("test", TEST)):
    for i in range(count):
      path = root / split / "abc"[i % 3] / f"{i:02d}.png"
      path.parent.mkdir(parents=True, exist_ok=True)
      pixels = random.randint(0, 256, (*size, channels), np.uint8)
      Image.fromarray(pixels.squeeze()).save(path)
  return root


def write_tfds(
    name,
    root,
    *,
    splits=("train", "test"),
    shape=(8, 6, 3),
    sizes=((8, 6),),
    labels=(0, 1, 2),
    label="label",
    version="1.0.0",
    **more,
):
  """Prepares a set that no code but its own files describes."""
  random = np.random.RandomState(0)

  def info(self):
    features = tfds.features.FeaturesDict({
        "image": tfds.features.Image(shape=shape),
        label: tfds.features.ClassLabel(num_classes=3),
        **more,
    })
    return tfds.core.DatasetInfo(builder=self, features=features)

  def examples(count):
    for i in range(count):
      size = sizes[i % len(sizes)]
      pixels = random.randint(0, 256, (*size, 3), np.uint8)
      numbers = dict.fromkeys((label, *more), labels[i % len(labels)])
      yield i, {"image": Image.fromarray(pixels), **numbers}

  def generators(self, manager):
    del self, manager
    return {s: examples(TRAIN if s == "train" else TEST) for s in splits}

  with registered.skip_registration():
    builder = type(
        name.title(),
        (tfds.core.GeneratorBasedBuilder,),
        {
            "VERSION": tfds.core.Version(version),
            "_info": info,
            "_split_generators": generators,
            "_generate_examples": examples,
        },
    )
  builder(data_dir=root, file_format="array_record").download_and_prepare()
  return str(root)


SETS = ("digits", "synthetic", "folder", "tiny")


@pytest.fixture
def arguments(tmp_path):
  """name -> the arguments of `load`, with fresh files where it needs some."""

  def make(name):
    if name == "folder":
      return {"path": str(write_folder(tmp_path, 0))}
    if name == "tiny":
      return {"path": write_tfds(name, tmp_path)}
    return {}

  return make


@pytest.mark.parametrize("limit", [None, 11])
@pytest.mark.parametrize("name", SETS)
def test_a_set_is_streamed_as_it_is_held(name, limit, arguments):
  source = data.load(name, **arguments(name))
  splits = (
      source.search(batch=4, valid=5, limit=limit, stream=stream, workers=0)
      for stream in (False, True)
  )
  for held, streamed in zip(*splits, strict=True):
    assert streamed.preprocess == held.preprocess  # the same mean
    # As in a process that reads.
    stream = pickle.loads(pickle.dumps(streamed.stream))
    found = stream.read(feeds.Order(feeds.in_order, 1, held.steps), 0, 0)
    for index, batch in zip(held.rows(None)[0], found, strict=True):
      own = jax.tree.map(lambda leaf: leaf[index], held.arrays)  # noqa: B023
      jax.tree.map(np.testing.assert_array_equal, batch, own)


def test_a_limit_leaves_the_first_images_of_training():
  source = data.load("digits")
  every, some = (source.train().labels, source.test().labels)
  train, held = source.search(batch=4, valid=20, limit=100)
  final, _, test = source.final(batch=4, eval_batch=8, limit=100)
  for split, labels in (
      (train, every[:80]),
      (held, every[80:100]),
      (final, every[:100]),
      (test, some),
  ):
    np.testing.assert_array_equal(split.arrays.labels, labels)
  for limit in (0, len(every) + 1):
    with pytest.raises(ConfigError, match=f"limit.*1437.*{limit}"):
      source.final(batch=4, eval_batch=8, limit=limit)


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_what_its_source_says(name, arguments):
  wanted = arguments(name)
  source, other = data.load(name, **wanted), data.load(name, **wanted)
  for split in ("train", "test"):
    images, labels = getattr(source, split)()
    assert images.dtype == np.uint8
    assert labels.dtype == np.int32
    assert images.shape == (len(labels), *source.shape)
    assert set(labels) == set(range(source.classes))
    assert images.max() > 200  # the whole range is in use
    again = getattr(other, split)()
    np.testing.assert_array_equal(again.images, images)
    np.testing.assert_array_equal(again.labels, labels)


@pytest.mark.parametrize("name", SETS)
def test_no_test_image_is_in_the_train_split(name, arguments):
  source = data.load(name, **arguments(name))
  train = {image.tobytes() for image in source.train().images}
  test = {image.tobytes() for image in source.test().images}
  assert len(train) == len(source.train().labels)
  assert not train & test


@pytest.mark.parametrize("name", SETS)
def test_the_last_examples_hold_every_class(name, arguments):
  train = data.load(name, **arguments(name)).train()
  _, valid = hold_out(train, len(train.labels) // 2)
  assert set(valid.labels) == set(train.labels)


@pytest.mark.parametrize("name", ("folder", "tiny"))
@pytest.mark.parametrize("kept", ("train", "test"))
def test_a_split_is_read_without_the_other(name, kept, arguments, tmp_path):
  wanted = arguments(name)
  source, other = data.load(name, **wanted), data.load(name, **wanted)
  before = getattr(other, kept)()
  gone = "test" if kept == "train" else "train"
  for path in tmp_path.rglob("*"):
    if path.is_file() and gone in str(path.relative_to(tmp_path)):
      path.unlink()
  after = getattr(source, kept)()
  np.testing.assert_array_equal(after.images, before.images)
  with pytest.raises(Exception, match=gone):
    getattr(source, gone)()


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_read_once(name, arguments, tmp_path):
  source = data.load(name, **arguments(name))
  first = [source.train(), source.test()]
  for path in tmp_path.rglob("*"):
    if path.is_file():
      path.unlink()
  assert source.train() is first[0] and source.test() is first[1]


def test_digits_are_all_of_scikit_learn_s():
  from sklearn.datasets import load_digits

  source = data.load("digits")
  images = np.concatenate([source.train().images, source.test().images])
  assert len(source.test().labels) == 360
  expected = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
  assert sorted(i.tobytes() for i in images) == sorted(
      i.tobytes() for i in expected
  )


def test_digits_without_scikit_learn(monkeypatch):
  monkeypatch.setitem(sys.modules, "sklearn", None)
  source = data.load("digits")
  with pytest.raises(ConfigError, match=r"pip install enas_jax\[demo\]"):
    source.train()


def test_importing_the_package_imports_nothing_heavy():
  heavy = ["tensorflow_datasets", "sklearn", "PIL", "tensorflow"]
  code = (
      "import sys, enas_jax.data;"
      f"print([m for m in {heavy} if m in sys.modules])"
  )
  found = subprocess.run(
      [sys.executable, "-c", code], capture_output=True, text=True, check=True
  )
  assert found.stdout.strip() == "[]"


class TestSynthetic:
  def test_depends_on_its_seed_only(self):
    first = data.load("synthetic").train().images
    other = data.load("synthetic", seed=1).train().images
    assert not np.array_equal(first, other)

  def test_splits_of_one_size_differ(self):
    source = data.load("synthetic", examples=64, test_examples=64)
    assert not np.array_equal(source.train().images, source.test().images)

  def test_classes_are_balanced(self):
    labels = data.load("synthetic", examples=100).train().labels
    np.testing.assert_array_equal(np.bincount(labels), [25] * 4)

  def test_the_seventh_row_tells_the_class(self):
    images, labels = data.load("synthetic").train()
    pixels = images.astype(float) - 128
    pair = (pixels[:, :-6] * pixels[:, 6:]).sum((1, 2))
    np.testing.assert_array_equal(pair[:, 0] < 0, labels // 2)
    np.testing.assert_array_equal(pair[:, 1] < 0, labels % 2)

  def test_six_rows_tell_nothing(self):
    images, labels = data.load("synthetic", examples=2000).train()
    pixels = (images.astype(float) - 128)[..., :2]
    for gap in range(6):
      moved = pixels[:, gap:] * pixels[:, : 16 - gap]
      moved = moved.mean((1, 2)) / (40**2 + 10**2)
      for channel, other in ((0, labels // 2), (1, labels % 2)):
        same, turned = (moved[other == k, channel] for k in (0, 1))
        spread = np.sqrt((same.var() + turned.var()) / len(same)) + 1e-9
        assert abs(same.mean() - turned.mean()) < 4 * spread + 0.005, gap

  def test_an_average_of_three_columns_is_noise(self):
    images = data.load("synthetic").train().images.astype(float)
    pooled = np.mean([images[:, :, i : i + 14] for i in range(3)], 0)
    assert images[..., 0].std() > 35
    assert pooled[..., 0].std() == pytest.approx(10 / np.sqrt(3), rel=0.1)


class TestFolder:
  def test_reads_the_pixels_and_names_of_the_files(self, tmp_path):
    write_folder(tmp_path, 0, channels=3)
    source = data.load("folder", path=str(tmp_path))
    assert source.shape == (8, 6, 3)
    found = {
        (label, image.tobytes())
        for image, label in zip(*source.train(), strict=True)
    }
    expected = {
        ("abc".index(p.parent.name), np.asarray(Image.open(p)).tobytes())
        for p in (tmp_path / "train").rglob("*.png")
    }
    assert found == expected

  def test_one_colour_image_makes_all_of_three_channels(self, tmp_path):
    write_folder(tmp_path, 0)
    assert data.load("folder", path=str(tmp_path)).shape == (8, 6, 1)
    Image.new("RGB", (6, 8)).save(tmp_path / "train" / "c" / "colour.png")
    source = data.load("folder", path=str(tmp_path))
    assert source.shape == (8, 6, 3)
    grey = source.test().images
    np.testing.assert_array_equal(grey, grey[..., :1].repeat(3, -1))

  def test_size_is_that_of_the_central_square(self, tmp_path):
    write_folder(tmp_path, 0)
    wide = np.zeros((4, 12), np.uint8)
    wide[:, 4:8] = 200
    Image.fromarray(wide).save(tmp_path / "test" / "a" / "wide.png")
    images = data.load("folder", path=str(tmp_path), size=2).test().images
    assert images.shape[1:] == (2, 2, 1)
    assert (images == 200).all((1, 2, 3)).any()

  @pytest.mark.parametrize(
      "spoil, line",
      [
          (lambda p: shutil.rmtree(p / "test"), "path: there is no folder"),
          (
              lambda p: [shutil.rmtree(p / "train" / c) for c in "ab"],
              "path: .*train needs a folder for each of at least 2",
          ),
          (
              lambda p: (p / "train" / "d").mkdir(),
              "path: no image in .*train/d ",
          ),
          (
              lambda p: (p / "test" / "c").rename(p / "test" / "z"),
              "path: the classes .* differ: only one of them has c, z",
          ),
          (
              lambda p: (p / "train" / "a" / "x.jpg").write_bytes(b"no"),
              "path: 1 picture cannot be read: .*train/a/x.jpg .* replace it",
          ),
          (
              lambda p: Image.new("I;16", (6, 8)).save(p / "train/a/x.png"),
              "path: .*train/a/x.png has more than 8 bits",
          ),
          (
              lambda p: Image.new("L", (5, 7)).save(p / "train/a/x.png"),
              "size: the images differ: .* such as --config.data.size=6[.]$",
          ),
          (
              lambda p: cut(p / "train" / "a" / "00.png"),
              r"path: 1 picture cannot be read: .*train/a/00.png \(.*trunc",
          ),
      ],
  )
  def test_says_what_is_wrong(self, spoil, line, tmp_path):
    write_folder(tmp_path, 0, size=(30, 30) if "00" in line else (8, 6))
    spoil(tmp_path)
    with pytest.raises(ConfigError, match=r"^" + line) as caught:
      data.load("folder", path=str(tmp_path)).train()
    assert "\n" not in str(caught.value)


def cut(path: pathlib.Path):
  """Keeps the header, loses the end."""
  content = path.read_bytes()
  path.write_bytes(content[: len(content) // 2])


class TestTfds:
  def test_validation_stands_in_for_test(self, tmp_path):
    root = write_tfds("tiny", tmp_path, splits=("train", "validation"))
    source = data.load("tiny", path=root)
    assert len(source.test().labels) == TEST

  def test_images_of_any_size_are_resized(self, tmp_path):
    odd = {"shape": (None, None, 3), "sizes": ((8, 6), (5, 9))}
    root = write_tfds("tiny", tmp_path, **odd)
    with pytest.raises(ConfigError, match=r"^size: .* differ: 6x8, 9x5 "):
      data.load("tiny", path=root)
    source = data.load("tiny", path=root, size=4)
    assert source.shape == (4, 4, 3)
    assert source.train().images.shape == (TRAIN, 4, 4, 3)

  def test_grey_images_are_resized(self):
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    assert sets._resize(pixels, (4, 4, 1)).shape == (4, 4, 1)
    np.testing.assert_array_equal(sets._resize(pixels, (8, 8, 1)), pixels)

  def test_supervised_keys_decide_between_two_classes(self):
    builder = tfds.builder("cifar100")
    assert sets.find_features("cifar100", builder) == ("image", "label")

  @pytest.mark.parametrize(
      "changes, line",
      [
          ({"splits": ("train",)}, "needs a split 'train' and .* has train"),
          (
              {"colour": tfds.features.ClassLabel(num_classes=3)},
              r"not a set of images with one class each; its features: colour "
              r"\(ClassLabel\), image \(Image\), label \(ClassLabel\)\.",
          ),
          ({"labels": (-1,)}, "the 'train' examples of 'tiny' have no labels"),
      ],
  )
  def test_says_what_is_wrong(self, changes, line, tmp_path):
    root = write_tfds("tiny", tmp_path, **changes)
    with pytest.raises(ConfigError, match=line) as caught:
      data.load("tiny", path=root).train()
    assert str(caught.value).startswith("name: ")

  def test_another_file_format_is_told(self, tmp_path, monkeypatch):
    root = write_tfds("tiny", tmp_path)

    def refuse(*unused, **also_unused):
      raise NotImplementedError("TFRECORD")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "as_data_source", refuse)
    with pytest.raises(ConfigError, match="which only TensorFlow reads"):
      data.load("tiny", path=root)

  def test_mirrored_characters_are_no_characters(self, tmp_path):
    root = write_tfds("mnist", tmp_path / "a", version="3.0.1")
    assert not data.load("mnist", path=root).mirrors
    root = write_tfds("tiny", tmp_path / "b")
    assert data.load("tiny", path=root).mirrors


@pytest.mark.parametrize(
    "name, args, line",
    [
        ("digit", {}, "name: unknown data set 'digit'. Did you mean 'digits'"),
        ("cifar11", {}, "name: .*'cifar10'.* digits, folder, ptb, pydoc, syn"),
        ("cifar10/x", {}, "name: TFDS cannot offer 'cifar10/x': "),
        ("cifar10:1.0.0", {}, "name: TFDS cannot offer 'cifar10:1.0.0': "),
        ("coco", {}, "name: TFDS cannot offer 'coco': .*tensorflow"),
        ("lsun", {}, r"name: .*; its features: id \(Text\), image \(Image\)"),
        ("", {}, "name: unknown data set ''"),
        (False, {}, "name: must be text, got False"),
        (("digits",), {}, r"name: must be text, got \('digits',\)"),
        ("cifar10", {"sise": 3}, "sise: .* Did you mean 'size'"),
        ("cifar10", {"path": ""}, "path: must be text or None, got ''"),
        ("cifar10", {"path": False}, "path: must be text or None, got False"),
        ("cifar10", {"size": 0.5}, "size: must be a whole .*, got 0.5"),
        ("cifar10", {"size": 0}, "size: must be .* >= 1 or None, got 0"),
        ("cifar10", {"size": False}, "size: must be .*, got False"),
        ("digits", {"size": 3}, "size: no such key of 'digits'"),
        ("digits", {"size": 0}, "size: no such key of 'digits'"),
        ("digits", {"path": ""}, "path: no such key of 'digits'"),
        ("digits", {"vary": False}, "vary: no such key of 'digits'"),
        ("folder", {}, "path: 'folder' needs it: The folder that holds "),
        ("folder", {"path": None}, "path: 'folder' needs it"),
        ("folder", {"path": ""}, "path: must be text, got ''"),
        ("folder", {"path": ("a",)}, "path: must be text, got "),
        ("folder", {"path": "a", "size": -1}, "size: must be .* >= 1 .* -1"),
        ("folder", {"path": "a", "size": (4, 4)}, "size: must be .*4, 4"),
        ("ptb", {}, "path: 'ptb' needs the folder of its three texts"),
        ("ptb", {"path": ""}, "path: 'ptb' needs the folder of its three "),
        ("ptb", {"path": 0}, "path: must be text or None, got 0"),
        ("ptb", {"path": ".", "vocabulary": 2}, "vocabulary: must .* >= 3"),
        ("ptb", {"path": ".", "unit": "byte"}, "unit: .*: character, word"),
        ("pydoc", {"path": "a"}, "path: no such key of 'pydoc'"),
        ("synthetic", {"size": 7}, "size: must be .* >= 8, got 7"),
        ("synthetic", {"size": 0}, "size: must be .* >= 8, got 0"),
        ("synthetic", {"examples": 3}, "examples: must be .* >= 4, got 3"),
        ("synthetic", {"test_examples": (8,)}, "test_examples: must be "),
        ("synthetic", {"seed": True}, "seed: must be a whole number"),
        ("synthetic", {"seed": -1}, "seed: must be .* >= 0 and < 4294967296"),
    ],
)
def test_what_cannot_work_is_refused_at_once(name, args, line):
  with pytest.raises(ConfigError, match=r"^" + line) as caught:
    data.load(name, **args)
  assert "\n" not in str(caught.value)


def test_what_is_none_is_left_to_the_set():
  source = data.load("synthetic", size=None, path=None)
  assert source.shape == data.load("synthetic").shape


SOURCE = data.Source((4, 4, 1), 2, list, list)
TEXT = data.TextSource(2, list, list, list)


@pytest.mark.parametrize(
    "part",
    [
        *data.DATASETS.values(),
        sets.load,
        data.Augment,
        SOURCE.search,
        SOURCE.final,
        TEXT.search,
        TEXT.final,
    ],
    ids=lambda part: f"{part.__module__}.{part.__qualname__}",
)
def test_every_option_has_a_type_and_a_line_of_help(part):
  for name, option in options.of(part).items():
    assert option.annotation is not Any, name
    assert option.help.endswith("."), name


@pytest.mark.parametrize(
    "part, name, value",
    [
        (SOURCE.search, "valid", 0),
        (SOURCE.search, "valid", (3,)),
        (SOURCE.search, "eval_batch", 0),
        (SOURCE.search, "eval_batch", False),
        (SOURCE.final, "eval_batch", None),
        (SOURCE.final, "measure", "tset"),
        (TEXT.search, "length", 0),
        (TEXT.search, "vary", "False"),
        (TEXT.search, "vary", 0),
        (TEXT.final, "eval_batch", -1),
        (TEXT.final, "measure", "validation"),
        (data.Augment, "pad", -1),
        (data.Augment, "pad", 0.5),
        (data.Augment, "cutout", -1),
        (data.Augment, "flip", "False"),
        (data.Augment, "cutout_corner", 1),
    ],
)
def test_options_of_splits_have_bounds(part, name, value):
  with pytest.raises(ConfigError, match=f"^{name}: must be "):
    options.read(part, {name: value})


def test_a_smoke_run_has_small_values():
  small = {"batch": 32, "valid": 64, "eval_batch": 64, "length": 8}
  for part in (SOURCE.search, SOURCE.final, TEXT.search, TEXT.final):
    for name, option in options.of(part).items():
      assert (option.small and option.small.value) == small.get(name), name
  assert options.of(data.DATASETS["synthetic"])["size"].small.value == 8
  assert options.of(data.Augment)["pad"].small.value == 1


def test_an_unprepared_set_comes_with_its_command(tmp_path):
  root = tmp_path / "my sets"
  with pytest.raises(ConfigError) as caught:
    data.load("cifar10", path=str(root))
  assert str(caught.value) == (
      "name: 'cifar10' is not prepared in"
      f" {root}/cifar10/3.0.2. Run: python -m enas_jax.data.prepare cifar10"
      f" --data_dir='{root}'"
  )
