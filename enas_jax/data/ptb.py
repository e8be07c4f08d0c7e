"""Penn Treebank, or any folder of three texts in its form.

The form is Mikolov's: words between spaces, a sentence a line, rare words
replaced by <unk>. The end of a line becomes the word <eos>. The vocabulary is
that of the training text, in sorted order.
"""

from collections.abc import Callable
import pathlib

import numpy as np

from enas_jax.data import text
from enas_jax.errors import ConfigError
from enas_jax.options import Path

_KEY = "path"


def load(*, path: Path | None = None) -> text.TextSource:
  """Returns the corpus in the folder `path`; its training text is read here.

  Args:
    path: The folder of `NAME.train.txt`, `NAME.valid.txt` and `NAME.test.txt`
      of one NAME, or of `train.txt` and so on; it must be given.

  Raises:
    ConfigError: There is no such folder, or a file is missing, empty or no
      text.
  """
  if not path:  # the option has a default only so that the error is this one
    raise ConfigError(
        _KEY,
        "'ptb' needs the folder of its three texts."
        " --config.data.name=pydoc needs none.",
    )
  folder = pathlib.Path(path)
  if not folder.is_dir():
    raise ConfigError(_KEY, f"there is no folder {folder}.")
  files = {part: _find(folder, part) for part in ("train", "valid", "test")}
  words = _words(files["train"])
  vocabulary = {word: n for n, word in enumerate(sorted(set(words)))}

  def reader(part: str) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
      return text.numbers(_words(files[part]), vocabulary, str(files[part]))

    return read

  return text.TextSource(
      len(vocabulary),
      reader("train"),
      reader("valid"),
      reader("test"),
      text.Words(tuple(vocabulary), "spaced"),
  )


def _find(folder: pathlib.Path, part: str) -> pathlib.Path:
  found = sorted(folder.glob(f"*.{part}.txt"))
  found += [f for f in [folder / f"{part}.txt"] if f.exists()]
  if len(found) != 1:
    has = "several: " + ", ".join(f.name for f in found) if found else "none"
    raise ConfigError(
        _KEY,
        f"{folder} must hold one file {part}.txt or NAME.{part}.txt, it has"
        f" {has}.",
    )
  return found[0]


def _words(file: pathlib.Path) -> list[str]:
  try:
    content = file.read_text(encoding="utf-8")
  except (OSError, UnicodeDecodeError) as error:
    raise ConfigError(_KEY, f"{file} cannot be read ({error}).") from None
  if not content.strip():
    raise ConfigError(_KEY, f"{file} is empty.")
  return text.spaced(content)
