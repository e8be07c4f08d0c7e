"""The Python language reference, a corpus that comes with every Python.

`pydoc_data.topics` differs a little from one Python to the next, and so do the
perplexities on it.
"""

import collections
from collections.abc import Callable
import re

import numpy as np

from enas_jax.data import text

_TOKEN = re.compile(r"[a-z]+|[0-9]+|[^\sa-z0-9]")
_SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}
_RARE = 3  # words seen less often in the training text are <unk>


def load() -> text.TextSource:
  """Returns the corpus; its texts are whole topics with 8, 1 and 1 tenths.

  The tenths of the words are approximate.
  """
  from pydoc_data import topics  # half a megabyte that few runs need

  texts = [_words(topics.topics[topic]) for topic in sorted(topics.topics)]
  texts.sort(key=len, reverse=True)
  total = sum(map(len, texts))
  parts = {part: [] for part in _SHARES}

  def missing(part: str) -> float:
    return _SHARES[part] * total - len(parts[part])

  for words in texts:
    parts[max(parts, key=missing)] += words
  counts = collections.Counter(parts["train"])
  kept = {word for word, count in counts.items() if count >= _RARE}
  vocabulary = {w: n for n, w in enumerate(sorted(kept | {text.UNKNOWN}))}
  unknown = vocabulary[text.UNKNOWN]

  def reader(part: str) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
      found = [vocabulary.get(word, unknown) for word in parts[part]]
      return np.array(found, np.int32)

    return read

  return text.TextSource(
      len(vocabulary), reader("train"), reader("valid"), reader("test")
  )


def _words(content: str) -> list[str]:
  lines = (_TOKEN.findall(line.lower()) for line in content.split("\n"))
  return [word for line in lines if line for word in [*line, text.EOS]]
