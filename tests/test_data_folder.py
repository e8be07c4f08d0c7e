"""What cameras, systems and archives do to a folder of pictures."""

import io
import os
import pathlib

import numpy as np
from PIL import Image
import pytest

from enas_jax import data, model, process
from enas_jax.data import examples, listing, preprocess, telling
from enas_jax.data import folder as reader
from enas_jax.data.examples import Images, surveyed, whole
from enas_jax.data.preprocess import open_picture, Preprocess
from enas_jax.errors import ConfigError
from experiments import mutated_data

# A disc that only the opacity shows: all is black.
ROWS, COLUMNS = np.mgrid[:16, :12]
DISC = ((ROWS - 8) ** 2 + (COLUMNS - 6) ** 2 < 20).astype(np.uint8) * 255
SEEN = 255 - DISC  # black on white


def write(root, train=6, test=3, classes="ab", seed=0):
  random = np.random.RandomState(seed)
  for split, count in (("train", train), ("test", test)):
    for name in classes:
      for i in range(count):
        path = root / split / name / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(random.randint(0, 256, (4, 4), np.uint8))
        picture.save(path)
  return root


def load(root, **more):
  """Returns the source of a folder, and a list of what is told of it."""
  told = []
  with telling.heard(told.append):
    source = data.load("folder", path=str(root), **more)
    source.train(), source.test()
  return source, told


