"""scikit-learn's digits: 1,797 real images that come with a package."""

import functools

import numpy as np

from enas_jax.data.examples import Images
from enas_jax.data.images import Source
from enas_jax.errors import ConfigError

_TEST = 360  # examples, about a fifth


def load() -> Source:
  """Returns handwritten digits, 8 x 8 grey: 1,437 to train, 360 to test.

  Raises, when a split is read:
    ConfigError: The package scikit-learn is not installed.
  """
  return Source(
      shape=(8, 8, 1),
      classes=10,
      train=functools.partial(_read, slice(None, -_TEST)),
      test=functools.partial(_read, slice(-_TEST, None)),
      mirrors=False,
  )


def _read(part: slice) -> Images:
  try:
    from sklearn import datasets
  except ImportError:
    raise ConfigError(
        "name",
        "'digits' comes with scikit-learn: pip install enas_jax[demo]",
    ) from None
  digits = datasets.load_digits()
  # RandomState is used because numpy promises that its stream never changes.
  chosen = np.random.RandomState(0).permutation(len(digits.target))[part]
  images = np.rint(digits.images[chosen] * (255 / 16)).astype(np.uint8)
  return Images(images[..., None], digits.target[chosen].astype(np.int32))
