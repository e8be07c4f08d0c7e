"""The choices of an arch as a network reads them, and what it does by them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.ops import choose, mode
from enas_jax.spaces.choices.declare import Earlier, Kind, OneOf, Subset


class Misuse(ValueError):
  """A network does what it cannot; says what to write instead."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
  """A field of an arch, or an item of one.

  It is a tree of one array, so that an arch is a tree of int32 arrays.

  Attributes:
    value: The numbers of the options, or bits of a subset.
    kind: The declaration of the field.
    name: The name for errors, such as "op[2]".
  """

  value: jax.Array | np.ndarray
  kind: Kind = dataclasses.field(metadata={"static": True})
  name: str = dataclasses.field(metadata={"static": True})

  def __getitem__(self, n: int) -> "Choice":
    """Returns the choice of node n."""
    if not np.ndim(self.value):
      raise IndexError(
          f"{self.name} is one choice, which has no items; declare it with"
          " times=."
      )
    value = self.value[n]
    if isinstance(self.kind, Subset):
      # Node n has so many bits; those behind are 0.
      value = value[: self.kind.given + range(len(self))[n]]
    return Choice(value, self.kind, f"{self.name}[{n}]")

  def __bool__(self) -> bool:
    raise Misuse(f"{self.name} is no condition; write choices.apply.")

  def __eq__(self, other: Any) -> bool:
    if isinstance(other, Choice):
      return self is other
    raise Misuse(
        f"{self.name} cannot be compared with {other!r}, since it is a traced"
        " number in a search; write choices.apply."
    )

  __hash__ = object.__hash__

  def __len__(self) -> int:
    return len(self.value)

  def __iter__(self) -> Iterator["Choice"]:
    return (self[n] for n in range(len(self)))

  @property
  def fixed(self) -> bool:
    """Says whether the value is known, a numpy array."""
    return not isinstance(self.value, jax.Array)


def apply(
    choice: Choice,
    branches: Mapping[str, Callable] | Sequence[Callable],
    *args: Any,
    **kwargs: Any,
) -> Any:
  """Returns what the chosen branch makes of the arguments.

  In a search only the chosen branch runs, forwards and backwards, and every
  branch has weights of its own. In a final network only the chosen one is
  built; its weights have the same names.

  Args:
    choice: One choice of `one_of` words, or of `earlier`.
    branches: A flax module or a function for each word, in any order; for
      `earlier` a list with one for each result. A flax module may have weights.
      A function may make flax modules, and must not call one that was made
      outside of it.
    *args: Arguments of the branch; a gradient goes through them. They may be
      choices, to choose again in the branch.
    **kwargs: Arguments of the branch, likewise.

  Raises:
    Misuse: The branches are not those of the declaration, they differ in
      the shape of what they make, or one keeps averages.
  """
  own = _named(choice, branches)
  modules = list(own.values())
  if mode.current().final:
    return modules[_number(choice)](*args, **kwargs)
  if modules[0].is_initializing():
    # Every branch makes its weights.
    found = [module(*args, **kwargs) for module in modules]
    _check_alike(choice, dict(zip(own, found, strict=True)))
    _check_weights(choice, own)
    return found[0]
  return _switched(choice, modules, args, kwargs)


def number(choice: Choice) -> Any:
  """Returns the number that was chosen: f32[] or i32[] in a search."""
  _check_kind(choice, OneOf, "number")
  options = choice.kind.options
  if isinstance(options[0], str):
    raise Misuse(
        f"{choice.name} is one of the words {', '.join(options)}; use"
        " choices.apply."
    )
  if choice.fixed:
    return options[int(choice.value)]
  return jnp.asarray(options)[choice.value]


def narrow(
    choice: Choice, layer: nn.Module, *args: Any, **kwargs: Any
) -> jax.Array:
  """Runs a layer with as many channels as were chosen.

  In a search the layer has all its channels, and those that were not chosen are
  zero; in a final network it has only those that were chosen, and the shapes of
  all that follows come from them. The layer must end with what gives each
  channel on its own, such as a norm, since zero is put after it.

  Args:
    choice: One choice of `one_of` numbers: a whole number of channels, or a
      float that is a share of the layer's.
    layer: A flax module with a field `channels` or `features`.
    *args: Arguments of the layer.
    **kwargs: Arguments of the layer.
  """
  name = next((n for n in ("channels", "features") if hasattr(layer, n)), None)
  if name is None:
    raise Misuse(
        f"choices.narrow: {type(layer).__name__} has no field 'channels' or"
        " 'features'."
    )
  full = getattr(layer, name)
  counts = [_count(option, full, choice) for option in choice.kind.options]
  if mode.current().final:
    object.__setattr__(layer, name, counts[_number(choice)])
    return layer(*args, **kwargs)
  y = layer(*args, **kwargs)
  count = (np if choice.fixed else jnp).asarray(counts)[choice.value]
  return y * (np.arange(full) < count).astype(y.dtype)


def pick(choice: Choice, results: Sequence[jax.Array]) -> jax.Array:
  """Returns the earlier result that was chosen.

  Args:
    choice: One choice of `earlier`.
    results: The results that may be chosen, all of one shape.
  """
  _check_kind(choice, Earlier, "pick")
  if choice.fixed:
    return results[int(choice.value)]
  return choose.value(choice.value, list(results))


def total(choice: Choice, results: Sequence[jax.Array]) -> Any:
  """Returns the sum of the earlier results that were chosen, or 0.

  Args:
    choice: The bits of one node of `subset`.
    results: As many results as there are bits, all of one shape.
  """
  _check_kind(choice, Subset, "total")
  if len(results) != len(choice):
    raise Misuse(
        f"choices.total: {choice.name} chooses among {len(choice)} results, got"
        f" {len(results)}."
    )
  if choice.fixed:
    return sum(r for r, bit in zip(results, choice.value, strict=True) if bit)
  return sum(
      bit.astype(r.dtype) * r
      for r, bit in zip(results, choice.value, strict=True)
  )