def with_palette(index):
  picture = Image.fromarray((DISC // 255).astype(np.uint8), "P")
  picture.putpalette([0, 0, 0] * 2)
  return picture, {"transparency": index}


def transparent():
  """Yields the same disc in every mode of Pillow that can be transparent."""
  black = np.zeros_like(DISC)
  rgba = Image.fromarray(np.stack([black] * 3 + [DISC], -1))
  yield "RGBA", rgba, {}, "png"
  yield "RGBA in WebP", rgba, {"lossless": True, "exact": True}, "webp"
  yield "RGBA in TIFF", rgba, {}, "tiff"
  yield "LA", Image.fromarray(np.stack([black, DISC], -1)), {}, "png"
  # The background is of the one colour that stands for what is transparent.
  keyed = Image.fromarray(np.where(DISC, 0, 7).astype(np.uint8))
  yield "L with tRNS", keyed, {"transparency": 7}, "png"
  rgb = Image.merge("RGB", [keyed] * 3)
  yield "RGB with tRNS", rgb, {"transparency": (7, 7, 7)}, "png"
  bits = Image.fromarray(1 - DISC // 255 > 0)
  yield "1 with tRNS", bits, {"transparency": 1}, "png"
  yield "P with one", *with_palette(0), "png"
  yield "P with many", *with_palette(b"\x00\xff"), "png"
  yield "P in GIF", *with_palette(0), "gif"


CASES = {name: rest for name, *rest in transparent()}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_transparent_is_white(name, channels, tmp_path):
  picture, how, suffix = CASES[name]
  path = tmp_path / f"x.{suffix}"
  picture.save(path, **how)
  expected = np.stack([SEEN] * channels, -1)
  reads = Preprocess((16, 12, channels))
  with open_picture(path) as picture:
    np.testing.assert_array_equal(reads.pixels(picture), expected)


@pytest.mark.parametrize("mode", ["PA", "La", "RGBa"])
def test_modes_of_memory_are_white_too(mode):
  picture = CASES["RGBA"][0]
  if mode == "La":
    picture = picture.convert("LA")
  picture = picture.convert(mode)
  if mode == "PA":
    picture.putalpha(Image.fromarray(DISC))
  found = Preprocess((16, 12, 1)).pixels(picture)
  np.testing.assert_array_equal(found[..., 0], SEEN)


@pytest.mark.parametrize("mode", ["1", "L"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grey_is_shrunk_as_all_channels_are(mode, channels):
  random = np.random.RandomState(0)
  picture = Image.fromarray(random.randint(0, 256, (40, 60), np.uint8))
  picture = picture.convert(mode)
  found = Preprocess((8, 6, channels)).pixels(picture)
  wide = picture.convert(preprocess.MODES[channels])
  expected = preprocess._central(wide, 6, 8)
  np.testing.assert_array_equal(
      found, np.asarray(expected).reshape(8, 6, channels)
  )


def test_half_transparent_is_half_white_and_opaque_is_as_it_was():
  random = np.random.RandomState(0)
  colours = random.randint(0, 256, (8, 8, 3), np.uint8)

  def read(opacity):
    alpha = np.full((8, 8, 1), opacity, np.uint8)
    picture = Image.fromarray(np.concatenate([colours, alpha], -1))
    return Preprocess((8, 8, 3)).pixels(picture)

  np.testing.assert_array_equal(read(255), colours)
  expected = colours * (51 / 255) + 255 * (204 / 255)
  np.testing.assert_allclose(read(51), expected, atol=1)


def test_a_network_of_four_channels_reads_the_opacity():
  picture = CASES["RGBA"][0]
  found = Preprocess((16, 12, 4)).pixels(picture)
  np.testing.assert_array_equal(found[..., 3], DISC)
  assert not found[..., :3].any()


def test_a_folder_of_shapes_in_the_opacity_is_no_folder_of_black(tmp_path):
  write(tmp_path, 2, 1)
  for split in ("train", "test"):
    for path in (tmp_path / split).rglob("*.png"):
      CASES["LA"][0].save(path)
  source, _ = load(tmp_path)
  assert source.shape == (16, 12, 1)
  assert (source.train().images[..., 0] == SEEN).all()


# How the pixels of an upright picture are stored under each orientation.
STORED = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda p: np.rot90(p, 1),
    7: lambda p: np.rot90(p, 2).T,
    8: lambda p: np.rot90(p, -1),
}


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "webp"])
def test_pictures_are_upright_as_a_viewer_shows_them(
    orientation, suffix, tmp_path
):
  up = np.zeros((16, 24), np.uint8)
  up[:8, :8] = 250  # a corner
  up[8:, 16:] = 120
  exif = Image.Exif()
  exif[0x0112] = orientation
  path = tmp_path / f"x.{suffix}"
  stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](up)))
  more = {"quality": 100} if suffix == "jpg" else {"lossless": True}
  stored.convert("RGB").save(path, exif=exif, **more)
  with open_picture(path) as picture:
    found = Preprocess((16, 24, 1)).pixels(picture, resize=False)
  np.testing.assert_allclose(found[..., 0], up, atol=3)
  write(tmp_path, 1, 1)
  for file in tmp_path.rglob("*.png"):
    if file.parent != tmp_path:
      file.with_suffix(f".{suffix}").write_bytes(path.read_bytes())
      if suffix != "png":
        file.unlink()
  assert load(tmp_path)[0].shape == (16, 24, 3)


def test_broken_exif_data_leave_a_picture_as_it_is_stored(tmp_path):
  picture = Image.fromarray(np.full((8, 8), 90, np.uint8))
  for exif in (b"Exif\0\0MM\0*\0\0\0", b"Exif\0\0nonsense", b"\0" * 40):
    picture.save(tmp_path / "x.jpg", exif=exif)
    with open_picture(tmp_path / "x.jpg") as stored:
      assert abs(int(Preprocess((8, 8, 1)).pixels(stored).mean()) - 90) < 2


class Trained(model.Model):
  """A model of which only what it reads is there."""

  def __init__(self, shape):
    self._reads = Preprocess(shape)


def test_a_prediction_reads_a_picture_as_the_training_does(tmp_path):
  exif = Image.Exif()
  exif[0x0112] = 6
  path, rgba = tmp_path / "x.png", CASES["RGBA"][0]
  rgba.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
  reads = Trained((16, 12, 3))
  expected = np.stack([SEEN] * 3, -1)
  with Image.open(path) as opened:
    for picture in (path, str(path), opened, rgba, np.asarray(rgba)):
      (found,) = reads._pixels(picture)
      np.testing.assert_array_equal(found, expected)


