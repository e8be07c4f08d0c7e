"""Writes the numbers of each epoch as JSON lines and TensorBoard events."""

import contextlib
import json
import math
import os
import pathlib
import platform
import time
from typing import Any

from tensorboardX import record_writer, summary
from tensorboardX.proto import event_pb2


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
    (folder / "events").mkdir(exist_ok=True)
    # Not SummaryWriter: its thread would wait for ever on a full disk.
    name = f"events.out.tfevents.{time.time():.0f}.{platform.node()}"
    self._events = record_writer.RecordWriter(str(folder / "events" / name))
    self._event(0, file_version="brain.Event:2")
    # What was written from this epoch on is to be forgotten.
    log = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._event(epoch, session_log=log)

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
        self._event(epoch, summary=summary.scalar(name, value))

  def _event(self, epoch: int, **what: Any) -> None:
    event = event_pb2.Event(step=epoch, wall_time=time.time(), **what)
    self._events.write(event.SerializeToString())

  def close(self) -> None:
    """Closes both files."""
    with contextlib.closing(self._events):
      self._lines.close()
