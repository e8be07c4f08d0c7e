"""A training that goes on from the weights of a model (`config.init`)."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from enas_jax import model, modelfile
from enas_jax.errors import ConfigError
from enas_jax.plan import Facts, Start
from enas_jax.types import Split, Task

_SHOWN = 3  # names of weights in an error
_KEY = "init"


def weights(path: str) -> str:
  """Returns the hash of the weights of a model.

  Raises:
    ConfigError: there is no model at the path; the key is "init".
  """
  return _content(path)["weights"]["sha256"]


def started(
    path: str,
    task: Task,
    other: Task,
    train: Split,
    facts: Facts,
    given: Collection[str],
    parts: Mapping[str, Any],
    arch: Any,
) -> tuple[Task, Start]:
  """Returns the task whose first weights are those of a model.

  The weights that depend on the names of the classes, on the words or on the
  sides of the pictures start afresh where these differ: that is the head, the
  embedding of words, and a kernel that covers a whole map.

  Args:
    path: the folder of a final training, or its `model/`.
    task: of the training.
    other: the same task of a network with one class or one word more.
    train: the split that is trained on.
    facts: what the network of the task is made of.
    given: the options of the network that come from the data.
    parts: the "space" of the training, None for a baseline network, and what
      makes its "network" and its "task".
    arch: of the training.

  Raises:
    ConfigError: there is no such model, or it is another network; the key is
      "init".
  """
  content, space = _content(path), parts["space"]
  _check_arch(path, content, facts, space, arch)
  named = {
      kind: parts[kind]
      for kind, its in (("network", facts.network), ("task", facts.task))
      if its.get("name", "") == content[kind].get("name")
  }
  try:
    loaded = model.load(path, space, **named)
  except ConfigError as error:
    raise ConfigError(_KEY, f"{error}") from None
  shapes, wider = _shapes(task, train, arch), _shapes(other, train, arch)
  head = {name for name, leaf in shapes.items() if wider[name] != leaf}
  held = modelfile.named(loaded.variables)
  fresh = head if _reads(content, train) != _own(train, facts) else set()
  if "images" in content and not train.carried:
    sides = content["images"]["shape"][:2]
    there = _shapes(task, train, arch, sides)
    fresh |= {name for name, leaf in shapes.items() if there[name] != leaf}
  own = {name: leaf for name, leaf in shapes.items() if name not in fresh}
  _check_fit(path, content, facts, given, own, held)

  def init(key, batch, arch):
    params, state = task.init(key, batch, arch)
    return (
        _replaced(params, "params/", own, held),
        _replaced(state, "", own, held),
    )

  return task._replace(init=init), Start(path, tuple(sorted(fresh)))


def _content(path: str) -> modelfile.Content:
  try:
    return modelfile.read(modelfile.find(path))
  except ConfigError as error:
    raise ConfigError(_KEY, f"{error}") from None


def _check_arch(path, content, facts, space, arch) -> None:
  """Raises ConfigError unless the model is of this arch."""
  if content["space"] != facts.space:
    raise ConfigError(
        _KEY,
        f"the model in {path} is of {_named(content['space'])}, this config"
        f" trains one of {_named(facts.space)}.",
    )
  if space and content["arch"]["encoding"] != space.flatten(arch):
    raise ConfigError(
        _KEY,
        f"the model in {path} is of another architecture; add"
        f" --config.arch={path}.",
    )


def _named(space: dict[str, Any] | None) -> str:
  """Returns a space and its options in words."""
  if space is None:
    return "a baseline network"
  inner = ", ".join(f"{k} {v!r}" for k, v in space.items() if k != "name")
  return f"the space {space['name']!r} ({inner})"


def _shapes(
    task: Task, train: Split, arch: Any, sides: Sequence[int] | None = None
) -> dict[str, tuple]:
  """Returns the shape of each weight and each average that is trained.

  Args:
    task: Of the training.
    train: The split that is trained on.
    arch: Of the training.
    sides: The height and width of other pictures; None: as they are.
  """
  batch = train.shapes()
  if sides is not None:
    count, *_, channels = batch.images.shape
    images = batch.images.update(shape=(count, *sides, channels))
    batch = batch._replace(images=images)
  params, state = jax.eval_shape(
      lambda key: task.init(key, batch, arch), jax.random.key(0)
  )
  # A carry from one segment of a text to the next belongs to no model.
  tree = {"params": params, **({} if train.carried else state)}
  return {name: leaf.shape for name, leaf in modelfile.named(tree).items()}


def _reads(content: modelfile.Content, train: Split) -> Any:
  """Returns the names of the model's classes, or its words."""
  if train.carried:
    facts = content.get("text", {})
    return facts.get("vocabulary"), facts.get("splitter")
  return content.get("images", {}).get("classes")


def _own(train: Split, facts: Facts) -> Any:
  """Returns the same of this training."""
  if train.carried:
    words = train.preprocess
    return (list(words.vocabulary), words.splitter) if words else None
  return list(facts.classes)


def _check_fit(path, content, facts, given, own, held) -> None:
  """Raises ConfigError unless the model has each weight that is taken."""
  odd = sorted(
      name
      for name, shape in own.items()
      if name not in held or held[name].shape != shape
  )
  if not odd:
    return
  there = content["network"]
  changes = [
      f"--config.network.{key}={there[key]}"
      for key, value in facts.network.items()
      if key not in given and there.get(key, value) != value
  ]
  hint = f"; if it is to be the same network, add {' '.join(changes)}"
  raise ConfigError(
      _KEY,
      f"the weights in {path} do not fit this network:"
      f" {', '.join(odd[:_SHOWN])}{hint if changes else ''}.",
  )


def _replaced(
    tree: Any, prefix: str, own: dict[str, tuple], held: dict[str, Any]
) -> Any:
  """Returns a tree with those of its leaves that are taken from a model."""
  leaves = [
      jnp.asarray(held[prefix + name]) if prefix + name in own else leaf
      for name, leaf in modelfile.named(tree).items()
  ]
  return jax.tree.unflatten(jax.tree.structure(tree), leaves)
