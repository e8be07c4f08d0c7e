"""Is a broken model refused in a line, whatever is broken?

  python -m experiments.mutations --model=F [--count=1000 --seed=0]

Loads `count` copies of the model in F, each with one thing wrong: half of them
in `model.json`, half in `weights.safetensors`, and half of these with a hash
that fits. A copy is either taken, as a changed metric is no mistake, or refused
in one line that names its file; anything else ends this with a traceback.

Memory is measured in a process of its own that has loaded the model before.
The system refuses it more than --megabytes of addresses on top of what it has
then (RLIMIT_AS), so that what asks for more fails; and the pages that it came
to hold (peak RSS) are told.
"""

import argparse
import collections
import json
import pathlib
import random
import resource
import shutil
import tempfile
import time

import numpy as np

import enas_jax
from enas_jax import modelfile
from enas_jax.errors import ConfigError

_STRANGE = [None, -1, 0, 2**70, 1e300, "x", [], {}, True, [[]], "é" * 9]
_HEADER = 1 << 12  # bytes of the weights that are broken on purpose
_LINE = 1500  # characters of an error


def attack(own: pathlib.Path, path: pathlib.Path, count: int, seed: int = 0):
  """Loads broken copies of a model; counts what became of them.

  Args:
    own: the folder of the model.
    path: where the copies are made, one after the other.
    count: how many.
    seed: of what is broken.

  Returns:
    {"json taken": n, "json refused": n, "weights refused": n, ...}
  """
  shutil.copytree(own, path)
  words, held = path / modelfile.JSON, path / modelfile.WEIGHTS
  raw, weights = words.read_bytes(), held.read_bytes()
  rng, found = random.Random(seed), collections.Counter()
  for number in range(count):
    content, kind = json.loads(raw), ("json", "json", "weights", "weights")
    if number % 4 == 0:
      words.write_text(json.dumps(_mutated(content, rng)))
    elif number % 4 == 1:
      words.write_bytes(spoiled(raw, rng))
    elif number % 4 == 2:  # by accident
      held.write_bytes(spoiled(weights, rng))
    else:  # on purpose, mostly in the header
      start = spoiled(weights[:_HEADER], rng)
      held.write_bytes(start + weights[_HEADER:])
      content["weights"]["sha256"] = modelfile._hash(held)
      words.write_text(json.dumps(content))
    taken = _loads(path)
    damaged = number % 4 == 2 and held.read_bytes() != weights
    assert not (damaged and taken), "damaged weights were taken"
    found[f"{kind[number % 4]} {'taken' if taken else 'refused'}"] += 1
    words.write_bytes(raw)
    held.write_bytes(weights)
  assert _loads(path), "the model itself was refused"
  return found


def _mutated(content: dict, rng: random.Random) -> dict:
  """Returns a JSON value in which one thing is not what it was."""
  places = []

  def walk(value):
    keys = value if isinstance(value, dict) else range(len(value))
    for key in keys:
      places.append((value, key))
      if isinstance(value[key], (dict, list)):
        walk(value[key])

  walk(content)
  holder, key = rng.choice(places)
  kind = rng.randrange(3)
  if kind == 0:
    del holder[key]
  elif kind == 1 and type(holder[key]) is int:
    holder[key] *= rng.choice([-1, 3, 1000, 10**9])
  else:
    holder[key] = rng.choice(_STRANGE)
  return content


def spoiled(raw: bytes, rng: random.Random) -> bytes:
  """Returns bytes of which some are cut, changed or repeated."""
  raw, at = bytearray(raw), rng.randrange(len(raw))
  kind = rng.randrange(4)
  if kind == 0:
    return bytes(raw[:at])
  if kind == 1:
    raw[at] ^= 1 << rng.randrange(8)
  elif kind == 2:
    raw[at : at + 8] = rng.randbytes(8)
  else:
    raw[:8] = rng.choice([1, 2**20, 2**40, 2**63]).to_bytes(8, "little")
  return bytes(raw)


def _loads(path: pathlib.Path) -> bool:
  """Loads, or is refused in one line that names the file; says which."""
  try:
    loaded = enas_jax.load(path)
  except ConfigError as error:
    assert str(path) in str(error)
    assert "\n" not in str(error) and len(str(error)) < _LINE
    assert "MemoryError" not in str(error), error
    return False
  # What is taken can be used; of pictures this compiles nothing.
  if loaded.classes:
    assert all(type(name) is str for name in loaded.classes)
    pixels = np.zeros(loaded._reads.shape, np.uint8)
    assert np.isfinite(loaded._reads.normalise(pixels)).all()
  else:
    assert type(loaded.perplexity(np.arange(4))) is float
  return True


def of_process(what: str) -> int:
  """Returns a number of /proc/self/status, in MB."""
  text = pathlib.Path("/proc/self/status").read_text()
  line = next(li for li in text.splitlines() if li.startswith(what))
  return int(line.split()[1]) // 1000


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument("--model", type=pathlib.Path, required=True)
  parser.add_argument("--count", type=int, default=1000)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--megabytes", type=int, default=512)
  given = parser.parse_args()
  own, begun = modelfile.find(given.model).parent, time.monotonic()
  with tempfile.TemporaryDirectory() as root:
    # Threads and caches are there before anything is measured.
    attack(own, pathlib.Path(root) / "first", 20, given.seed + 1)
    before = of_process("VmHWM")
    most = (of_process("VmSize") + given.megabytes) * 1000 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    found = attack(own, pathlib.Path(root) / "model", given.count, given.seed)
  result = {
      **dict(sorted(found.items())),
      "peak_mb_before": before,
      "peak_mb_after": of_process("VmHWM"),
      "seconds": round(time.monotonic() - begun),
  }
  print(json.dumps(result))


if __name__ == "__main__":
  main()
