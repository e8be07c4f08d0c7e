"""Saves and restores checkpoints: a state and a small dictionary each."""

from collections.abc import Callable, Iterator
import contextlib
import functools
import pathlib
import shutil
import sys
import threading
from typing import Any

from absl import logging
import jax
import orbax.checkpoint as ocp

from enas_jax import errors
from enas_jax.errors import ConfigError
from enas_jax.types import SearchState

_LATE = 10.0  # seconds in which a thread of Orbax ends after an error
_KEEP = 2  # a crash may cut the newest short, so the one before is kept


class Checkpoints:
  """The checkpoints of a run folder.

  Orbax writes to a temporary folder and renames it, so a process that is
  killed while it saves leaves the checkpoint before in place.
  """

  def __init__(self, folder: pathlib.Path):
    if jax.process_index() == 0:
      # A process that was killed while it saved leaves some. Orbax would remove
      # them in a thread, which fails loudly where the process ends before it.
      for left in folder.glob("*.orbax-checkpoint-tmp*"):
        shutil.rmtree(left, ignore_errors=True)
    options = ocp.CheckpointManagerOptions(
        max_to_keep=_KEEP, enable_async_checkpointing=False
    )
    self._manager = ocp.CheckpointManager(
        folder.resolve(),
        options=options,
        item_handlers={
            "state": ocp.StandardCheckpointHandler(),
            "facts": ocp.JsonCheckpointHandler(),
        },
    )

  def save(self, state: SearchState, facts: dict[str, Any]) -> None:
    """Saves a checkpoint named by the state's step, unless it exists."""
    step = int(state.step)
    if step in self._manager.all_steps():
      return
    args = ocp.args.Composite(
        state=ocp.args.StandardSave(_plain(state)),
        facts=ocp.args.JsonSave(facts),
    )
    with _quiet(), errors.writing(self._manager.directory):
      self._manager.save(step, args=args)

  def restore(
      self, like: SearchState, warn: Callable[[str], None]
  ) -> tuple[SearchState, dict[str, Any]] | None:
    """Returns the newest checkpoint that can be read, as (state, facts).

    A newer checkpoint that cannot be read is removed once an older one was
    read.

    Args:
      like: The `shapes` of the state to restore.
      warn: Is told of every checkpoint that is removed.

    Returns:
      None where there are no checkpoints.

    Raises:
      ConfigError: There are checkpoints, but none can be read. All are kept.
    """
    broken = {}
    for step in sorted(self._manager.all_steps(), reverse=True):
      try:
        found = self._read(step, like)
      except Exception as error:  # whatever a broken file makes Orbax raise
        broken[step] = type(error).__name__
        continue
      for newer, name in broken.items():
        warn(
            f"The checkpoint of step {newer} cannot be read ({name}); going"
            " back to the one before."
        )
        self._manager.delete(newer)
      key = jax.random.wrap_key_data(found.state.key)
      return found.state._replace(key=key), found.facts
    if broken:
      raise ConfigError(
          "--workdir",
          f"no checkpoint in {self._manager.directory} can be read"
          f" ({', '.join(broken.values())}). They are kept; a new folder starts"
          " afresh.",
      )
    return None

  def _read(self, step: int, like: SearchState):
    """Reads the checkpoint of a step; an unreadable one raises any error."""
    # Orbax leaves its readers running when one of them fails, so the shapes are
    # compared before anything is read.
    stored = self._manager.item_metadata(step).state.tree
    if _sizes(stored) != _sizes(like):
      raise ValueError("other shapes")
    return self._manager.restore(
        step,
        args=ocp.args.Composite(
            state=ocp.args.StandardRestore(like), facts=ocp.args.JsonRestore()
        ),
    )

  def close(self) -> None:
    """Closes the folder."""
    self._manager.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Leaves the word to the error that is raised.

  When a write fails, Orbax logs it in each of its threads, some of them after
  it has raised the error of another one, and those that were under way find its
  event loop closed.
  """
  level, hook = logging.get_verbosity(), sys.unraisablehook
  logging.set_verbosity(logging.FATAL)
  sys.unraisablehook = functools.partial(_but_late, hook)
  try:
    yield
    sys.unraisablehook = hook  # else the last of them are yet to come
  except Exception:
    for thread in threading.enumerate():
      if type(thread).__module__.startswith("orbax."):
        thread.join(_LATE)
    raise
  finally:
    logging.set_verbosity(level)


def _but_late(hook: Callable[[Any], None], late: Any) -> None:
  """Passes on to a hook every error but that of a closed event loop."""
  if str(late.exc_value) != "Event loop is closed":
    hook(late)


def shapes(state: SearchState) -> SearchState:
  """Returns shapes, types and shardings: enough to restore a checkpoint."""
  return jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(
          leaf.shape, leaf.dtype, sharding=leaf.sharding
      ),
      _plain(state),
  )


def _plain(state: SearchState) -> SearchState:
  """Returns the state with its random key as integers."""
  return state._replace(key=jax.random.key_data(state.key))


def _sizes(tree) -> dict[str, tuple[int, ...]]:
  """Returns the shape of each leaf by its path."""
  leaves = ocp.tree.to_flat_dict(tree, sep="/")
  return {name: tuple(leaf.shape) for name, leaf in leaves.items()}
