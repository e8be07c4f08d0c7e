"""A trained network in use: `load` it, then `predict` or `perplexity`.

  model = enas_jax.load("runs/digits_final")
  model.classes, model.predict("picture.png")
"""

from collections.abc import Iterator, Sequence
import functools
import itertools
import os
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import modelfile, options, remade
from enas_jax.data import preprocess, text
from enas_jax.data.preprocess import Preprocess
from enas_jax.errors import ConfigError, lookup
from enas_jax.types import SearchSpace

_BATCH = 32
_LINE = 500  # characters of an error
# What `Model.predict` takes; a list mixes paths and pictures as it likes.
Pictures = Any


class Evaluation(NamedTuple):
  """What a network is worth on the pictures of a folder."""

  accuracy: float
  right: int
  count: int
  confusions: np.ndarray  # i64[classes, classes], of a class taken for another


def load(
    path: str | os.PathLike,
    space: type[SearchSpace] | SearchSpace | None = None,
    *,
    network: Any = None,
    task: Any = None,
    batch: int = _BATCH,
) -> "Model":
  """Loads what a final training has left; runs no code of its files.

  Args:
    path: the folder of the run, or its `model/`.
    space: of a model whose space is none of `SPACES`: the space itself, or
      its class, which is given the options in the file.
    network: likewise what makes a baseline network that is none of `NETWORKS`.
    task: likewise what makes a task that is none of `TASKS`.
    batch: how many pictures go through the network at once; fewer are filled
      up, so 1 is quickest for one.

  Raises:
    ConfigError: there is no model, its files are broken or foreign, or `space`
      is needed. The key is the file.
  """
  options.checked("batch", batch, options.Count)
  file = modelfile.find(path)
  content = modelfile.read(file)
  try:
    given = {"space": space, "network": network, "task": task}
    made = remade.parts(content, given)
    wanted = functools.partial(remade.shapes, content, made)
    held = modelfile.weights(
        file.with_name(modelfile.WEIGHTS), content["weights"]["sha256"], wanted
    )
  except ConfigError as error:
    if error.key.endswith(modelfile.WEIGHTS):
      raise
    raise ConfigError(str(file), f"{error}"[:_LINE]) from None
  # Its values reach the code of every part, which may fail in any way.
  except Exception as error:
    raise modelfile.broken(file, error) from None
  return Model(file, content, made, held, batch)


