"""What a small file system does that is full: one of memory, ext4, a quota.

They are mounted, for which the process must be root.
"""

from collections.abc import Callable, Iterator
import contextlib
import os
import pathlib
import subprocess

from experiments.troubles import house, runs
from experiments.troubles.house import row, Skipped

TITLE = "Full disks"
_RIGHT = (
    "one line with path and reason, the newest whole checkpoint kept, goes on"
    " later when there is room"
)
_ROOM = 480_000  # bytes that a run finds: one checkpoint, but not its third


def _call(*words: object) -> None:
  """Runs a program of the system; raises Skipped where it fails."""
  try:
    subprocess.run([*map(str, words)], check=True, capture_output=True)
  except (OSError, subprocess.CalledProcessError) as error:
    said = getattr(error, "stderr", b"").decode().strip() or str(error)
    raise Skipped(f"{words[0]}: {said.splitlines()[0]}") from None


@contextlib.contextmanager
def _mounted(*options: object) -> Iterator[pathlib.Path]:
  """Mounts a file system, and takes it away."""
  if os.geteuid():
    raise Skipped("only root can mount a file system")
  place = house.folder()
  _call("mount", *options, place)
  try:
    yield place
  finally:
    _call("umount", "-l", place)


def _full(
    place: pathlib.Path, reason: str, make_room: Callable[[], None]
) -> str:
  """Trains until the disk is full, and again when there is room.

  Args:
    place: The folder of the file system.
    reason: What the system says.
    make_room: Is called then.
  """
  run = place / "run"
  flags = runs.trains(run, "--config.checkpoint_seconds=0.0")
  ended = house.command(*flags)
  line = house.stopped(ended)
  assert str(run) in line and reason in line, line
  assert "Traceback" not in ended.out + ended.err
  names = os.listdir(run / "checkpoints")
  steps = [int(name) for name in names if name.isdigit()]
  make_room()
  again = house.command(*flags)
  assert again.code == 0, again.err[-500:]
  went = [li for li in again.out.splitlines() if li.startswith("Going on")]
  assert (run / "result.json").exists() and len(went) == 1, names
  assert f"step {max(steps)} of" in went[0], names
  return f"{line}; with room: `{went[0]}`, exit 0"


def _fill(place: pathlib.Path) -> pathlib.Path:
  """Writes a file that leaves little room, and returns it."""
  file, disk = place / "other", os.statvfs(place)
  free = disk.f_bfree * disk.f_frsize  # also what is kept for root
  file.write_bytes(os.urandom(max(0, free - _ROOM)))
  return file


@row("a full disk: 2 MB of tmpfs", _RIGHT)
def memory() -> str:
  with _mounted("-t", "tmpfs", "-o", "size=2m", "tmpfs") as place:
    return _full(place, "No space left on device", _fill(place).unlink)


@row("a full disk: 8 MB of ext4", _RIGHT)
def ext4() -> str:
  image = house.folder() / "image"
  image.write_bytes(b"")
  os.truncate(image, 8 << 20)
  _call("mkfs.ext4", "-q", image)
  with _mounted("-o", "loop", image) as place:
    return _full(place, "No space left on device", _fill(place).unlink)


@row("a quota: 4 MB of a subvolume of btrfs", _RIGHT)
def quota() -> str:
  image = house.folder() / "image"
  image.write_bytes(b"")
  os.truncate(image, 128 << 20)
  _call("mkfs.btrfs", "-q", "--mixed", image)
  with _mounted("-o", "loop", image) as disk:
    _call("btrfs", "quota", "enable", disk)
    _call("btrfs", "subvolume", "create", disk / "own")
    _call("btrfs", "qgroup", "limit", "4M", disk / "own")
    (disk / "own" / "other").write_bytes(os.urandom((4 << 20) - _ROOM))
    more = ("btrfs", "qgroup", "limit", "none", disk / "own")
    return _full(
        disk / "own", "Disk quota exceeded", lambda: _call(*more)
    )