JUNK = (
    *("@eaDir", "__MACOSX", ".ipynb_checkpoints", "#recycle", "@Recycle"),
    *("$RECYCLE.BIN", "System Volume Information", "lost+found", ".Trash-0"),
    *("__pycache__", ".git", "@__thumb"),
)
FILES = ("Thumbs.db", ".DS_Store", "desktop.ini", "._00.png", "~$x.png")


def test_what_systems_leave_behind_is_left_out_and_counted(tmp_path):
  plain = load(write(tmp_path / "plain"))[0]
  root = write(tmp_path / "with")
  for split in ("train", "test"):
    for place in (root / split, root / split / "a"):
      for name in JUNK:
        (place / name).mkdir()
        (place / name / "x.jpg").write_bytes(b"junk")
      for name in FILES:
        (place / name).write_bytes(b"junk")
  (root / "train" / "b" / "notes.txt").write_text("mine")
  (root / "train" / "labels.csv").write_text("mine")
  (root / "train" / "b" / "masks").mkdir()
  source, told = load(root)
  assert source.names == ("a", "b")
  np.testing.assert_array_equal(source.train().images, plain.train().images)
  of_train, of_test = (line for line in told if line.startswith("Left out"))
  count = 2 * len(JUNK + FILES)
  assert f"{count} files and folders of systems: #recycle (2), $REC" in of_train
  assert "; 2 files that are no pictures: labels.csv, notes.txt;" in of_train
  assert "; 1 folder inside the folder of a class: masks." in of_train
  assert of_test.endswith(" 9 more.")
  assert [f.name for f in model.subfolders(root / "train")] == ["a", "b"]
  assert len(model.pictures(root / "train" / "a")) == 6


def test_numbers_in_the_names_of_classes_sort_as_numbers(tmp_path):
  names = [str(n) for n in (1, 2, 10, 11, 100)]
  source, _ = load(write(tmp_path, 1, 1, names[::-1]))
  assert source.names == tuple(names)
  paths = map(pathlib.Path, ("b", "a10", "a9", "a09", "10", "9", "a", "é2"))
  order = [path.name for path in sorted(paths, key=listing.natural)]
  assert order == ["9", "10", "a", "a09", "a9", "a10", "b", "é2"]


def test_a_name_that_is_no_unicode_can_be_written_and_measured(tmp_path):
  name = os.fsdecode(b"caf\xe9")
  source, told = load(write(tmp_path, 2, 1, ["a", name]))
  assert source.names == ("a", r"caf\xe9")
  "".join([*source.names, *told]).encode()
  found = model.evaluate(
      lambda paths: np.eye(2)[[0, 1]], list(source.names), tmp_path / "test"
  )
  assert found.accuracy == 1.0


def test_the_last_images_keep_the_shares_of_the_classes(tmp_path):
  write(tmp_path, 155, 1, "a")
  write(tmp_path, 5, 1, ["bad"])
  write(tmp_path, 40, 1, "c")
  labels = load(tmp_path)[0].train().labels
  for count in (3, 16, 20, 50, 100):
    found = np.bincount(labels[-count:], minlength=3)
    assert found.min() >= 1
    shares = np.array([155, 5, 40]) * count / 200
    np.testing.assert_allclose(found, shares, atol=1.5)


def test_a_class_without_a_validation_image_is_told():
  labels = np.array([0, 1, 1, 2, 0, 0, 1, 0], np.int32)
  images = Images(np.zeros((8, 4, 4, 1), np.uint8), labels)
  names = ("cat", "dog", "owl")
  source = data.Source((4, 4, 1), 3, lambda: images, list, names=names)
  more, told = {"batch": 2, "pad": 1}, []
  with telling.heard(told.append):
    source.search(valid=2, **more)
    source.search(valid=6, **more)
    source.final(valid=2, measure="valid", eval_batch=1, **more)
  assert [line.partition(". ")[0] for line in told] == [
      "No image to validate on, of 2, is of owl",
      "No image to train on, of 2, is of owl",
      "No image to validate on, of 2, is of owl",
  ]


