"""A language model writes what its network says, and only that."""

import json
import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_model import text_config

import enas_jax
from enas_jax import build, loop, modelfile, remade
from enas_jax.data.words import EOS, SPLITTERS, UNKNOWN, Words
from enas_jax.errors import ConfigError
from enas_jax.nn.lstm import Lstm
from enas_jax.texts import Texts


@pytest.fixture(scope="module", params=["recurrent", "lstm"])
def folder(request, tmp_path_factory):
  """The model of a training that has not begun: its words are any."""
  plan = build.plan(text_config(request.param))
  path = tmp_path_factory.mktemp(request.param) / "model"
  state = loop.start(plan.experiment)
  # So large that the words before the last one count.
  state = state._replace(params=jax.tree.map(lambda w: 25 * w, state.params))
  modelfile.write(path, plan, state, {})
  return path


@pytest.fixture(scope="module")
def loaded(folder):
  return enas_jax.load(folder)


def test_the_lines_of_the_guide_run(loaded):
  guides = pathlib.Path(__file__).parents[1] / "experiments" / "guides"
  page = (guides / "trained-models.md").read_text()
  lines = re.findall(r"^    (model\.(?:perp|gen).*)", page, re.MULTILINE)
  assert len(lines) == 2
  perplexity, written = (eval(line, {"model": loaded}) for line in lines)
  assert perplexity > 1 and len(words_of(loaded).split(written)) >= 20


def words_of(loaded):
  facts = loaded.content["text"]
  return Words(tuple(facts["vocabulary"]), facts["splitter"])


def test_the_likeliest_words_are_those_of_all_words_before(loaded):
  words, numbers = words_of(loaded), np.arange(40) % 7 + 20
  module, arch = loaded.module, loaded.arch

  @jax.jit
  def likeliest(variables, read, last):
    reading = module.apply(
        variables, read[None], arch, module.start(1), train=False
    )
    logits = reading.features[0, last] @ reading.table.T
    return jnp.argmax(logits.at[words.unknown].set(-jnp.inf))

  read = np.zeros(50, np.int32)
  read[:40] = numbers
  for last in range(39, 49):
    read[last + 1] = likeliest(loaded.variables, read, last)
  found = loaded.generate(numbers, 10, 0.0)
  assert found == words.join([words.vocabulary[n] for n in read[40:]])


def test_one_program_writes_all_texts_and_a_key_always_the_same(loaded):
  first = loaded.generate("The value of", 70, 1.0, 3)
  assert first == loaded.generate(["the", "value", "of"], 70, 1, 3)
  assert first == loaded.generate("the value of", 70, 1.0, jax.random.key(3))
  assert first.startswith(loaded.generate("the value of", 5, 1.0, 3))
  assert first != loaded.generate("the value of", 70, 1.0, 4)
  assert first != loaded.generate("the value of\n", 70, 1.0, 3)
  words = words_of(loaded)
  for prompt, count in (("", 1), ("x " * 80, 33), ("\n", 40)):
    found = loaded.generate(prompt, count, 2.0)
    split = words.split(found)
    assert len(split) == count + (split[-1] == EOS)
    assert UNKNOWN not in split
  assert loaded.generate("", 9) == loaded.generate("\n", 9)
  assert loaded._texts._write._cache_size() == 1


@pytest.mark.parametrize("sign", [1, -1])
def test_a_word_that_is_none_is_not_written(folder, sign):
  loaded = enas_jax.load(folder)
  # With one of the signs it is the likeliest.
  table = loaded.variables["params"]["embedding"]
  table[words_of(loaded).unknown] *= sign * 1e4
  assert UNKNOWN not in loaded.generate("the value of", 1, 0)


def test_what_cannot_be_written_is_a_line(loaded):
  for values, message in (
      (("x", 0), r"^words: must be a whole number >= 1"),
      (("x", 1, -1.0), r"^temperature: must be a number >= 0"),
      (("x", 1, np.nan), "^temperature: "),
      (("x", 1, 1.0, "k"), "^key: must be a whole number"),
      ((3,), "^text: must be a text, words or numbers .*got int"),
      ((np.zeros(2),), r"^text: numbers must be i32\[n\], got float64\[2\]"),
      ((np.zeros(0, int),), None),
  ):
    if message is None:  # a line begins
      assert loaded.generate(*values) == loaded.generate("")
      continue
    with pytest.raises(ConfigError, match=message):
      loaded.generate(*values)


def changed(folder, path, **facts):
  """A copy of a model with other facts about its text."""
  path.mkdir()
  content = json.loads((folder / "model.json").read_text())
  content["text"].update(facts)
  (path / "model.json").write_text(json.dumps(content))
  weights = folder / "weights.safetensors"
  (path / "weights.safetensors").write_bytes(weights.read_bytes())
  return path


def test_a_corpus_of_numbers_has_numbers_written(folder, tmp_path):
  loaded = enas_jax.load(changed(folder, tmp_path / "m", vocabulary=None))
  found = loaded.generate(np.array([4, 2]), 40)
  assert found.shape == (40,) and found.dtype == np.int32
  for prompt, message in (
      ("a text", "give their numbers"),
      (np.zeros(0, int), "^prompt: must have a word"),
  ):
    with pytest.raises(ConfigError, match=message):
      loaded.generate(prompt)


def test_a_vocabulary_of_another_size_is_refused(folder, tmp_path):
  path = changed(folder, tmp_path / "m", vocabulary=["a", "b"])
  with pytest.raises(ConfigError, match=r"vocabulary: 2 words, but .* knows"):
    enas_jax.load(path)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_a_word_is_drawn_as_often_as_its_probability_says(temperature):
  module = Lstm(vocabulary=3, hidden=4, init_range=9.0)
  read = jnp.ones((1, 1), int)
  variables = module.init(
      jax.random.key(0), read, (), module.start(1), train=False
  )
  parts = remade.Parts(None, module, (), None)
  content = {
      "text": {"vocabulary": None, "splitter": "spaced"},
      "network": {"vocabulary": 3},
  }
  texts = Texts(content, parts, variables["params"])
  count = 400
  drawn = [
      texts.generate(np.ones(1, int), 1, temperature, key)[0]
      for key in range(count)
  ]
  reading = module.apply(variables, read, (), module.start(1), train=False)
  logits = reading.features[0, 0] @ reading.table.T
  wanted = np.asarray(jax.nn.softmax(logits / temperature))
  assert wanted.min() > 0.02 and wanted.max() < 0.9
  found = np.bincount(drawn, minlength=3) / count
  error = np.sqrt(wanted * (1 - wanted) / count)
  assert (np.abs(found - wanted) < 4 * error).all(), (found, wanted)


@pytest.mark.parametrize("splitter", list(SPLITTERS))
def test_joined_words_are_split_again(splitter):
  words = ["a", "b", EOS, "1", ".", EOS]
  assert Words((), splitter).split(Words((), splitter).join(words)) \
      == words