def unread(choice: Choice) -> jax.Array | np.ndarray:
  """Returns bool[given + nodes]: which results no node reads, loose ends.

  Args:
    choice: A whole field of `earlier`.
  """
  count = choice.kind.given + len(choice)
  reads = choice.value.reshape(-1, 1) == np.arange(count)
  return ~reads.any(0)


class Branch(nn.Module):
  """A function as a flax module, which owns the modules that it makes."""

  function: Callable

  @nn.compact
  def __call__(self, *args: Any, **kwargs: Any) -> Any:
    return self.function(*args, **kwargs)


def _named(choice, branches) -> dict[str, nn.Module]:
  """Returns the branches as modules, in the order of the options.

  It is the order in which modules are made of functions, so that these have the
  same names in every network.
  """
  reads = isinstance(choice, Choice) and isinstance(choice.kind, Earlier)
  _check_kind(choice, Earlier if reads else OneOf, "apply")
  if reads:
    branches = {f"result {n}": branch for n, branch in enumerate(branches)}
    options = list(branches)
  else:
    options = choice.kind.options
  if set(branches) != set(options):
    raise Misuse(
        f"choices.apply: {choice.name} is one of"
        f" {', '.join(map(str, options))}; the branches are"
        f" {', '.join(map(str, branches))}."
    )
  modules = {}
  for word in options:
    branch = branches[word]
    modules[word] = branch if isinstance(branch, nn.Module) else Branch(branch)
  return modules


def _switched(choice, own, args, kwargs):
  """Runs the chosen branch on its weights, by `choose`."""
  leaves, tree = jax.tree.flatten((args, kwargs))
  moved = [isinstance(leaf, jax.Array) for leaf in leaves]
  scope = own[0].scope
  streams = [name for name in scope.rngs if name != "params"]
  keys = {name: own[0].make_rng(name) for name in streams}
  now = mode.current()

  def branch(module):
    alone = module.clone(parent=None, name=None)

    def run(x, weights):
      given, keys = x
      given = iter(given)
      filled = [
          next(given) if is_moved else leaf
          for leaf, is_moved in zip(fixed, moved, strict=True)
      ]
      args, kwargs = jax.tree.unflatten(tree, filled)
      # The backward pass runs this again, when the network has returned.
      with mode.entered(now):
        return alone.apply(
            {"params": weights[module.name]}, *args, rngs=keys, **kwargs
        )

    return run

  fixed = [
      None if is_moved else leaf
      for leaf, is_moved in zip(leaves, moved, strict=True)
  ]
  x = [leaf for leaf, is_moved in zip(leaves, moved, strict=True) if is_moved]
  weights = {module.name: _weights(module) for module in own}
  index = int(choice.value) if choice.fixed else choice.value
  return choose.keep(
      index, tuple(map(branch, own)), (x, keys), weights
  )


def _weights(module):
  """Returns the parameters of a bound module."""
  return module.variables.get("params", {})


def _number(choice) -> int:
  """Returns the number of the option of a final network.

  Raises:
    Misuse: The arch is of jax arrays.
  """
  if not choice.fixed:
    raise Misuse(
        "a final network (final=True) has only what its arch chose, and takes"
        " an arch of numpy arrays."
    )
  return int(choice.value)


def _count(option, full, choice) -> int:
  count = option if isinstance(option, int) else round(option * full)
  if isinstance(option, str) or not 0 < count <= full:
    raise Misuse(
        f"choices.narrow: {choice.name} may be {option!r}, and the layer has"
        f" {full} channels."
    )
  return count


def _check_kind(choice, kind, function) -> None:
  """Raises Misuse unless this is one choice of the right kind."""
  ranks = {OneOf: 0, Earlier: 0, Subset: 1}
  if not isinstance(choice, Choice):
    raise Misuse(
        f"choices.{function} takes a field of arch or an item of one, got"
        f" {type(choice).__name__}."
    )
  if not isinstance(choice.kind, kind):
    made = {OneOf: "one_of", Earlier: "earlier", Subset: "subset"}
    raise Misuse(
        f"choices.{function} takes a choice of {made[kind]}; {choice.name} is"
        f" of {made[type(choice.kind)]}."
    )
  if np.ndim(choice.value) != ranks[kind]:
    raise Misuse(
        f"choices.{function} takes one choice; {choice.name} holds"
        f" {len(choice)}: give it an item, as {choice.name}[0]."
    )


def _check_alike(choice, found) -> None:
  """Raises Misuse unless all branches make the same shapes."""
  kinds = {
      word: str(jax.tree.map(lambda leaf: f"{leaf.dtype}{[*leaf.shape]}", made))
      for word, made in found.items()
  }
  if len(set(kinds.values())) > 1:
    words = ", ".join(f"{word} {kind}" for word, kind in kinds.items())
    raise Misuse(
        f"choices.apply: the branches of {choice.name} must make one shape and"
        f" type: {words}."
    )


def _check_weights(choice, own) -> None:
  """Raises Misuse where a branch keeps anything but parameters."""
  for word, module in own.items():
    if others := sorted(set(module.variables) - {"params"}):
      raise Misuse(kept(f"the branch {word!r} of {choice.name}", others))


def kept(what: str, names: Sequence[str]) -> str:
  """Says that a shared network must not keep averages."""
  return (
      f"{what} keeps {', '.join(names)}, which would mix all architectures in a"
      " shared network. Use enas_jax.nn.BatchNorm, ConvNorm or SeparableConv,"
      " which normalise by the batch in a search and track averages in a final"
      " network."
  )
