"""Reads a benchmark: the score of every arch of a space when trained alone.

It is an `.npz` file with these arrays, which have one row for each arch:

  ops            i[n, J], the integers of its encoding
  arch           U[n], the same arch in the space's own notation; this second
                 form makes sure that no table of other operations is misread
  cifar10_test   f[n], test accuracy in percent, after the full training
  cifar10_valid  f[n], validation accuracy in percent, after the full training

Other arrays, such as parameter counts, are not read. NAS-Bench-201 (Dong & Yang
2020) in this form has n = 15,625 rows of J = 6 edges, trained for 200 epochs.
"""

from collections.abc import Sequence
import math
import pathlib
from typing import Any
import zipfile
import zlib

import numpy as np

from enas_jax.derive import ranking
from enas_jax.errors import ConfigError
from enas_jax.types import Benchmark, SearchSpace

# The errors that numpy raises at a file that is no table.
_BROKEN = (
    *(ValueError, KeyError, TypeError, EOFError, OSError),
    *(zipfile.BadZipFile, zlib.error),
)
_KEYS = ("ops", "arch", "cifar10_test", "cifar10_valid")


def read(key: str, path: str, space: SearchSpace) -> Benchmark:
  """Returns the table in the file `path`.

  Args:
    key: The option that gives the path, for the error.
    path: The path of an `.npz` file.
    space: The space whose archs the table must have.

  Raises:
    ConfigError: There is no such file, it is no such table, or it is a table of
      another space.
  """
  if not pathlib.Path(path).is_file():
    folder = ": it is a folder" if pathlib.Path(path).is_dir() else ""
    raise ConfigError(key, f"there is no file {path!r}{folder}.")
  ops, names, test, valid = _arrays(key, path)

  def refuse(why: str):
    return ConfigError(key, f"{path} is no benchmark: {why}.")

  if ops.ndim != 2 or not np.issubdtype(ops.dtype, np.integer):
    raise refuse("'ops' is not a table of integers")
  if not names.shape == test.shape == valid.shape == (len(ops),):
    raise refuse("its arrays have not one entry for each row of 'ops'")
  if names.dtype.kind != "U":
    raise refuse("'arch' is not of text")
  for column in (test, valid):
    if not np.all((column >= 0) & (column <= 100)):
      raise refuse("an accuracy is no percentage")
    if column.size and column.max() <= 1:
      raise refuse("its accuracies are fractions, not percent")
  encodings = ops.tolist()
  rows = {tuple(values): n for n, values in enumerate(encodings)}
  if len(rows) != len(ops):
    raise refuse("an architecture is in it twice")
  for values, name in zip(encodings, names.tolist(), strict=True):
    if _words(name, space) != values:
      raise ConfigError(
          key,
          f"{path} is of another space than config.space.name: there"
          f" {name!r} is not {values}.",
      )
  count = math.prod(space.schedule.mask.sum(1).tolist())
  if len(ops) != count:
    raise refuse(f"it has {len(ops):,} of the {count:,} architectures")
  return Benchmark(ops.astype(np.int32), test, valid, rows)


def _arrays(key: str, path: str) -> tuple[np.ndarray, ...]:
  """Returns the four arrays of the file."""
  try:
    # The file is opened here because numpy leaves one open that it cannot read.
    with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
      ops, names, test, valid = (file[name] for name in _KEYS)
    return ops, names, test.astype(float), valid.astype(float)
  except _BROKEN as why:
    raise ConfigError(
        key,
        f"{path} is not an .npz file of {', '.join(_KEYS)}"
        f" ({type(why).__name__}: {why}).",
    ) from None


def _words(text: str, space: SearchSpace) -> list[int] | None:
  """Returns the integers of a text in the space's notation, or None."""
  try:
    return space.parse(text)
  except ValueError:
    return None


def report(
    table: Benchmark,
    derived: list[int],
    policy: list[list[int]],
    random: list[tuple[list[int], float]],
    seed: int,
) -> dict[str, Any]:
  """Judges a search by the benchmark; all accuracies are in percent.

  Args:
    table: The benchmark, which has every arch below.
    derived: The encoding of the derived arch.
    policy: The encodings of the candidates of the trained policy.
    random: The encodings of uniformly random candidates, each with its score by
      shared weights, of which higher is better.
    seed: The seed of the bootstrap.

  Returns:
    The report. Its "ranking" is None where there are fewer than `ranking.LEAST`
    random candidates.
  """
  encodings, scores = zip(*random, strict=True)
  true = accuracies(table, encodings)
  of_derived = float(accuracies(table, [derived])[0])
  return {
      "test_accuracy": of_derived,
      "rank": int((table.test > of_derived).sum()) + 1,
      "architectures": len(table.test),
      "best": float(table.test.max()),
      "regret": float(table.test.max() - of_derived),
      "mean_of_policy": float(accuracies(table, policy).mean()),
      "mean_of_random": float(true.mean()),
      "ranking": ranking.report(scores, true, seed),
  }


def accuracies(
    table: Benchmark, encodings: Sequence[Sequence[int]]
) -> np.ndarray:
  """Returns the test accuracies of n encodings, f64[n] in percent."""
  return table.test[[table.rows[tuple(values)] for values in encodings]]
