"""Is a broken picture or text refused in a line, whatever is broken?

  python -m experiments.mutated_data [--count=50000 --seed=0]

Reads `count` broken pictures, in every format and mode that data/folder.py
takes, with orientations and transparency, and `count` broken texts. Of each
file some bytes are changed, cut or repeated, once or several times. It is
either read, as many a changed byte is another pixel, or refused in one line
that names the file; anything else ends this with a traceback. The system
refuses more than --megabytes of addresses on top of what is taken at first.
"""

import argparse
import collections
import io
import json
import pathlib
import random
import resource
import tempfile
import time

import numpy as np
from PIL import Image

from enas_jax.data import ptb
from enas_jax.data.preprocess import open_picture, Preprocess
from enas_jax.errors import ConfigError
from experiments.mutations import of_process, spoiled

_MOST = 4  # bytes or places that are broken in one file
_LINE = 1500  # characters of an error
_FORMATS = {
    "bmp": ("1", "L", "P", "RGB"),
    "gif": ("L", "P", "RGB"),
    "jpg": ("L", "RGB", "CMYK"),
    "pgm": ("L",),
    "png": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "ppm": ("RGB",),
    "tiff": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK"),
    "webp": ("RGB", "RGBA"),
}
_WITH_EXIF = ("jpg", "png", "tiff", "webp")
_TEXTS = tuple(
    content.replace("\n", end).encode(encoding)
    for content in ("the cat <unk> sat\non the mat\n\n", "één café\n日本 語\n")
    for end in ("\n", "\r\n")
    for encoding in ("utf-8", "utf-8-sig", "utf-16")
)


def pictures(path: pathlib.Path, count: int, seed: int = 0):
  """Reads broken pictures; counts what became of them.

  Args:
    path: The folder where they are made, one after the other.
    count: How many.
    seed: The seed of what is broken.

  Returns:
    {"png read": n, "png refused": n, ...}
  """
  rng, found = random.Random(seed), collections.Counter()
  whole = [*_whole()]
  for number in range(count):
    suffix, raw = whole[number % len(whole)]
    file = path / f"x.{suffix}"
    file.write_bytes(_broken(raw, rng))
    reads = Preprocess((8, 8, rng.choice([1, 3, 4])))

    def read():
      with open_picture(file) as picture:  # noqa: B023
        pixels = reads.pixels(picture)  # noqa: B023
      assert pixels.dtype == np.uint8 and pixels.shape == reads.shape  # noqa: B023

    found[f"{suffix} {_outcome(read, file)}"] += 1
    file.unlink()
  return found


def texts(path: pathlib.Path, count: int, seed: int = 0):
  """Reads broken texts; arguments and result are those of `pictures`."""
  rng, found = random.Random(seed), collections.Counter()
  files = [path / f"{part}.txt" for part in ("train", "valid", "test")]
  for number in range(count):
    raw = _TEXTS[number % len(_TEXTS)]
    broken = rng.choice(files)
    for file in files:
      file.unlink(missing_ok=True)  # quicker than to write over it
      file.write_bytes(_broken(raw, rng) if file == broken else raw)
    options = {
        "unit": rng.choice(["word", "character"]),
        "vocabulary": rng.choice([None, 3, 9]),
    }

    def read():
      source = ptb.load(path=str(path), **options)  # noqa: B023
      for numbers in (source.train(), source.valid(), source.test()):
        assert numbers.dtype == np.int32 and len(numbers)
        assert 0 <= numbers.min() <= numbers.max() < source.vocabulary

    found[f"text {_outcome(read, path)}"] += 1
  return found


def _outcome(read, place: pathlib.Path) -> str:
  """Reads, or is refused in one line that names the place; says which."""
  try:
    read()
  except ConfigError as error:
    assert str(place) in str(error), error
    assert "\n" not in str(error) and len(str(error)) < _LINE, error
    return "refused"
  return "read"


def _broken(raw: bytes, rng: random.Random) -> bytes:
  for _ in range(rng.randrange(1, _MOST)):
    raw = spoiled(raw, rng) if raw else raw
  return raw


def _whole():
  """Yields the suffix and the bytes of pictures of every kind."""
  random = np.random.RandomState(0)
  pixels = Image.fromarray(random.randint(0, 256, (12, 10, 4), np.uint8))
  for suffix, modes in _FORMATS.items():
    Image.init()
    form = Image.EXTENSION[f".{suffix}"]
    for mode in modes:
      picture, more = pixels.convert("RGB").convert(mode), {}
      if mode in ("LA", "RGBA"):
        picture = pixels.convert(mode)
      if suffix in _WITH_EXIF:
        more["exif"] = exif = Image.Exif()
        exif[0x0112] = 6
      if suffix in ("gif", "png") and mode == "P":
        more["transparency"] = 3
      out = io.BytesIO()
      picture.save(out, form, **more)
      yield suffix, out.getvalue()


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument("--count", type=int, default=50_000)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--megabytes", type=int, default=2000)
  given = parser.parse_args()
  # A header may claim more pixels than the machine should give.
  most = (of_process("VmSize") + given.megabytes) * 1000 * 1024
  resource.setrlimit(resource.RLIMIT_AS, (most, most))
  for attack in (pictures, texts):
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as root:
      found = attack(pathlib.Path(root), given.count, given.seed)
    seconds = round(time.monotonic() - begun)
    print(json.dumps({**dict(sorted(found.items())), "seconds": seconds}))


if __name__ == "__main__":
  main()
