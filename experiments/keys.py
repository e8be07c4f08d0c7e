"""Writes configs/README.md: every key of a config, as its part defines it.

  python -m experiments.keys

A table has the keys of one block: what a value may be, the default, and the
line of help, all from the signature and the docstring of the part that takes
them (enas_jax/options.py). Then come the values that the files of configs/ set.
A test makes the page again and compares.
"""

from collections.abc import Callable, Iterable, Iterator
import importlib
import pathlib
from typing import Any

from enas_jax import data, nn, optim, options, settings
from enas_jax.build import configfile
from enas_jax.data import tfds
from enas_jax.spaces import SPACES
from enas_jax.strategies import STRATEGIES
from enas_jax.tasks import TASKS

PAGE = pathlib.Path(__file__).parents[1] / "configs" / "README.md"
_NONE = "must be set"
# Keys that no part has as an option: they name a part, or hold a whole config.
_NAMES = {
    "arch": "A training: the architecture. A preset by name, the path of an"
    " `arch.json` or of the folder of a run, the integers themselves, or the"
    " path of a file of integers.",
    "space.name": "The search space: " + ", ".join(SPACES) + ".",
    "data.name": "The data set: " + ", ".join(data.DATASETS) + ", or any image"
    " classification set of TFDS, such as cifar10.",
    "task.name": "The task: " + ", ".join(TASKS) + ".",
    "child.optimiser": "The optimiser of the weights: "
    + ", ".join(optim.OPTIMISERS) + ".",
    "network.name": "A training: a network without choices, in place of a"
    " space: " + ", ".join(nn.NETWORKS) + ".",
    "derive.config": "The final config by which finalists are trained alone;"
    " empty: that of `retrain`. A config file sets it (`recipe`).",
    "retrain.config": "The final config by which a search trains what it found,"
    " and random architectures; empty: the search ends with a command.",
}
_HEAD = """# Every key of a config

`python -m experiments.keys` writes this page from the parts themselves, and a
test compares. [The guides](../experiments/README.md) say how to use the keys.

A flag sets a key: `--config.child.lr=0.1`. It may be one that the config file
does not set. The last tables show which file sets what.

A key whose default is "{none}" has none: the config must give a value. All
files of `configs/` do.
"""


def page() -> str:
  """Returns the page."""
  parts = [_HEAD.format(none=_NONE).replace("\n\n\n", "\n\n")]
  parts += ["## Names", _rows(
      ("key", "meaning"),
      ((f"`{key}`", text) for key, text in _NAMES.items()),
  ), "Each name may also be one of your own: `file.py:Name`."]
  for title, block, part, ours in _blocks():
    known = options.of(part, ours)
    parts.append(f"## {title}")
    parts.append(_table(block, known) if known else "It has no keys.")
  parts.append("## What the files set")
  parts.append(
      "An empty cell means that the file does not set the key. `None` stands"
      " for the default of the data set, or for what the architecture brings."
  )
  for title, names in _families().items():
    parts += [f"### {title}", _matrix(names)]
  return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _blocks() -> Iterator[tuple[str, str, Callable, tuple[str, ...]]]:
  """Yields for each table its title, the block, the part, and what is ours."""
  yield "The run", "", settings.Training, ()
  for name, load in {**data.DATASETS, "a set of TFDS": tfds.load}.items():
    yield f"data: {name}", "data", load, ("name",)
  for what, source in (("images", data.Source), ("texts", data.TextSource)):
    yield f"data of {what}: a search", "data", source.search, ("self", "batch")
    yield f"data of {what}: a training", "data", source.final, ("self", "batch")
  yield "augment", "augment", data.Augment, ()
  for name, task in TASKS.items():
    yield f"task: {name}", "task", task, ("network",)
  for name, space in SPACES.items():
    yield f"space: {name}", "space", space, ()
  facts = ("classes", "vocabulary", "dtype")
  for name, space in SPACES.items():
    yield f"network: of the space {name}", "network", space().network, facts
  for name, network in nn.NETWORKS.items():
    yield f"network: {name}", "network", network, facts
  for what, source in (("images", data.Source), ("texts", data.TextSource)):
    others = options.of(source.search).keys() - {"batch"}
    yield f"child: a batch of {what}", "child", source.search, (*others,)
  for name, make in optim.OPTIMISERS.items():
    yield f"child: {name}", "child", make, ("epochs", "steps")
  yield "strategy", "strategy", settings.Search, ()
  for name, make in STRATEGIES.items():
    yield name, name, make, ("space",)
  yield "objective", "objective", settings.Objective, ()
  yield "derive", "derive", settings.Derive, ()
  yield "retrain", "retrain", settings.Retrain, ()
  yield "benchmark", "benchmark", settings.Benchmark, ()


def _table(block: str, known: dict[str, options.Option]) -> str:
  prefix = f"{block}." if block else ""
  return _rows(
      ("key", "value", "default", "meaning"),
      (
          (
              f"`{prefix}{key}`",
              options.words(option.annotation),
              _NONE if option.required else _shown(option.default),
              option.help,
          )
          for key, option in known.items()
      ),
  )


def _families() -> dict[str, list[str]]:
  """Returns the names of the files, apart by what they do and read."""
  families = {}
  for name in configfile.shipped():
    config = _config(name)
    what = "Searches" if "strategy" in config else "Trainings"
    data_ = "texts" if config["task"]["name"] == "language_model" else "images"
    families.setdefault(f"{what} on {data_}", []).append(name)
  return dict(sorted(families.items()))


def _matrix(names: list[str]) -> str:
  """Returns a table of the values of some files, a column each."""
  columns = [dict(flat(_config(name))) for name in names]
  keys = sorted(
      {key for column in columns for key in column},
      key=lambda key: ("." in key, key),
  )
  return _rows(
      ("key", *names),
      (
          (f"`{key}`", *(
              _shown(column[key]) if key in column else "" for column in columns
          ))
          for key in keys
      ),
  )


def _config(name: str) -> dict[str, Any]:
  module = importlib.import_module(f"enas_jax.configs.{name}")
  return configfile.recorded(module.get_config().to_dict())


def flat(block: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
  """Yields the keys and values of a config; a final config in it is one."""
  for key, value in block.items():
    if not isinstance(value, dict):
      yield f"{prefix}{key}", value
    elif key == "config":
      yield f"{prefix}{key}", "set" if value else "empty"
    else:
      yield from flat(value, f"{prefix}{key}.")


def _shown(value: Any) -> str:
  number = isinstance(value, float)
  return f"`{f'{value:g}' if number else value or repr(value)}`"


def _rows(head: tuple[str, ...], rows: Iterable) -> str:
  lines = [head, ["---"] * len(head), *rows]
  return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
  """Returns a text that Markdown shows as it is; code has no such signs."""
  return text if text.startswith("`") else text.replace("<", "&lt;")


if __name__ == "__main__":
  PAGE.write_text(page(), encoding="utf-8")
  print(f"Wrote {PAGE}.")
