"""Running text: what is read, how it is cut, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from enas_jax import data
from enas_jax.data import telling, text
from enas_jax.data.words import SPLITTERS, Words
from enas_jax.errors import ConfigError


def write(folder, train="a b\n c b\n", valid="a\n", test="b c\n", stem=""):
  for part, content in (("train", train), ("valid", valid), ("test", test)):
    if content is not None:
      (folder / f"{stem}{part}.txt").write_text(content)
  return str(folder)


@pytest.mark.parametrize("stem", ["", "ptb."])
def test_a_folder_of_texts(stem, tmp_path):
  source = data.load("ptb", path=write(tmp_path, stem=stem))
  # Sorted: <eos> a b c. The text ends with an <eos> of its own.
  assert source.facts == {"vocabulary": 4}
  assert source.train().tolist() == [1, 2, 0, 3, 2, 0]
  assert source.valid().tolist() == [1, 0]
  assert source.test().tolist() == [2, 3, 0]
  assert source.train().dtype == np.int32


@pytest.mark.parametrize("changes, message", [
    ({"valid": None}, "one file valid.txt or NAME.valid.txt, it has none."),
    ({"train": ""}, "train.txt is empty."),
    ({"train": " \n\n"}, "train.txt is empty."),
    ({"valid": "a d\n"}, "the word 'd' of .* --config.data.vocabulary=10000"),
])
def test_a_folder_that_is_no_corpus(changes, message, tmp_path):
  path = write(tmp_path, **changes)
  with pytest.raises(ConfigError, match=message) as caught:
    source = data.load("ptb", path=path)
    source.valid()
  assert str(caught.value).startswith("path: ")
  assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path):
  with pytest.raises(ConfigError, match=r"^path: there is no folder"):
    data.load("ptb", path=str(tmp_path / "none"))


def test_two_files_of_one_part_are_refused(tmp_path):
  write(tmp_path)
  write(tmp_path, stem="ptb.")
  several = r"several: ptb\.train\.txt, train\.txt"
  with pytest.raises(ConfigError, match=several):
    data.load("ptb", path=str(tmp_path))


def test_a_file_that_is_no_text(tmp_path):
  path = write(tmp_path)
  (tmp_path / "train.txt").write_bytes(b"\xff\xff")
  with pytest.raises(ConfigError, match=r"train\.txt cannot be read"):
    data.load("ptb", path=path)


def told(path, **more):
  """Returns the source of a corpus, all read, and what is told of it."""
  lines = []
  with telling.heard(lines.append):
    source = data.load("ptb", path=path, **more)
    source.train(), source.valid(), source.test()
  return source, lines


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_marks_and_ends_of_lines_of_other_systems_are_no_words(
    encoding, end, tmp_path
):
  plain, _ = told(write(tmp_path))
  mark = "\ufeff" if encoding == "utf-16-be" else ""
  for file in tmp_path.glob("*.txt"):
    content = mark + file.read_text().replace("\n", end)
    file.write_bytes(content.encode(encoding))
  source, _ = told(str(tmp_path))
  assert source.words == plain.words
  for part in ("train", "valid", "test"):
    found, expected = (getattr(s, part)() for s in (source, plain))
    np.testing.assert_array_equal(found, expected)


def test_marks_between_files_that_were_joined_are_no_words():
  for split in SPLITTERS.values():
    assert split("\ufeffa b\n\ufeffc\n") == split("a b\nc\n")
    assert split("a\r\nb\r\n") == split("a\nb\n")


def test_names_of_wikitext_and_what_systems_leave_behind(tmp_path):
  write(tmp_path, stem="wiki.")
  for file in [*tmp_path.iterdir()]:
    file.rename(file.with_suffix(".tokens"))
    (tmp_path / f"._{file.name}").write_bytes(b"\0\5")
  source, lines = told(str(tmp_path))
  assert source.vocabulary == 4
  train = tmp_path / "wiki.train.tokens"
  assert lines[0] == f"Read 6 words in {train}, in 0:00:00."


def test_the_most_frequent_words_are_known(tmp_path):
  path = write(tmp_path, "a b\nc b\nc d\n", "b e\n", "a d b\n")
  source, lines = told(path, vocabulary=4)
  # b and c are twice in the text, a and d once.
  assert source.words.vocabulary == ("<eos>", "<unk>", "b", "c")
  assert source.train().tolist() == [1, 2, 0, 3, 2, 0, 3, 1, 0]
  assert source.valid().tolist() == [2, 1, 0]
  assert source.test().tolist() == [1, 1, 2, 0]
  assert lines[0] == (
      f"Of the 5 words in {path}/train.txt the 4 most frequent are known, <eos>"
      " and <unk> among them."
  )
  assert "valid.txt, 33.3% of them unknown, in 0:00:00." in lines[2]
  # Of two that are as frequent, the first in order.
  assert told(path, vocabulary=5)[0].words.vocabulary[2:] == ("a", "b", "c")
  # A model that was trained on it reads other texts alike.
  assert source.words.numbers(["b", "never"]).tolist() == [2, 1]
  with pytest.raises(ConfigError, match=r"^path: the word 'e' of .*data.voca"):
    told(path)
  source, lines = told(path, vocabulary=99)
  assert source.vocabulary == 6
  assert lines[0].startswith(f"All 5 words in {path}/train.txt are known. No ")


def test_characters_are_words_too(tmp_path):
  path = write(tmp_path, "ab a\n\nc\n", "b a\n", "c\n")
  source, lines = told(path, unit="character")
  assert source.words.vocabulary == (" ", "<eos>", "a", "b", "c")
  assert source.train().tolist() == [2, 3, 0, 2, 1, 1, 4, 1]
  assert source.valid().tolist() == [3, 0, 2, 1]
  assert lines[0].startswith("Read 8 characters in ")
  for content in ("ab a\n\nc\n", "\n\na", " a \n", ""):
    words = source.words.begun(content)
    assert source.words.join(words) == content
  (tmp_path / "valid.txt").write_text("é")
  with pytest.raises(ConfigError, match=r"^path: the character 'é' of "):
    told(path, unit="character")
  found = told(path, unit="character", vocabulary=9)[0]
  assert found.valid().tolist() == [2, 1]


def test_the_corpus_of_every_python():
  source = data.load("pydoc")
  sizes = [len(read()) for read in (source.train, source.valid, source.test)]
  shares = np.array(sizes) / sum(sizes)
  np.testing.assert_allclose(shares, [0.8, 0.1, 0.1], atol=0.01)
  assert 1_000 < source.vocabulary < 5_000
  words = source.train()
  assert words.min() >= 0 and words.max() == source.vocabulary - 1
  assert set(words.tolist()) == set(range(source.vocabulary))


WORDS = np.arange(103, dtype=np.int32)  # 2 rows of 51


def played(split, key=None, augment_key=None):
  """Every batch of a pass, in numpy."""
  rows = jax.device_get(split.rows(key))
  batch = jax.jit(split.batch)
  return [
      jax.device_get(
          batch(split.arrays, jax.tree.map(lambda r: r[i], rows), augment_key)  # noqa: B023
      )
      for i in range(split.steps)
  ]


def read(batch):
  """The words of each row that count."""
  count = int(batch.weight[0].sum())
  assert np.all(batch.weight[:, :count] == 1)
  assert np.all(batch.weight[:, count:] == 0)
  # Targets are the words after.
  np.testing.assert_array_equal(
      batch.targets[:, :count], batch.words[:, :count] + 1
  )
  return batch.words[:, :count]


def test_fixed_segments_follow_one_another():
  split = text.training(WORDS, batch=2, length=10, vary=False)
  batches = played(split, jax.random.key(0))
  assert len(batches) == 5  # 50 // 10
  whole = np.concatenate([read(b) for b in batches], 1)
  np.testing.assert_array_equal(whole, [np.arange(50), 51 + np.arange(50)])
  assert [bool(b.first) for b in batches] == [True, False, False, False, False]
  assert all(b.share == 1 for b in batches)


def test_varied_segments_follow_one_another_and_begin_anew_at_the_end():
  split = text.training(WORDS, batch=2, length=20, vary=True)
  lengths, firsts = [], 0
  for seed in range(30):
    before = None
    for batch in played(split, jax.random.key(seed)):
      words = read(batch)
      assert batch.words.shape == (2, 30)
      np.testing.assert_allclose(batch.share, words.shape[1] / 20)
      if batch.first:
        firsts += 1
        assert before is None or (words[0, 0] == 0 and before == 49)
      else:
        assert words[0, 0] == before + 1
      before = words[0, -1]
      lengths.append(words.shape[1])
  assert firsts > 30
  assert min(lengths) >= 1 and max(lengths) <= 30
  assert len(set(lengths)) > 10


def test_varied_lengths_are_those_of_the_reference():
  words = np.zeros(2_000_000, np.int32)
  split = text.training(words, batch=1, length=35, vary=True)
  _, lengths, _ = jax.device_get(split.rows(jax.random.key(0)))
  full = lengths >= 25
  assert lengths[full].max() <= 45 and lengths[~full].min() >= 7
  np.testing.assert_allclose(1 - full.mean(), 0.05, atol=0.01)
  np.testing.assert_allclose(lengths[full].mean(), 34.5, atol=0.1)  # cut to int
  # Of a normal cut at two standard deviations.
  np.testing.assert_allclose(lengths[full].std(), 5 * 0.8796, atol=0.1)


def test_measured_in_order_every_word_counts_once():
  split = text.held(WORDS, batch=2, length=20, part="validation")
  batches = played(split)
  whole = np.concatenate([read(b) for b in batches], 1)
  np.testing.assert_array_equal(whole, [np.arange(50), 51 + np.arange(50)])
  assert [bool(b.first) for b in batches] == [True, False, False]


def test_shuffled_segments_stand_alone():
  split = text.held(WORDS, batch=2, length=20, part="validation")
  batches = played(split, jax.random.key(1))
  starts = sorted(int(b.words[0, 0]) for b in batches)
  assert starts == [0, 20, 40]
  assert all(b.first for b in batches)


@pytest.mark.parametrize("batch, length, message", [
    (52, 1, "batch: 52 rows of the training text of 103 words"),
    (2, 51, "batch: 2 rows of the training text"),
    (2, 0, "length: must be a whole number >= 1, got 0."),
])
def test_a_text_too_short_is_refused(batch, length, message):
  with pytest.raises(ConfigError) as caught:
    text.training(WORDS, batch=batch, length=length, vary=False)
  assert str(caught.value).startswith(message)


def test_a_search_does_not_read_the_test_text():
  def never():
    raise AssertionError("the test text was read")

  source = text.TextSource(103, lambda: WORDS, lambda: WORDS, never)
  train, held = source.search(batch=2, length=10, vary=True)
  assert (train.steps, held.steps) == (5, 5)
  assert train.arrays.shape == (2, 51 + 20)
  assert isinstance(train.arrays, np.ndarray)  # not on a device yet
  _, watched, held = source.final(
      batch=2, length=10, vary=True, eval_batch=1, measure="valid"
  )
  assert watched is held
  with pytest.raises(ConfigError, match=r"^measure: .*'dev'"):
    source.final(batch=2, length=10, vary=True, eval_batch=1, measure="dev")


@pytest.mark.parametrize("given, line", [
    ({"vocabulary": 0}, "its vocabulary must be a whole number >= 1, got 0."),
    (
        {"vocabulary": "9"},
        "its vocabulary must be a whole number >= 1, got '9'.",
    ),
    ({"words": ("a", "b")}, "its words must be Words or None, got tuple."),
    (
        {"words": Words(("a", "b"), "spaced")},
        "its words must be of the 103 that its vocabulary says, got 2.",
    ),
    (
        {"valid": WORDS},
        "its valid must be a function that returns int32[n] in numpy, got"
        " int32[103].",
    ),
    (
        {"train": lambda: WORDS.tolist()},
        "its train text must be int32[n] in numpy, got list.",
    ),
    (
        {"train": lambda: jnp.asarray(WORDS)},
        "its train text must be int32[n] in numpy, got int32[103] in jaxlib.",
    ),
    (
        {"valid": lambda: WORDS / 2},
        "its valid text must be int32[n] in numpy, got float64[103].",
    ),
    (
        {"valid": lambda: WORDS[None]},
        "its valid text must be int32[n] in numpy, got int32[1, 103].",
    ),
    (
        {"test": lambda: WORDS - 1},
        "the numbers of its test text must be 0 to 102 for its 103 words, got"
        " -1 to 101.",
    ),
    (
        {"vocabulary": 9},
        "the numbers of its train text must be 0 to 8 for its 9 words, got 0 to"
        " 102.",
    ),
])
def test_a_corpus_of_ones_own_that_is_none_is_one_line(given, line):
  parts = dict.fromkeys(("train", "valid", "test"), lambda: WORDS)
  with pytest.raises(ConfigError) as caught:
    source = text.TextSource(**{"vocabulary": 103, **parts, **given})
    source.train(), source.valid(), source.test()
  assert str(caught.value) == f"name: {line}"


def test_a_test_text_too_short_names_its_own_batch():
  read = lambda: WORDS
  source = text.TextSource(103, read, read, lambda: WORDS[:20])
  with pytest.raises(ConfigError, match=r"^eval_batch: 4 rows of the test "):
    source.final(batch=2, length=10, vary=False, eval_batch=4)


def test_a_text_is_read_once():
  reads = []

  def reader(part):
    def read():
      reads.append(part)
      return WORDS

    return read

  source = text.TextSource(103, *map(reader, ("train", "valid", "test")))
  assert not reads
  wanted = {"batch": 2, "length": 10, "vary": True}
  source.search(**wanted)
  source.final(eval_batch=1, measure="valid", **wanted)
  assert reads == ["train", "valid"]
  source.final(eval_batch=1, **wanted)
  source.final(eval_batch=2, **wanted)
  assert reads == ["train", "valid", "test"]