def test_a_large_picture_is_shrunk_or_refused_in_a_line(tmp_path, monkeypatch):
  # As 20,000 x 9,000 pixels are, but quicker.
  monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
  monkeypatch.setattr(preprocess, "_LARGE", 1000)
  write(tmp_path, 1, 1)
  path = tmp_path / "train" / "a" / "00.png"
  Image.new("1", (200, 90), 1).save(path)
  source, _ = load(tmp_path, size=4)
  assert Image.MAX_IMAGE_PIXELS == 1000  # for others it is as it was
  assert (source.train().images == 255).all((1, 2, 3)).any()
  with pytest.raises(Image.DecompressionBombError):
    Image.open(path)
  monkeypatch.setattr(process, "free_memory", lambda: 10_000)
  with pytest.raises(ConfigError) as caught:
    load(tmp_path, size=4)
  assert str(caught.value) == (
      f"path: {path} has 200 x 90 pixels, which take 0.0 GB of memory to read;"
      " 0.0 GB are free."
  )


@pytest.mark.parametrize("name", ["folder", "synthetic"])
def test_images_that_the_memory_cannot_hold_are_refused(
    name, tmp_path, monkeypatch
):
  def never(*unused, **also_unused):
    raise AssertionError("An image was read.")

  monkeypatch.setattr(Preprocess, "pixels", never)
  where = {"path": str(write(tmp_path))} if name == "folder" else {}
  source = data.load(name, size=200_000, **where)
  line = r"^size: [0-9,]+ images of 200,000 x 200,000 .* take [0-9,.]+ GB of"
  with pytest.raises(ConfigError, match=line) as caught:
    source.train()
  assert "\n" not in str(caught.value)
  # What is drawn is in memory in any case.
  assert ("config.data.stream" in str(caught.value)) == (name == "folder")


def test_memory_is_the_least_that_the_system_and_limits_leave(monkeypatch):
  files = {
      "/proc/meminfo": "MemTotal: 90 kB\nMemAvailable:   4000 kB\n",
      "/sys/fs/cgroup/memory.max": "3000000\n",
      "/sys/fs/cgroup/memory.current": "2000000\n",
      "/sys/fs/cgroup/memory.stat": "anon 1\ninactive_file 500\n",
  }

  def read(path, encoding):
    if str(path) not in files:
      raise FileNotFoundError(path)
    return files[str(path)]

  monkeypatch.setattr(pathlib.Path, "read_text", read)
  assert process.free_memory() == 1_000_500
  files["/sys/fs/cgroup/memory.max"] = "max\n"
  assert process.free_memory() == 4_096_000
  del files["/proc/meminfo"]
  assert process.free_memory() > 2**28  # all that there is


def test_one_level_of_folders_inside_a_class_is_read(tmp_path):
  plain = load(write(tmp_path / "plain"))[0]
  root = write(tmp_path / "deep")
  for each in [*root.glob("*/*")]:
    each.rename(root / "moved")
    each.mkdir()
    (root / "moved").rename(each / "images")
    (each / "boxes.txt").write_text("0 0 4 4")
  source, told = load(root)
  np.testing.assert_array_equal(source.train().images, plain.train().images)
  assert "2 files that are no pictures: boxes.txt (2)." in told[0]
  (root / "train" / "a" / "images").rename(root / "train" / "a" / "x")
  deeper = root / "train" / "a" / "y"
  deeper.mkdir()
  (root / "train" / "a" / "x").rename(deeper / "x")
  with pytest.raises(ConfigError, match=r"no image in .*a nor in x \("):
    load(root)


def test_a_split_that_is_flat_or_missing_is_said(tmp_path):
  write(tmp_path)
  (tmp_path / "test").rename(tmp_path / "val")
  with pytest.raises(ConfigError) as caught:
    load(tmp_path)
  assert str(caught.value) == (
      f"path: there is no folder {tmp_path}/test; {tmp_path} has train, val. It"
      " needs train and test, each with a folder for each class."
  )
  flat = tmp_path / "test" / "images"
  flat.mkdir(parents=True)
  for n, path in enumerate([*(tmp_path / "val").rglob("*.png")]):
    path.rename(flat / f"{n}.png")
  with pytest.raises(ConfigError) as caught:
    load(tmp_path)
  assert str(caught.value) == (
      f"path: {tmp_path}/test needs a folder for each of at least 2 classes, it"
      " has 1 (images), and 6 pictures that say no class."
  )


