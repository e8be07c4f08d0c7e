"""A trained language model in use: it reads texts, and writes them.

`model.Model` is the door to it, and says what its functions take and return.
"""

from collections.abc import Sequence
import functools
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import modelfile, networks, options, remade, rows
from enas_jax.data import text
from enas_jax.data.words import EOS
from enas_jax.data.words import Words as Vocabulary
from enas_jax.errors import ConfigError, kind

Words = str | Sequence[str] | np.ndarray  # a text, its words or their numbers
_Temperature = Annotated[float, options.Ge(0), options.Le(100)]
_CHUNK = 32  # words that one call of the program reads or writes
_DRAWN = -1  # in place of the number of a word: the one that was drawn


class Texts:
  """A trained language model."""

  def __init__(
      self, content: modelfile.Content, parts: remade.Parts, params: Any
  ):
    self._parts, self._params = parts, params
    self._facts = content["text"]
    self._most = content["network"]["vocabulary"]
    self._words = None
    if self._facts["vocabulary"] is not None:
      vocabulary = tuple(self._facts["vocabulary"])
      self._words = Vocabulary(vocabulary, self._facts["splitter"])

  def perplexity(self, words: Words, rows: int) -> float:
    options.checked("rows", rows, options.Count)
    numbers = self._numbers(self._split(words))
    columns = len(numbers) // rows
    if columns < 2:
      raise ConfigError("text", f"{rows} rows need 2 words each.")
    length, last = self._facts["length"], columns - 1
    grid = numbers[: rows * columns].reshape(rows, columns)
    grid = np.pad(grid, ((0, 0), (0, length)))
    state, total, count = None, 0.0, 0.0
    for start in range(0, last, length):
      own = min(length, last - start)
      weight = np.broadcast_to(np.arange(length) < own, (rows, length))
      piece = grid[:, start : start + length + 1]
      batch = text.TextBatch(
          piece[:, :-1],
          piece[:, 1:],
          weight.astype(np.float32),
          np.bool_(start == 0),
          np.float32(own / length),
      )
      if state is None:
        state = self._parts.task.begin({}, batch)
      state, record = self._measure(self._params, state, batch)
      total += float(record["perplexity"].total)
      count += float(record["perplexity"].count)
    with np.errstate(over="ignore"):  # weights may be of any size
      return float(np.exp(total / count))

  def generate(
      self, prompt: Words, words: int, temperature: float, key: Any
  ) -> str | np.ndarray:
    options.checked("words", words, options.Count)
    temperature = options.checked("temperature", temperature, _Temperature)
    read = self._begun(prompt)
    steps = len(read) + words - 1
    given = np.full(-(-steps // _CHUNK) * _CHUNK, _DRAWN, np.int32)
    given[: len(read)] = read
    state = self._parts.module.start(1), jnp.int32(0), _key(key)
    drawn = []
    for chunk in given.reshape(-1, _CHUNK):
      state, each = self._write(self._params, state, chunk, temperature)
      drawn.append(each)
    found = np.concatenate(jax.device_get(drawn))[len(read) - 1 : steps]
    if self._words is None:
      return found
    return self._words.join([self._words.vocabulary[n] for n in found])

  @functools.cached_property
  def _measure(self):
    """The program (params, model state, batch) -> (model state, record)."""

    @jax.jit
    def measure(params, state, batch):
      return self._parts.task.measure(params, state, self._parts.arch, batch)

    return measure

  @functools.cached_property
  def _network(self) -> networks.TextNetwork:
    """The network of the weights that the arch reads."""
    space, module, arch, _ = self._parts
    numbers = tuple(space.flatten(arch)) if space else ()
    return networks.TextNetwork(module.child, space, numbers)

  @functools.cached_property
  def _write(self):
    """The program that reads and writes `_CHUNK` words.

    It maps (params, state, i32[_CHUNK], temperature) to the state after these
    words and what is drawn after each of them. A state is a carry of the
    network, the word drawn last, and a key.
    """
    _, module, arch, _ = self._parts
    unknown = self._words and self._words.unknown

    def write(params, state, given, temperature):
      used = rows.take(params, module.reads(arch))

      def step(state, given):
        carry, drawn, key = state
        word = jnp.where(given == _DRAWN, drawn, given)
        logits, carry = self._network.apply(
            {"params": used}, word[None, None], carry, train=False
        )
        logits = logits[0, 0]
        if unknown is not None:
          logits = logits.at[unknown].set(-jnp.inf)
        key, own = jax.random.split(key)
        # The largest of these is a draw of the softmax of logits / temperature.
        noise = temperature * jax.random.gumbel(own, logits.shape)
        drawn = jnp.argmax(logits + noise).astype(jnp.int32)
        return (carry, drawn, key), drawn

      return jax.lax.scan(step, state, given)

    return jax.jit(write)

  def _begun(self, prompt: Words) -> np.ndarray:
    """Returns the numbers of a prompt, i32[n] of at least one."""
    words = self._split(prompt)
    if isinstance(prompt, str):
      words = self._words.begun(prompt)
    if len(words) == 0:
      if not self._words or EOS not in self._words.vocabulary:
        raise ConfigError("prompt", "must have a word, since no line begins.")
      words = [EOS]
    return self._numbers(words)

  def _split(self, words: Words) -> Any:
    """Returns the words of a text; words and numbers as they are."""
    if not isinstance(words, (str, list, tuple, np.ndarray)):
      raise ConfigError(
          "text",
          f"must be a text, words or numbers i32[n], got {kind(words)}.",
      )
    if isinstance(words, np.ndarray):
      return words
    if self._words is None:
      raise ConfigError(
          "text", "the corpus of the model says no words; give their numbers."
      )
    return self._words.split(words) if isinstance(words, str) else words

  def _numbers(self, words: Any) -> np.ndarray:
    if not isinstance(words, np.ndarray):
      return self._words.numbers(words)
    if words.ndim != 1 or words.dtype.kind not in "iu":
      raise ConfigError("text", f"numbers must be i32[n], got {kind(words)}.")
    if len(words) and not 0 <= words.min() <= words.max() < self._most:
      raise ConfigError("text", f"numbers must be below {self._most}.")
    return words.astype(np.int32)


def _key(key: Any) -> jax.Array:
  """Returns a key of jax."""
  keys = jax.dtypes.prng_key
  dtype = getattr(key, "dtype", np.dtype(object))
  if jax.dtypes.issubdtype(dtype, keys) and key.shape == ():
    return key
  return jax.random.key(options.checked("key", key, options.Seed))
