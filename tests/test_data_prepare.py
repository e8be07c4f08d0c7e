"""CIFAR from its official archive, without TensorFlow."""

import io
import sys
import tarfile
import tempfile
import types
import urllib.error

import numpy as np
import pytest
from tensorflow_datasets.core.download import download_manager

from enas_jax import data
from enas_jax.data import prepare
from enas_jax.errors import ConfigError

COUNT = 5  # records of a file
TEN = [f"data_batch_{i}.bin" for i in range(1, 6)]
FORMS = {
    "cifar10": ("cifar-10-batches-bin", TEN, "test_batch.bin", 10, 1),
    "cifar100": ("cifar-100-binary", ["train.bin"], "test.bin", 100, 2),
}


@pytest.fixture(autouse=True)
def no_litter(tmp_path, monkeypatch):
  # TFDS leaves a temporary folder behind for each set that it prepares.
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def write_archive(name, path):
  """An archive of the official form: {split: {(label, image bytes)}}."""
  folder, train, test, classes, labels = FORMS[name]
  random = np.random.RandomState(0)
  files = {"batches.meta.txt": lines(10)}
  if name == "cifar100":
    files = {
        "coarse_label_names.txt": lines(20),
        "fine_label_names.txt": lines(100),
    }
  expected = {"train": set(), "test": set()}
  for file in [*train, test]:
    content = b""
    for _ in range(COUNT):
      label = int(random.randint(classes))
      planes = random.randint(0, 256, (3, 32, 32), np.uint8)
      content += bytes([7, label][-labels:]) + planes.tobytes()
      image = np.moveaxis(planes, 0, -1).tobytes()
      expected["test" if file == test else "train"].add((label, image))
    files[file] = content
  with tarfile.open(path, "w:gz") as tar:
    for file, content in files.items():
      entry = tarfile.TarInfo(f"{folder}/{file}")
      entry.size = len(content)
      tar.addfile(entry, io.BytesIO(content))
  return expected


def lines(count):
  # The official file ends with an empty line.
  return "".join(f"name{i}\n" for i in range(count)).encode() + b"\n"


@pytest.fixture
def online(monkeypatch):
  monkeypatch.setattr(
      prepare.urllib.request, "urlopen", lambda *a, **k: io.BytesIO()
  )


@pytest.mark.parametrize("name", FORMS)
def test_the_images_of_the_archive_come_back(
    name, tmp_path, monkeypatch, online
):
  expected = write_archive(name, tmp_path / "archive.tar.gz")
  asked = []

  def download(self, url):
    asked.append((url, self._url_infos[url].checksum))
    return tmp_path / "archive.tar.gz"

  manager = download_manager.DownloadManager
  monkeypatch.setattr(manager, "download", download)
  monkeypatch.setattr(manager, "download_and_extract", None)  # TensorFlow's
  root = str(tmp_path / "sets")
  prepare.prepare(name, root)
  prepare.prepare(name, root)  # is there already
  [(url, checksum)] = asked
  assert url.startswith("https://www.cs.toronto.edu/~kriz/cifar-10")
  assert len(checksum) == 64

  source = data.load(name, path=root)
  assert (source.shape, source.classes) == ((32, 32, 3), FORMS[name][3])
  for split in ("train", "test"):
    images, labels = getattr(source, split)()
    found = {
        (label, image.tobytes())
        for image, label in zip(images, labels, strict=True)
    }
    assert found == expected[split]
  assert "tensorflow" not in sys.modules


def run(monkeypatch, *arguments, data_dir):
  value = types.SimpleNamespace(value=str(data_dir))
  monkeypatch.setattr(prepare, "_DATA_DIR", value)
  with pytest.raises(SystemExit) as caught:
    prepare.main(["prepare", *arguments])
  return caught.value.code


def test_without_a_network_it_ends_at_once(monkeypatch, tmp_path, capsys):
  def refuse(*unused, timeout):
    assert timeout <= 5
    raise urllib.error.URLError("no network")

  monkeypatch.setattr(prepare.urllib.request, "urlopen", refuse)
  assert run(monkeypatch, "cifar10", data_dir=tmp_path) == 2
  assert capsys.readouterr().err == (
      "prepare cifar10: cannot download from www.cs.toronto.edu: no network\n"
  )


def test_an_answer_of_any_kind_is_a_network(monkeypatch):
  def answer(request, timeout):
    raise urllib.error.HTTPError(request.full_url, 405, "no", {}, None)

  monkeypatch.setattr(prepare.urllib.request, "urlopen", answer)
  prepare._reach("https://example.com/x")


@pytest.mark.parametrize(
    "error, line",
    [
        (
            download_manager.NonMatchingChecksumError("wrong\n* Expected"),
            "name: wrong",
        ),
        (ConnectionError("cut off"), "name: cut off"),
        (
            ModuleNotFoundError("No module named 'tensorflow'"),
            "name: .* pip install tensorflow",
        ),
    ],
)
def test_what_goes_wrong_is_one_line(
    error, line, tmp_path, monkeypatch, online
):
  def download(self, url):
    raise error

  monkeypatch.setattr(download_manager.DownloadManager, "download", download)
  with pytest.raises(ConfigError, match=f"^{line}$"):
    prepare.prepare("cifar10", str(tmp_path))


@pytest.mark.parametrize(
    "name, line",
    [
        ("cfar10", "TFDS cannot offer 'cfar10': Dataset cfar10 not found"),
        ("lsun", "'lsun' is not a set of images with one class each"),
    ],
)
def test_only_image_sets_are_prepared(name, line, tmp_path):
  with pytest.raises(ConfigError, match=f"^name: {line}"):
    prepare.prepare(name, str(tmp_path))


def test_an_error_names_what_was_to_be_prepared(monkeypatch, tmp_path, capsys):
  assert run(monkeypatch, "cfar10", data_dir=tmp_path) == 2
  assert capsys.readouterr().err == (
      "prepare cfar10: TFDS cannot offer 'cfar10': Dataset cfar10 not found.\n"
  )
