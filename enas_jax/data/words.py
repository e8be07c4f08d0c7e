"""The words of a text, their numbers, and how a text is split into them."""

import collections
from collections.abc import Sequence
import dataclasses
import functools
import re

import numpy as np

from enas_jax.errors import ConfigError

EOS, UNKNOWN = "<eos>", "<unk>"
_BOM = "\ufeff"  # a byte-order mark, which files that were joined repeat
_TOKEN = re.compile(r"[a-z]+|[0-9]+|[^\sa-z0-9]")


def _lines(content: str) -> list[str]:
  """Returns the lines of a text, without byte-order marks."""
  content = content.replace(_BOM, "").replace("\r\n", "\n")
  return content.replace("\r", "\n").split("\n")


def spaced(content: str) -> list[str]:
  """Splits a text at spaces; every line ends with `EOS`."""
  lines = (line.split() for line in _lines(content.strip()))
  return [word for line in lines for word in [*line, EOS]]


def tokens(content: str) -> list[str]:
  """Splits a text into lower-case words, whole numbers and single signs.

  Every line that has one ends with `EOS`.
  """
  lines = (_TOKEN.findall(line.lower()) for line in _lines(content))
  return [word for line in lines if line for word in [*line, EOS]]


def characters(content: str) -> list[str]:
  """Splits a text into its characters; every line ends with `EOS`."""
  lines = _lines(content)
  if not lines[-1]:  # the end of the last line begins no other
    lines.pop()
  return [sign for line in lines for sign in [*line, EOS]]


SPLITTERS = {"spaced": spaced, "tokens": tokens, "characters": characters}


def known(words: collections.Counter, most: int | None) -> tuple[str, ...]:
  """Returns the vocabulary of a text, in sorted order.

  Args:
    words: How often each word is in the text.
    most: How many words it has at most: the most frequent ones, with `EOS` and
      `UNKNOWN` among them; None: all words of the text and no other.
  """
  if most is None:
    return tuple(sorted(words))
  order = sorted(words, key=lambda word: (-words[word], word))
  kept = [word for word in order if word not in (EOS, UNKNOWN)]
  return tuple(sorted([EOS, UNKNOWN, *kept[: most - 2]]))


@dataclasses.dataclass(frozen=True)
class Words:
  """How a text becomes numbers.

  Attributes:
    vocabulary: all words, in the order of their numbers.
    splitter: how a text is split into words, one of `SPLITTERS`.
  """

  vocabulary: tuple[str, ...]
  splitter: str

  @functools.cached_property
  def _numbers(self) -> dict[str, int]:
    return {word: n for n, word in enumerate(self.vocabulary)}

  def __contains__(self, word: str) -> bool:
    return word in self._numbers

  @property
  def unknown(self) -> int | None:
    """Returns the number of `UNKNOWN`; None where the vocabulary has none."""
    return self._numbers.get(UNKNOWN)

  def split(self, content: str) -> list[str]:
    """Returns the words of a text."""
    return SPLITTERS[self.splitter](content)

  def begun(self, content: str) -> list[str]:
    """Returns the words of a text whose last line may go on."""
    words = self.split(content)
    ended = content if self.splitter == "characters" else content.rstrip(" \t")
    # The splitter ends a line that goes on.
    return words if ended.endswith(("\n", "\r")) else words[:-1]

  def join(self, words: Sequence[str]) -> str:
    """Returns a text that is split into these words again.

    A text cannot say that its last line goes on, nor, of words, that an empty
    line begins it; of `tokens`, no line is empty.
    """
    if self.splitter == "characters":
      return "".join("\n" if word == EOS else word for word in words)
    text = " ".join("\n" if word == EOS else word for word in words)
    return re.sub(" ?\n ?", "\n", text)

  def numbers(self, words: Sequence[str]) -> np.ndarray:
    """Returns the numbers of n words, i32[n].

    A word outside the vocabulary counts as `UNKNOWN`.

    Raises:
      ConfigError: of "text", such a word where the vocabulary has no `UNKNOWN`.
    """
    found = [self._numbers.get(word, self.unknown) for word in words]
    if None in found:
      raise ConfigError(
          "text",
          f"the word {words[found.index(None)]!r} is not in the vocabulary,"
          f" which has no {UNKNOWN} either.",
      )
    return np.array(found, np.int32)
