"""The network of a `model.json`, made again of what the file says.

Nothing of it is believed: names are looked up among our own parts, and no file
or module that one names is run; options are read by the parts that they belong
to, and sizes have bounds before anything is built.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from enas_jax import modelfile, options, registry, rows
from enas_jax.data import preprocess, text
from enas_jax.data.images import ImageBatch
from enas_jax.errors import ConfigError
from enas_jax.nn import NETWORKS
from enas_jax.spaces import SPACES
from enas_jax.tasks import TASKS
from enas_jax.types import Arch, SearchSpace, Task

# The most that a number of the space may be beyond the length of its integers,
# which grows with all of them: a file must not ask for a table of gigabytes.
_MOST = 64
_CALLS = 4  # of layers, for each array: most layers have an array or two


class Parts(NamedTuple):
  """What the words of a `model.json` mean."""

  space: SearchSpace | None  # None: a baseline network
  module: Any  # flax, called on (batch, arch)
  arch: Arch  # numpy; () of a baseline network
  task: Task


def parts(content: modelfile.Content, given: Mapping[str, Any]) -> Parts:
  """Returns what the words of a `model.json` mean.

  Args:
    content: of the file.
    given: the caller's own "space", "network" and "task", where not None.

  Raises:
    ConfigError: a part that is not known, or an option that cannot work.
    Exception: what a part makes of values that nobody expects.
  """
  arguments, arch, found = dict(content["network"]), (), None
  if content["space"] is None:
    make = _named("network", arguments, NETWORKS, given)
  else:
    encoding = content["arch"]["encoding"]
    found = _space(dict(content["space"]), given, encoding)
    arch = found.unflatten(encoding)
    make = found.network
  module = make(**options.read(make, arguments, name="network"))
  values = dict(content["task"])
  make_task = _named("task", values, TASKS, given)
  task = make_task(
      module, **options.read(make_task, values, ours=("network",))
  )
  reads = isinstance(module, rows.Tables) and module.reads
  if reads and jax.eval_shape(reads, arch):
    task = rows.whole(task, reads)
  return Parts(found, module, arch, task)


def _named(
    kind: str,
    values: dict[str, Any],
    ours: dict[str, Any],
    given: Mapping[str, Any],
) -> Any:
  """Takes the name out of `values`, and returns the part of that name."""
  name = options.checked(f"{kind}.name", values.pop("name", None), str)
  part = given.get(kind)
  if part is None and name not in ours:
    raise ConfigError(
        f"{kind}.name",
        f"{name!r} is none of {', '.join(ours)}; to trust this model, name it"
        f" yourself: load it with {kind}=, or give the command --{kind}.",
    )
  if isinstance(part, str):
    return registry.find(kind, part, kind, ours)
  return ours[name] if part is None else part


def _space(
    values: dict[str, Any], given: Mapping[str, Any], encoding: list[int]
) -> SearchSpace:
  """Returns the space of the file, or the caller's."""
  of = _named("space", values, SPACES, given)
  if not callable(of):  # a space that is made already
    return of
  for key, value in values.items():
    if type(value) is int and value > _MOST + len(encoding):
      raise ConfigError(f"space.{key}", f"{value} is too large.")
  return of(**options.read(of, values))


def shapes(
    content: modelfile.Content, made: Parts, count: int, arrays: int
) -> Any:
  """Returns the shapes of the weights and averages that the network has.

  Args:
    content: of the file.
    made: of the content.
    count: how many numbers the weights are at most.
    arrays: how many arrays they are.

  Raises:
    ConfigError: an argument that is larger than all weights together, or a
      description of what the network reads that does not fit.
  """
  for key, value in content["network"].items():
    if type(value) is int and value > count:
      raise ConfigError(
          f"network.{key}", f"{value} is more than there are weights."
      )
  batch = _batch(content)
  vocabulary = content.get("text", {}).get("vocabulary")
  known = content["network"].get("vocabulary")
  if vocabulary is not None and len(vocabulary) != known:
    raise ConfigError(
        "text.vocabulary",
        f"{len(vocabulary)} words, but the network knows {known}.",
    )
  with nn.intercept_methods(_at_most(_CALLS * (arrays + 25))):
    params, state = jax.eval_shape(
        lambda key: made.task.init(key, batch, made.arch), jax.random.key(0)
    )
  if "text" in content:
    return {"params": params}
  classes = len(content["images"]["classes"])
  logits, _ = jax.eval_shape(
      lambda variables, images: made.module.apply(
          variables, images, made.arch, train=False
      ),
      {"params": params, **state},
      batch.images,
  )
  if logits.shape != (1, classes):
    raise ConfigError(
        "images.classes",
        f"{classes} names, but the network tells {logits.shape[-1]} apart.",
    )
  return {"params": params, "state": state}


def _at_most(most: int) -> Callable:
  """Returns an interceptor of flax that ends a network of too many layers."""
  calls = 0

  def counted(function, args, kwargs, context):
    nonlocal calls
    calls += 1
    if calls > most:
      raise ConfigError("network", "has more layers than there are weights.")
    return function(*args, **kwargs)

  return counted


def _batch(content: modelfile.Content) -> Any:
  """Returns the shapes of a batch of one."""
  of = jax.ShapeDtypeStruct
  if facts := content.get("text"):
    words = of((1, facts["length"]), jnp.int32)
    return text.TextBatch(
        words, words, of(words.shape, jnp.float32), of((), bool), 1.0
    )
  facts = content.get("images")
  if not facts:
    raise ConfigError("images", "is required, or text.")
  channels = facts["shape"][-1]
  if channels not in preprocess.MODES or any(
      len(facts[key]) != channels for key in ("mean", "std")
  ):
    raise ConfigError(
        "images.mean", f"must be, as std, of the {channels} channels."
    )
  number = of((1,), jnp.float32)
  pixels = of((1, *facts["shape"]), jnp.float32)
  return ImageBatch(pixels, of((1,), jnp.int32), number, 1.0)
