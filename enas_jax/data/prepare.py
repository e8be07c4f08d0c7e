r"""Downloads and prepares a TFDS set, once, for enas_jax to read.

  python -m enas_jax.data.prepare NAME [--data_dir=D]

cifar10 and cifar100 need no TensorFlow. For other sets TFDS may need it, here
and not afterwards.
"""

import sys
import tarfile
import urllib.error
import urllib.parse
import urllib.request

from absl import app, flags, logging
import numpy as np

from enas_jax.data import tfds as sets
from enas_jax.errors import ConfigError

_PIXELS = 32 * 32 * 3
_SECONDS = 5  # to wait for a host

_DATA_DIR = flags.DEFINE_string(
    "data_dir", None, "where the sets are kept; default: as TFDS"
)


def prepare(name: str, data_dir: str | None) -> str:
  """Prepares a set, unless it is there already.

  Returns:
    The folder of the prepared set.

  Raises:
    ConfigError: The key is "name": it is no image set, there is no network, the
      download is broken, or TensorFlow is needed.
  """
  import tensorflow_datasets as tfds
  from tensorflow_datasets.core.download import download_manager, util

  builder = _cifar(name, data_dir) or sets.make_builder(
      name, data_dir, file_format="array_record"
  )
  sets.find_features(name, builder)
  if not builder.is_prepared():
    for url in list(builder.url_infos or ())[:1]:
      _reach(url)
    # TFDS's own copy in Google's cloud is not in a format that we can read.
    config = tfds.download.DownloadConfig(
        try_download_gcs=False, force_checksums_validation=True
    )
    try:
      builder.download_and_prepare(download_config=config)
    except ImportError as error:
      if "tensorflow" not in str(error).lower():
        raise
      raise ConfigError(
          "name",
          "TFDS needs TensorFlow to prepare this set (not to read it):"
          " pip install tensorflow",
      ) from None
    except (
        OSError,
        download_manager.NonMatchingChecksumError,
        util.DownloadError,
    ) as error:
      reason = str(error).partition("\n")[0]
      raise ConfigError("name", reason) from None
  return str(builder.data_path)


def _reach(url: str) -> None:
  """Raises ConfigError at once where TFDS would retry for minutes."""
  request = urllib.request.Request(url, method="HEAD")
  try:
    urllib.request.urlopen(request, timeout=_SECONDS).close()
  except urllib.error.HTTPError:
    pass  # an answer all the same
  except OSError as error:
    host = urllib.parse.urlsplit(url).hostname
    reason = getattr(error, "reason", error)
    raise ConfigError(
        "name", f"cannot download from {host}: {reason}"
    ) from None


def _cifar(name: str, data_dir: str | None):
  """Makes the stock builder without TensorFlow; None for other sets."""
  from tensorflow_datasets.core import registered
  from tensorflow_datasets.image_classification import cifar

  stock = {"cifar10": cifar.Cifar10, "cifar100": cifar.Cifar100}.get(name)
  if stock is None:
    return None
  changes = {
      "_split_generators": _split,
      "_generate_examples": _examples,
      # TFDS would look for the checksums beside this file.
      "url_infos": stock.url_infos,
  }
  with registered.skip_registration():
    builder = type(stock.__name__, (stock,), changes)
  return builder(data_dir=data_dir, file_format="array_record")


def _split(self, dl_manager):
  """Replaces the stock step, which needs TensorFlow to unpack, by Python's."""
  info = self._cifar_info
  archive = dl_manager.download(info.url)
  with tarfile.open(archive) as tar:

    def read(file):
      return tar.extractfile(info.prefix + file).read()

    for key, file in zip(info.label_keys, info.label_files, strict=True):
      self.info.features[key].names = read(file).decode().split()
    train = b"".join(map(read, info.train_files))
    test = b"".join(map(read, info.test_files))
  return {
      "train": self._generate_examples("train_", train),
      "test": self._generate_examples("test_", test),
  }


def _examples(self, prefix, data):
  """Replaces the stock step, which needs TensorFlow to encode its arrays."""
  from PIL import Image

  keys = self._cifar_info.label_keys
  # A record has a byte for each label, then the planes red, green and blue.
  records = np.frombuffer(data, np.uint8).reshape(-1, len(keys) + _PIXELS)
  for index, record in enumerate(records):
    image = record[len(keys) :].reshape(3, 32, 32).transpose(1, 2, 0)
    yield index, {
        "id": f"{prefix}{index:05d}",
        "image": Image.fromarray(image),
        **{key: int(record[i]) for i, key in enumerate(keys)},
    }


def main(argv: list[str]) -> None:
  """Prepares the set named on the command line."""
  if len(argv) != 2:
    raise app.UsageError("give one name, for example cifar10")
  logging.set_verbosity(logging.ERROR)
  try:
    folder = prepare(argv[1], _DATA_DIR.value)
  except ConfigError as error:
    print(f"prepare {argv[1]}: {error.message}", file=sys.stderr)
    sys.exit(2)
  print(f"{argv[1]} is prepared in {folder}")


if __name__ == "__main__":
  app.run(main)
