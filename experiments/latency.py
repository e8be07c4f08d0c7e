"""How long does a prediction take, beside eager PyTorch?

  python -m experiments.latency [--size=cifar --repeat=15]

Times `Model.predict` of a final micro network, from pixels to probabilities on
the host, for one image and for 64, and the same network in eager PyTorch
(`pip install torch`), as users write it and tuned; see speed/final.py. PyTorch
has a process of its own. All take turns; a run of itself comes before each that
is timed. Weights are those before a training: none of it matters for the time.
The sizes are those of configs/digits_micro_final.py and cifar_micro_final.py.
The last line is one JSON object: medians in ms, images a second by them, and
the median of the ratios of those that were timed after each other.
"""

from enas_jax import process

if __name__ == "__main__":
  process.start_anew()  # as a run has it

import argparse
import functools
import importlib.util
import json
import pathlib
import time

import jax
import numpy as np

import enas_jax
from enas_jax import model, remade

_BATCHES = 1, 64
# Preset, cells, filters, and the shape of an image.
SIZES = {
    "digits": ("digits_micro", 1, 16, (8, 8, 1)),
    "cifar": ("enas_micro", 15, 36, (32, 32, 3)),
}
_PAUSE = 0.05  # the threads of PyTorch spin for a while


def made(size: str, batch: int) -> model.Model:
  """Returns a model that has not been trained."""
  preset, cells, filters, shape = SIZES[size]
  net = enas_jax.network(
      preset, classes=10, cells=cells, filters=filters, aux=False
  )
  image = jax.ShapeDtypeStruct((1, *shape), np.float32)
  variables = net.lazy_init(jax.random.key(0), image, train=False)
  images = {"shape": shape, "classes": [*map(str, range(10))]}
  images.update(mean=[0.5] * shape[-1], std=[0.25] * shape[-1])
  held = {"params": variables.pop("params"), "state": variables}
  parts = remade.Parts(net.space, net.inside, net.arch, None)
  return model.Model(
      pathlib.Path(), {"images": images}, parts, held, batch
  )


def runs(size: str, others: bool) -> dict:
  """Returns {name: a run for each of the batches}."""
  _, cells, filters, shape = SIZES[size]
  rng, found = np.random.default_rng(0), {"ours": []}
  for batch in _BATCHES:
    loaded = made(size, batch)
    pixels = rng.integers(0, 256, (batch, *shape), np.uint8)
    found["ours"].append(functools.partial(loaded.predict, pixels))
  if others:
    from experiments.speed import apart

    tables = [table.tolist() for table in loaded.arch]
    programs = apart.programs(
        "final", tables, cells, filters, shape, _BATCHES
    )
    found.update({name: run(None) for name, run in programs.items()})
  return found


def measured(size: str, repeat: int, others: bool) -> dict:
  """Returns the numbers of one size."""
  programs, result = runs(size, others), {"size": size}
  for n, batch in enumerate(_BATCHES):
    times = {name: [] for name in programs}
    for turn in range(repeat):
      order = list(programs)[:: 1 if turn % 2 else -1]
      for name in order:
        times[name].append(_seconds(programs[name][n]))
    for name, each in times.items():
      median = float(np.median(each))
      result[f"{name}_ms_{batch}"] = round(1e3 * median, 3)
      result[f"{name}_images_per_second_{batch}"] = round(batch / median, 1)
      if name != "ours":
        ratios = np.divide(each, times["ours"])
        result[f"{name}_over_ours_{batch}"] = round(float(np.median(ratios)), 2)
  return result


def _seconds(run) -> float:
  time.sleep(_PAUSE)
  run()
  start = time.perf_counter()
  run()
  return time.perf_counter() - start


def main() -> None:
  parser = argparse.ArgumentParser()
  parser.add_argument("--size", choices=SIZES, default="digits")
  parser.add_argument("--repeat", type=int, default=15)
  given = parser.parse_args()
  others = importlib.util.find_spec("torch") is not None
  if not others:
    print("PyTorch is not installed; only ours is timed.")
  print(json.dumps(measured(given.size, given.repeat, others)))


if __name__ == "__main__":
  main()
