"""Finds classes and pictures in a folder, and leaves out what is a system's.

A reader of data and whoever measures a network on a folder list it here.
"""

import collections
from collections.abc import Iterable
import pathlib
import re
from typing import NamedTuple

from enas_jax.data import telling
from enas_jax.errors import ConfigError

SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm"),
    *(".png", ".ppm", ".tif", ".tiff", ".webp"),
)
# What file managers, shared drives and archives leave behind: hidden ones (.),
# those of Synology and QNAP (@eaDir, @Recycle) and of Windows ($RECYCLE.BIN),
# drafts of office programs (~$a.doc) and those of archives and of Python
# (__MACOSX, __pycache__).
_FIRST = (".", "@", "$", "~", "__")
_SYSTEM = {
    *("#recycle", "#snapshot", "lost+found", "system volume information"),
    *("recycler", "desktop.ini", "ehthumbs.db", "thumbs.db", "icon\r"),
}


class Listing(NamedTuple):
  """What is in a folder, in order of the names."""

  folders: list[pathlib.Path]  # numbers in their names sort as numbers
  pictures: list[pathlib.Path]
  others: list[pathlib.Path]  # files that are no pictures by their names
  systems: list[pathlib.Path]  # folders and files of systems


def is_system(path: pathlib.Path) -> bool:
  """Says whether a name is one that systems give, and people do not."""
  name = path.name
  return name.startswith(_FIRST) or name.lower() in _SYSTEM


def natural(path: pathlib.Path) -> tuple[list, str]:
  """Returns the key by which names sort as people count: a2 before a10."""
  parts = re.split(r"(\d+)", path.name)
  parts[1::2] = map(int, parts[1::2])
  return parts, path.name


def listed(folder: pathlib.Path) -> Listing:
  """Lists a folder.

  Raises:
    ConfigError: There is no such folder, or it cannot be read.
  """
  try:
    found = sorted(folder.iterdir())
  except FileNotFoundError:
    raise ConfigError("path", f"there is no folder {folder}.") from None
  except OSError as error:
    raise ConfigError("path", f"{folder}: {error.strerror}.") from None
  listing = Listing([], [], [], [])
  for path in found:
    if is_system(path):
      listing.systems.append(path)
    elif path.is_dir():
      listing.folders.append(path)
    elif path.suffix.lower() in SUFFIXES:
      listing.pictures.append(path)
    else:
      listing.others.append(path)
  return listing._replace(folders=sorted(listing.folders, key=natural))


def of_class(folder: pathlib.Path) -> Listing:
  """Lists the pictures of a class: those in its folder, else one level deeper.

  The folders of the listing are those that were left out, which is all of them
  where the folder itself has pictures.

  Raises:
    ConfigError: As of `listed`.
  """
  listing = listed(folder)
  if listing.pictures:
    return listing
  inner = [listing, *map(listed, listing.folders)]
  _, pictures, others, systems = (
      [path for each in inner for path in each[n]] for n in range(4)
  )
  deeper = [path for each in inner[1:] for path in each.folders]
  return Listing(deeper, pictures, others, systems)


def left_out(folder: pathlib.Path, listings: Iterable[Listing]) -> str:
  """Returns what is left out of a folder as one line; "": nothing."""
  listings, said = list(listings), []
  for field, one, more in (
      ("systems", "file or folder of a system", "files and folders of systems"),
      ("others", "file that is no picture", "files that are no pictures"),
      (
          "folders",
          "folder inside the folder of a class",
          "folders inside the folder of a class",
      ),
  ):
    found = [path.name for each in listings for path in getattr(each, field)]
    if found:
      names = (
          f"{name} ({count:,})" if count > 1 else name
          for name, count in collections.Counter(found).items()
      )
      what = more if found[1:] else one
      said.append(f"{len(found):,} {what}: {telling.few(names)}")
  return f"Left out of {folder}: {'; '.join(said)}." if said else ""
