"""Builds the rows and the table of a controller's programme."""

from collections.abc import Sequence

import numpy as np

from enas_jax.types import Feed, Head, NO_ANCHOR, Schedule

# The types of `Schedule`'s row fields, in order.
_TYPES = ["i4", "bool", "f4", "f4", "f4", "f4", "i4", "i4", "f4"]
_PRIOR = 0.5  # a step without skips never reads it; it only must be in (0, 1)


def row(
    slots: int,
    *,
    head: Head = Head.NONE,
    choices: int = 0,
    first: int = 0,
    bias: Sequence[float] = (),
    scale: float = 0.0,
    prior: float = _PRIOR,
    kl_scale: float = 2.0,
    write: int = NO_ANCHOR,
    feed: Feed = Feed.START,
    feed_scale: Sequence[float] = (),
) -> tuple:
  """Returns a controller step as a tuple of `Schedule`'s row fields, in order.

  Args:
    slots: K, the width of the table.
    head: The kind of decision.
    choices: The number of choices.
    first: The column of the first one; the others follow it. Operations of
      different columns have embeddings of their own in the controller.
    bias: The terms added to the logits of the first choices; the rest get 0.
    scale: The tanh constant; 0 for none.
    prior: The target probability of a skip.
    kl_scale: The skip KL uses sigmoid(kl_scale * logit); bits are sampled with
      a factor of 2.
    write: The anchor slot that keeps this step's state.
    feed: The input of the next step.
    feed_scale: The factors on the first anchors when fed; the rest get 1.
  """

  def fill(values: Sequence[float], rest: float) -> np.ndarray:
    out = np.full(slots, rest, np.float32)
    out[: len(values)] = values
    return out

  return (
      head,
      (np.arange(slots) >= first) & (np.arange(slots) < first + choices),
      fill(bias, 0.0),
      scale,
      fill((), prior),
      kl_scale,
      write,
      feed,
      fill(feed_scale, 1.0),
  )


def table(
    rows: Sequence[tuple],
    op_bias: Sequence[float] | None = None,
    tied: bool = False,
    free_bias: bool = False,
) -> Schedule:
  """Stacks rows into a Schedule.

  Args:
    rows: The rows from `row`.
    op_bias: f32[O] or None, as in `Schedule`.
    tied: As in `Schedule`.
    free_bias: As in `Schedule`.
  """
  columns = (
      np.asarray(column, dtype)
      for column, dtype in zip(zip(*rows, strict=True), _TYPES, strict=True)
  )
  if op_bias is not None:
    op_bias = np.asarray(op_bias, np.float32)
  return Schedule(*columns, op_bias, tied, free_bias)
