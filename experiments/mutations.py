"""Is a broken model or architecture refused in a line, whatever is broken?

  python -m experiments.mutations --model=F [--count=1000 --seed=0]
  python -m experiments.mutations --archs=100000 [--seed=0]

Loads `count` copies of the model in F, each with one thing wrong: half of them
in `model.json`, half in `weights.safetensors`, and half of these with a hash
that fits. A copy is either taken, as a changed metric is no mistake, or refused
in one line that names its file; anything else ends this with a traceback.

Memory is measured in a process of its own that has loaded the model before.
The system refuses it more than --megabytes of addresses on top of what it has
then (RLIMIT_AS), so that what asks for more fails; and the pages that it came
to hold (peak RSS) are told.

With --archs, so many broken files of an architecture are read, of each space in
turn: an `arch.json` with one value changed or with bytes spoiled, a file of
integers, and JSON of others.
"""

import argparse
import collections
import functools
import json
import pathlib
import random
import resource
import shutil
import tempfile
import time

import jax
import numpy as np

import enas_jax
from enas_jax import archfile, modelfile
from enas_jax.errors import ConfigError
from enas_jax.spaces import SPACES
from enas_jax.strategies.random import random as uniform
from enas_jax.types import SearchSpace

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


def attack_archs(path: pathlib.Path, count: int, seed: int = 0):
  """Reads broken files of archs; counts what became of them.

  Args:
    path: the file that is written again and again.
    count: how many.
    seed: of what is broken.

  Returns:
    {"arch taken": n, "arch refused": n}
  """
  rng, found = random.Random(seed), collections.Counter()
  own = [(name, *_sample(name)) for name in SPACES]
  for number in range(count):
    name, content, integers = own[number % len(own)]
    raw = json.dumps(content).encode()
    kind = rng.randrange(4)
    if kind == 0:
      raw = json.dumps(_mutated(json.loads(raw), rng)).encode()
    elif kind == 1:
      raw = spoiled(raw, rng)
    elif kind == 2:
      raw = spoiled(integers, rng)
    else:
      raw = json.dumps(_foreign(rng, 4)).encode()
    path.write_bytes(raw)
    try:
      brought = archfile.brought("arch", str(path), SPACES[name], name)
      space = _space(name, tuple(sorted(brought.items())))
      arch = archfile.parse("arch", str(path), space)
      assert archfile.described(arch, space)
      found["arch taken"] += 1
    except ConfigError as error:
      assert "\n" not in str(error), raw
      assert "Traceback" not in str(error), raw
      found["arch refused"] += 1
  return found


_SMALL = {"micro": {"nodes": 2}, "macro": {"layers": 3}, "recurrent": {}}


@functools.lru_cache(maxsize=256)
def _space(name: str, values: tuple) -> SearchSpace:
  """Returns a space; the codec of each is made once."""
  return SPACES[name](**{**_SMALL.get(name, {}), **dict(values)})


def _sample(name: str) -> tuple[dict, bytes]:
  """Returns an `arch.json` of a space, and its integers as programs print."""
  space = _space(name, ())
  arch = jax.device_get(uniform(space).ask((), jax.random.key(0)))
  facts = {"space": {"name": name, **_SMALL.get(name, {})}, "score": 0.5}
  content = archfile.record(space.unflatten(space.flatten(arch)), space, facts)
  return content, str(content["encoding"]).replace(", ", " ").encode()


def _foreign(rng: random.Random, depth: int) -> object:
  """Returns some value of JSON, as another program may have written it."""
  kind = rng.randrange(3) if depth else 2
  if kind == 0:
    return [_foreign(rng, depth - 1) for _ in range(rng.randrange(4))]
  if kind == 1:
    keys = rng.sample(["space", "encoding", "name", "format", "arch", "op"], 3)
    return {key: _foreign(rng, depth - 1) for key in keys}
  return rng.choice([*_STRANGE, "micro", "macro", 1, 0.5, "op_1"])


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
  text = pathlib.Path("/proc/self/status").read_text(encoding="utf-8")
  line = next(li for li in text.splitlines() if li.startswith(what))
  return int(line.split()[1]) // 1000


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument("--model", type=pathlib.Path)
  parser.add_argument("--archs", type=int, default=0)
  parser.add_argument("--count", type=int, default=1000)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--megabytes", type=int, default=512)
  given = parser.parse_args()
  if given.archs:
    with tempfile.TemporaryDirectory() as root:
      path = pathlib.Path(root) / "arch.json"
      print(json.dumps(attack_archs(path, given.archs, given.seed)))
    return
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
