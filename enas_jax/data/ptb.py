"""Penn Treebank, or any folder of three texts.

Its form is Mikolov's: words between spaces, a sentence a line, rare words
replaced by <unk>. The end of a line becomes the word <eos>. The vocabulary is
that of the training text, in sorted order. In a text of one's own the rare
words may be replaced here, and the words be characters.
"""

from collections.abc import Callable
import pathlib
import time
from typing import Annotated, Literal

import numpy as np

from enas_jax.data import listing, telling, text
from enas_jax.errors import ConfigError
from enas_jax.options import Ge, Path

_KEY = "path"
_SUFFIXES = ("txt", "tokens", "raw")  # the last two are WikiText's
_SPLITTERS = {"word": "spaced", "character": "characters"}
_ENCODINGS = {
    b"\xef\xbb\xbf": "utf-8-sig",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


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
  split = text.SPLITTERS[_SPLITTERS[unit]]
  train = split(_content(files["train"]))
  words = text.Words(text.known(train, vocabulary), _SPLITTERS[unit])
  if vocabulary:
    telling.tell(_known({*train}, words, unit, files["train"]))

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
    seen: set[str], words: text.Words, unit: str, file: pathlib.Path
) -> str:
  """Says how many of the words that training sees are known."""
  if not all(word in words for word in seen):
    return (
        f"Of the {len(seen):,} {unit}s in {file} the"
        f" {len(words.vocabulary):,} most frequent are known, {text.EOS} and"
        f" {text.UNKNOWN} among them."
    )
  unseen = "" if text.UNKNOWN in seen else (
      f" No {text.UNKNOWN} is in it, so one in the other texts is new to what"
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


def _content(file: pathlib.Path) -> str:
  """Returns a text; a byte-order mark says how it is encoded, else UTF-8."""
  try:
    raw = file.read_bytes()
    encoding = next(
        (name for mark, name in _ENCODINGS.items() if raw.startswith(mark)),
        "utf-8",
    )
    content = raw.decode(encoding)
  except (OSError, UnicodeError) as error:
    raise ConfigError(_KEY, f"{file} cannot be read ({error}).") from None
  if not content.strip():
    raise ConfigError(_KEY, f"{file} is empty.")
  return content


def _read(
    file: pathlib.Path, words: text.Words, unit: str, vocabulary: int | None
) -> np.ndarray:
  """Returns the numbers of the words of a text, i32[n]."""
  begun, found = time.monotonic(), words.split(_content(file))
  lacking = [word for word in found if word not in words]
  if lacking and not vocabulary:
    raise ConfigError(
        _KEY,
        f"the {unit} {lacking[0]!r} of {file} does not occur in the training"
        f" text. Write {text.UNKNOWN} for rare {unit}s in all three, or say"
        " how many are known, as in --config.data.vocabulary=10000.",
    )
  rare = f", {len(lacking) / len(found):.1%} of them unknown" if lacking else ""
  numbers = words.numbers(found)
  seconds = telling.clock(time.monotonic() - begun)
  telling.tell(f"Read {len(found):,} {unit}s in {file}{rare}, in {seconds}.")
  return numbers