class Model:
  """A trained network, its weights, and how what it reads becomes numbers.

  Attributes:
    module: the flax module.
    variables: what its `apply` takes: "params", and averages where it has any.
    arch: of numpy arrays, what the module is called with after the batch.
    space: which the architecture is of; None: a baseline network.
    classes: their names, in the order of the probabilities; none of a text.
    content: what `model.json` holds.
  """

  def __init__(
      self,
      file: pathlib.Path,
      content: modelfile.Content,
      parts: remade.Parts,
      held: Any,
      batch: int,
  ):
    self.space, self.module, self.arch, self._task = parts
    self.variables = {"params": held["params"], **held.get("state", {})}
    self.content, self._file, self._batch = content, file, batch
    images, texts = content.get("images"), content.get("text")
    self.classes = images["classes"] if images else []
    self._reads = self._words = None
    if images:
      keys = ("shape", "mean", "std")
      self._reads = Preprocess(*(tuple(images[key]) for key in keys))
    if texts and texts["vocabulary"] is not None:
      self._words = text.Words(tuple(texts["vocabulary"]), texts["splitter"])

  def predict(self, images: Pictures) -> np.ndarray:
    """Returns the probabilities of the classes, f32[n, classes].

    What differs in size or channels from what the network was trained on is
    brought to it as the reader of its data does.

    Args:
      images: a path, a Pillow image, an array u8[H, W, C] or u8[n, H, W, C],
        or a list of paths, Pillow images and arrays u8[H, W, C].

    Raises:
      ConfigError: a file that is no picture; the model is of texts.
    """
    if not self._reads:
      raise self._unfit("predict", "pictures")
    found = [np.zeros((0, len(self.classes)), np.float32)]
    pixels = self._pixels(images)
    while several := list(itertools.islice(pixels, self._batch)):
      # Not zeros: a network may have no averages to normalise by.
      whole = list(itertools.islice(itertools.cycle(several), self._batch))
      out = self._probabilities(self.variables, np.stack(whole))
      found.append(np.asarray(out)[: len(several)])
    return np.concatenate(found)

  def evaluate(self, folder: str | os.PathLike) -> Evaluation:
    """Measures the network on a folder that has one subfolder a class.

    Classes may be missing.

    Raises:
      ConfigError: no such folder, no picture, or a subfolder that is no class.
    """
    if not self._reads:
      raise self._unfit("evaluate", "pictures")
    root, files = pathlib.Path(folder).expanduser(), []
    inner = subfolders(root)
    for each in inner:
      if each.name not in self.classes:
        lookup(str(root), each.name, dict.fromkeys(self.classes), "class")
      number = self.classes.index(each.name)
      files += [(file, number) for file in pictures(each)]
    if not files:
      raise ConfigError(
          str(root), "has no folder of a class with pictures in it."
      )
    paths, labels = zip(*files, strict=True)
    guesses = self.predict(list(paths)).argmax(1)
    confusions = np.zeros((len(self.classes),) * 2, np.int64)
    np.add.at(confusions, (list(labels), guesses), 1)
    right = int(np.trace(confusions))
    return Evaluation(right / len(files), right, len(files), confusions)

  def perplexity(
      self, words: str | Sequence[str] | np.ndarray, rows: int = 1
  ) -> float:
    """Returns the perplexity of a text, read from its beginning.

    Args:
      words: the text, its words, or their numbers i32[n].
      rows: into how many stretches it is cut, which are read side by side and
        each without the words before; what is left over is dropped. The result
        of the training is of `content["text"]["rows"]`.

    Raises:
      ConfigError: too short a text, a word that has no number; the model is of
        pictures.
    """
    facts = self.content.get("text")
    if not facts:
      raise self._unfit("perplexity", "a text")
    options.checked("rows", rows, options.Count)
    numbers = self._numbers(words)
    columns = len(numbers) // rows
    if columns < 2:
      raise ConfigError("text", f"{rows} rows need 2 words each.")
    length, last = facts["length"], columns - 1
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
        state = self._task.begin({}, batch)
      state, record = self._measure(self.variables["params"], state, batch)
      total += float(record["perplexity"].total)
      count += float(record["perplexity"].count)
    with np.errstate(over="ignore"):  # weights may be of any size
      return float(np.exp(total / count))

  @functools.cached_property
  def _probabilities(self):
    """The program (variables, u8[B, H, W, C]) -> f32[B, classes]."""

    @jax.jit
    def probabilities(variables, pixels):
      logits, _ = self.module.apply(
          variables, self._reads.normalise(pixels), self.arch, train=False
      )
      return jax.nn.softmax(logits.astype(jnp.float32))

    return probabilities

  @functools.cached_property
  def _measure(self):
    """The program (params, model state, batch) -> (model state, record)."""

    @jax.jit
    def measure(params, state, batch):
      return self._task.measure(params, state, self.arch, batch)

    return measure

  def _pixels(self, images: Pictures) -> Iterator[np.ndarray]:
    """Yields u8[H, W, C] of each picture, as the network reads them."""
    if isinstance(images, np.ndarray) and images.ndim == 4:
      return map(self._one, images)
    if isinstance(images, (list, tuple)):
      return map(self._one, images)
    return iter([self._one(images)])

  def _one(self, image: Any) -> np.ndarray:
    from PIL import Image

    if isinstance(image, (str, os.PathLike)):
      with preprocess.open_picture(image) as picture:
        return self._reads.pixels(picture)
    if isinstance(image, Image.Image):
      return self._reads.pixels(image)
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[-1] not in (1, 3, 4)
        or 0 in image.shape
    ):
      raise ConfigError(
          "images",
          "must be paths, Pillow images or arrays u8[H, W, C] of 1, 3 or 4"
          f" channels, got {_kind(image)}.",
      )
    if image.shape == self._reads.shape:
      return image
    squeezed = image[..., 0] if image.shape[-1] == 1 else image
    return self._reads.pixels(Image.fromarray(squeezed))

  def _numbers(self, words: Any) -> np.ndarray:
    if isinstance(words, np.ndarray):
      most = self.content["network"]["vocabulary"]
      if words.ndim != 1 or words.dtype.kind not in "iu":
        raise ConfigError(
            "text", f"numbers must be i32[n], got {_kind(words)}."
        )
      if len(words) and not 0 <= words.min() <= words.max() < most:
        raise ConfigError("text", f"numbers must be below {most}.")
      return words.astype(np.int32)
    if self._words is None:
      raise ConfigError(
          "text", "the corpus of the model says no words; give their numbers."
      )
    if isinstance(words, str):
      words = self._words.split(words)
    return self._words.numbers(words)

  def _unfit(self, name: str, wanted: str) -> ConfigError:
    return ConfigError(
        str(self._file), f"is of no network that reads {wanted} ({name})."
    )


def subfolders(root: pathlib.Path) -> list[pathlib.Path]:
  """Lists the folders in a folder, which stand for classes, by name.

  Raises:
    ConfigError: there is no such folder.
  """
  if not root.is_dir():
    raise ConfigError(str(root), "there is no such folder.")
  return sorted(
      p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")
  )


def pictures(folder: pathlib.Path) -> list[pathlib.Path]:
  """Lists the files of a folder that are named as pictures, by name."""
  return sorted(filter(preprocess.is_picture, folder.iterdir()))


def _kind(value: Any) -> str:
  if isinstance(value, np.ndarray):
    return f"{value.dtype}{list(value.shape)}"
  return type(value).__name__
