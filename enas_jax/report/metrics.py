"""Writes the numbers of each epoch as JSON lines and TensorBoard events."""

import json
import math
import os
import pathlib
from typing import Any

import tensorboardX


class Writer:
  """Writes `metrics.jsonl` and the TensorBoard events of a run folder.

  A resumed run gives the size in bytes that `metrics.jsonl` had at its
  checkpoint. Lines that were written after the checkpoint are cut off, since
  they will be written again.
  """

  def __init__(self, folder: pathlib.Path, size: int, epoch: int):
    path = folder / "metrics.jsonl"
    path.touch()
    os.truncate(path, min(size, path.stat().st_size))
    self._lines = path.open("ab")
    self._events = tensorboardX.SummaryWriter(
        str(folder / "events"), purge_step=epoch
    )

  def flush(self) -> int:
    """Writes all to the disk and returns the size of `metrics.jsonl`, bytes."""
    self._events.flush()
    os.fsync(self._lines.fileno())
    return self._lines.tell()

  def write(self, epoch: int, values: dict[str, Any]) -> None:
    """Writes the numbers of an epoch."""
    line = json.dumps({"epoch": epoch, **values})
    self._lines.write(line.encode() + b"\n")
    self._lines.flush()
    for name, value in values.items():
      if math.isfinite(value):  # a plot cannot show any other value
        self._events.add_scalar(name, value, epoch)

  def close(self) -> None:
    """Closes both files."""
    self._lines.close()
    self._events.close()
