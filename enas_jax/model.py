"""A trained network in use: `load` it, then `predict` or `generate`.

  model = enas_jax.load("runs/digits_final")
  model.classes, model.predict("picture.png")
"""

from collections.abc import Callable, Iterator, Sequence
import functools
import itertools
import os
import pathlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import modelfile, options, remade
from enas_jax.data import listing, preprocess, telling
from enas_jax.data.preprocess import Preprocess
from enas_jax.errors import ConfigError, kind, lookup
from enas_jax.texts import Texts, Words
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
    space: type[SearchSpace] | SearchSpace | str | None = None,
    *,
    network: Any = None,
    task: Any = None,
    batch: int = _BATCH,
) -> "Model":
  """Loads what a final training has left; runs no code of its files.

  Args:
    path: the folder of the run, or its `model/`.
    space: of a model whose space is none of `SPACES`: the space itself, its
      class, which is given the options in the file, or `own.py:Name`.
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


def together(paths: Sequence[str], **own: Any) -> list["Model"]:
  """Loads models of pictures whose probabilities can be averaged.

  Args:
    paths: as `load` takes each.
    own: the parts that `load` is given.

  Raises:
    ConfigError: a model cannot be loaded or reads no pictures, or one has
      other classes than the first.
  """
  models = [load(path, **own) for path in paths]
  for path, each in zip(paths, models, strict=True):
    if not each.classes:
      raise ConfigError(
          path,
          "reads no pictures; what a model of text can do is"
          " enas_jax.load(...).perplexity(text).",
      )
    if each.classes != models[0].classes:
      raise ConfigError(
          path, f"has other classes than {paths[0]}, or in another order."
      )
  return models


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
    self.space, self.module, self.arch, _ = parts
    self.variables = {"params": held["params"], **held.get("state", {})}
    self.content, self._file, self._batch = content, file, batch
    images = content.get("images")
    self.classes = images["classes"] if images else []
    self._reads = self._texts = None
    if images:
      keys = ("shape", "mean", "std")
      self._reads = Preprocess(*(tuple(images[key]) for key in keys))
    if "text" in content:
      self._texts = Texts(content, parts, held["params"])

  def predict(self, images: Pictures) -> np.ndarray:
    """Returns the probabilities of the classes, f32[n, classes].

    What differs in size or channels from what the network was trained on is
    brought to it as the reader of its data does: upright, and white where it
    is transparent (`Preprocess.pixels`).

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
      out = self.probabilities(self.variables, np.stack(whole))
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
    return evaluate(self.predict, self.classes, folder)

  def perplexity(self, words: Words, rows: int = 1) -> float:
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
    if not self._texts:
      raise self._unfit("perplexity", "a text")
    return self._texts.perplexity(words, rows)

  def generate(
      self,
      prompt: Words,
      words: int = 50,
      temperature: float = 1.0,
      key: int | jax.Array = 0,
  ) -> str | np.ndarray:
    """Returns a text that goes on from another one; same key, same text.

    Args:
      prompt: the text before, its words, or their numbers i32[n]. A text whose
        last line does not end is gone on with in this line; an empty prompt
        begins one.
      words: how many are added.
      temperature: divides the logits before a word is drawn; 0 takes the
        likeliest.
      key: of the draws, a key of jax or a seed.

    Returns:
      What is added, without the prompt, as one text, which splits into these
      words again; ends of lines are words too, and the word for all that are
      unknown is never drawn. Numbers, i32[words], where the corpus of the
      model says no words.

    Raises:
      ConfigError: a value that cannot be; the model is of pictures.
    """
    if not self._texts:
      raise self._unfit("generate", "a text")
    return self._texts.generate(prompt, words, temperature, key)

  @functools.cached_property
  def probabilities(self) -> Callable[[Any, jax.Array], jax.Array]:
    """The program (variables, u8[B, H, W, C]) -> f32[B, classes]."""

    @jax.jit
    def probabilities(variables, pixels):
      logits, _ = self.module.apply(
          variables, self._reads.normalise(pixels), self.arch, train=False
      )
      return jax.nn.softmax(logits.astype(jnp.float32))

    return probabilities

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
          f" channels, got {kind(image)}.",
      )
    if image.shape == self._reads.shape:
      return image
    squeezed = image[..., 0] if image.shape[-1] == 1 else image
    return self._reads.pixels(Image.fromarray(squeezed))

  def _unfit(self, name: str, wanted: str) -> ConfigError:
    return ConfigError(
        str(self._file), f"is of no network that reads {wanted} ({name})."
    )


def evaluate(
    predict: Callable[[Pictures], np.ndarray],
    classes: list[str],
    folder: str | os.PathLike,
) -> Evaluation:
  """Measures what `predict` says of a folder; see `Model.evaluate`."""
  root, files = pathlib.Path(folder).expanduser(), []
  for each in subfolders(root):
    name = telling.printable(each.name)
    if name not in classes:
      lookup(str(root), name, dict.fromkeys(classes), "class")
    number = classes.index(name)
    files += [(file, number) for file in listing.of_class(each).pictures]
  if not files:
    raise ConfigError(
        str(root), "has no folder of a class with pictures in it."
    )
  paths, labels = zip(*files, strict=True)
  guesses = predict(list(paths)).argmax(1)
  confusions = np.zeros((len(classes),) * 2, np.int64)
  np.add.at(confusions, (list(labels), guesses), 1)
  right = int(np.trace(confusions))
  return Evaluation(right / len(files), right, len(files), confusions)


def subfolders(root: pathlib.Path) -> list[pathlib.Path]:
  """Lists the folders in a folder, which stand for classes, by name.

  Those of systems are left out, as where a data set is read.

  Raises:
    ConfigError: there is no such folder.
  """
  if not root.is_dir():
    raise ConfigError(str(root), "there is no such folder.")
  return listing.listed(root).folders


def pictures(folder: pathlib.Path) -> list[pathlib.Path]:
  """Lists the files of a folder that are named as pictures, by name."""
  return listing.listed(folder).pictures
