"""Penn Treebank, or any folder of three texts.

Its form is Mikolov's: words between spaces, a sentence a line, rare words
replaced by <unk>. The end of a line becomes the word <eos>. The vocabulary is
that of the training text, in sorted order. In a text of one's own the rare
words may be replaced here, and the words be characters.
"""

import collections
from collections.abc import Callable, Iterator
import pathlib
import tempfile
import time
from typing import Annotated, Literal

import numpy as np

from enas_jax.data import listing, telling, text
from enas_jax.data.words import EOS, known, SPLITTERS, UNKNOWN, Words
from enas_jax.errors import ConfigError, writing
from enas_jax.options import Ge, Path

_KEY = "path"
_SUFFIXES = ("txt", "tokens", "raw")  # the last two are WikiText's
_SPLITTERS = {"word": "spaced", "character": "characters"}
_ENCODINGS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
_LONGEST = max(map(len, _ENCODINGS))


def load(
    *,
    path: Path | None = None,
    vocabulary: Annotated[int, Ge(3)] | None = None,
    unit: Literal["word", "character"] = "word",
) -> text.TextSource:
  """Returns the corpus in the folder `path`; its training text is read here.

  Args:
    path: The folder of `NAME.train.txt`, `NAME.valid.txt` and `NAME.test.txt`
      of one NAME, or of `train.txt` and so on; also `.tokens` or `.raw` in
      place of `.txt`. It must be given.
    vocabulary: How many words are known, the most frequent of the training
      text, with <eos> and <unk> among them; all others become <unk>. None:
      all of the training text, and the other texts may have no others.
    unit: What a word is: "word" what stands between spaces, "character" each
      sign, spaces included.

  Raises:
    ConfigError: There is no such folder, or a file is missing, empty or no
      text; when a text is read, it has a word that is not in the vocabulary.
  """
  if not path:  # the option has a default only so that the error is this one
    raise ConfigError(
        _KEY,
        "'ptb' needs the folder of its three texts."
        " --config.data.name=pydoc needs none.",
    )
  folder = pathlib.Path(path).expanduser()
  if not folder.is_dir():
    raise ConfigError(_KEY, f"there is no folder {folder}.")
  files = {part: _find(folder, part) for part in ("train", "valid", "test")}
  splitter = _SPLITTERS[unit]
  seen = collections.Counter()
  for found in _split(files["train"], splitter):
    seen.update(found)
  words = Words(known(seen, vocabulary), splitter)
  if vocabulary:
    telling.tell(_known({*seen}, words, unit, files["train"]))

  def reader(part: str) -> Callable[[], np.ndarray]:
    return lambda: _read(files[part], words, unit, vocabulary)

  return text.TextSource(
      len(words.vocabulary),
      reader("train"),
      reader("valid"),
      reader("test"),
      words,
  )


def _known(
    seen: set[str], words: Words, unit: str, file: pathlib.Path
) -> str:
  """Says how many of the words that training sees are known."""
  if not all(word in words for word in seen):
    return (
        f"Of the {len(seen):,} {unit}s in {file} the"
        f" {len(words.vocabulary):,} most frequent are known, {EOS} and"
        f" {UNKNOWN} among them."
    )
  unseen = "" if UNKNOWN in seen else (
      f" No {UNKNOWN} is in it, so one in the other texts is new to what"
      " it trains."
  )
  return f"All {len(seen):,} {unit}s in {file} are known.{unseen}"


def _find(folder: pathlib.Path, part: str) -> pathlib.Path:
  found = [
      file
      for suffix in _SUFFIXES
      for name in (f"*.{part}.{suffix}", f"{part}.{suffix}")
      for file in sorted(folder.glob(name))
      if not listing.is_system(file)
  ]
  if len(found) != 1:
    has = "several: " + ", ".join(f.name for f in found) if found else "none"
    raise ConfigError(
        _KEY,
        f"{folder} must hold one file {part}.txt or NAME.{part}.txt, it has"
        f" {has}.",
    )
  return found[0]


def _split(file: pathlib.Path, splitter: str) -> Iterator[list[str]]:
  """Yields the words of a text line by line, as the splitter has them.

  A byte-order mark says how the text is encoded, else it is UTF-8.
  """
  split, blank, empty = SPLITTERS[splitter], [], True
  try:
    with file.open("rb") as raw:
      mark = raw.read(_LONGEST)
    encoding = next(
        (name for begin, name in _ENCODINGS.items() if mark.startswith(begin)),
        "utf-8",
    )
    with file.open(encoding=encoding) as lines:
      for line in lines:
        if line.isspace() and splitter == "spaced":
          # Words are between the first line that has one and the last.
          blank += [] if empty else [line]
          continue
        empty = empty and line.isspace()
        for each in (*blank, line):
          yield split(each)
        blank = []
  except (OSError, UnicodeError) as error:
    raise ConfigError(_KEY, f"{file} cannot be read ({error}).") from None
  if empty:
    raise ConfigError(_KEY, f"{file} is empty.")


def _read(
    file: pathlib.Path, words: Words, unit: str, vocabulary: int | None
) -> np.ndarray:
  """Returns the numbers of the words of a text, i32[n].

  They are in a memory-mapped file without a name, so that a text may be larger
  than the memory.
  """
  begun, total, lacking = time.monotonic(), 0, 0
  # A line says so where the temporary folder is full.
  with writing(tempfile.gettempdir()), tempfile.TemporaryFile() as out:
    for found in _split(file, words.splitter):
      total += len(found)
      unknown = [word for word in found if word not in words]
      lacking += len(unknown)
      if unknown and not vocabulary:
        raise ConfigError(
            _KEY,
            f"the {unit} {unknown[0]!r} of {file} does not occur in the"
            f" training text. Write {UNKNOWN} for rare {unit}s in all"
            " three, or say how many are known, as in"
            " --config.data.vocabulary=10000.",
        )
      out.write(words.numbers(found).data)
    out.flush()
    numbers = np.memmap(out, np.int32, "r")
  rare = f", {lacking / total:.1%} of them unknown" if lacking else ""
  seconds = telling.clock(time.monotonic() - begun)
  telling.tell(f"Read {total:,} {unit}s in {file}{rare}, in {seconds}.")
  return numbers
