"""The Python language reference, a corpus that comes with every Python.

`pydoc_data.topics` differs a little from one Python to the next, and so do the
perplexities on it.
"""

import collections
from collections.abc import Callable

import numpy as np

from enas_jax.data import text
from enas_jax.data.words import tokens, UNKNOWN, Words

_SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}
_RARE = 3  # words seen less often in the training text are <unk>


def load() -> text.TextSource:
  """Returns the corpus; its texts are whole topics with 8, 1 and 1 tenths.

  The tenths of the words are approximate.
  """
  from pydoc_data import topics  # half a megabyte that few runs need

  texts = [tokens(topics.topics[topic]) for topic in sorted(topics.topics)]
  texts.sort(key=len, reverse=True)
  total = sum(map(len, texts))
  parts = {part: [] for part in _SHARES}

  def missing(part: str) -> float:
    return _SHARES[part] * total - len(parts[part])

  for words in texts:
    parts[max(parts, key=missing)] += words
  counts = collections.Counter(parts["train"])
  kept = {word for word, count in counts.items() if count >= _RARE}
  words = Words(tuple(sorted(kept | {UNKNOWN})), "tokens")

  def reader(part: str) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
      return words.numbers(parts[part])

    return read

  return text.TextSource(
      len(words.vocabulary),
      reader("train"),
      reader("valid"),
      reader("test"),
      words,
  )