def test_reading_tells_what_how_many_and_how_long(tmp_path, monkeypatch):
  _, told = load(write(tmp_path))
  assert told == [
      "Pictures are read as 4 x 4 pixels in 1 channel.",
      f"Read 12 pictures in {tmp_path}/train in 0:00:00.",
      f"Read 6 pictures in {tmp_path}/test in 0:00:00.",
  ]
  now, told = [0.0], []
  monkeypatch.setattr(telling.time, "monotonic", lambda: now[0])
  with telling.heard(told.append):
    for _ in telling.counted(range(60_000), "pictures in D"):
      now[0] += 0.001
  assert told[:2] == [
      "Reading 60,000 pictures in D: 2,001 are read, about 0:00:58 left.",
      "Reading 60,000 pictures in D: 4,001 are read, about 0:00:56 left.",
  ]
  assert told[-1] == "Read 60,000 pictures in D in 0:01:00."
  assert len(told) == 6  # after 2, 4, 8, 16 and 32 seconds, and at last
  telling.tell("nobody listens")
  with telling.heard(told.append):
    [*telling.counted(range(9), "headers in D", brief=True)]
  assert len(told) == 6


def test_it_is_told_how_many_pictures_are_of_another_kind(
    tmp_path, monkeypatch
):
  folder = write(tmp_path) / "train"
  Image.new("RGB", (4, 4)).save(folder / "a" / "00.png")
  Image.new("RGB", (9, 4)).save(folder / "b" / "00.png")
  line = "Pictures are read as 4 x 4 pixels in 3 channels."
  assert load(tmp_path, size=4)[1][0] == (
      f"{line} Among the 12 in {folder}: 10 grey; 1 of another size, cut to a"
      " square and resized."
  )
  monkeypatch.setattr(reader, "_FEW", 11)  # then not all headers are read
  assert load(tmp_path, size=4)[1][0] == line


@pytest.mark.parametrize("read", [whole, lambda all_: surveyed(all_, 0)])
@pytest.mark.parametrize("size", [4, None])
def test_all_broken_pictures_are_one_line(read, size, tmp_path, monkeypatch):
  monkeypatch.setattr(examples, "_CHUNK", 5)
  folder = write(tmp_path) / "train" / "a"
  names = ["00.png", "03.png", "05.png"]
  for name in names:
    (folder / name).write_bytes(b"no picture")
  pictures = data.load("folder", path=str(tmp_path), size=size).train.found()
  with pytest.raises(ConfigError) as caught:
    read(pictures)
  line = str(caught.value)
  assert line.startswith(f"path: 3 pictures cannot be read: {folder}")
  assert all(str(folder / name) in line for name in names)
  assert line.endswith(
      "). Delete or replace them, and type the same command again."
  )
  for path in folder.parent.rglob("*.png"):
    path.write_bytes(b"no picture")
  with pytest.raises(ConfigError, match="cannot"):
    read(data.load("folder", path=str(tmp_path), size=size).train.found())


def test_a_missing_folder_or_a_foreign_file_is_a_line():
  with pytest.raises(ConfigError, match=r"^path: there is no folder "):
    listing.listed(pathlib.Path("/nowhere/at/all"))
  with pytest.raises(ConfigError, match=r"^path: cannot read "):
    open_picture(io.BytesIO(b"no picture\nat all"))


def test_broken_pictures_and_texts_are_read_or_refused_in_a_line(tmp_path):
  for attack in (mutated_data.pictures, mutated_data.texts):
    found = attack(tmp_path, 300)
    assert sum(found.values()) == 300
    for what in ("read", "refused"):
      count = sum(n for key, n in found.items() if key.endswith(what))
      assert count > 40, (found, what)
