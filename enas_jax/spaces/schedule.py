"""Row builders: a space writes its controller's programme with these."""

from collections.abc import Sequence

import numpy as np

from enas_jax.types import Feed, Head, NO_ANCHOR, Schedule

# Of `Schedule`'s row fields, in order.
_TYPES = ["i4", "bool", "f4", "f4", "f4", "f4", "i4", "i4", "f4"]
_PRIOR = 0.5  # of a step without skips: any value in (0, 1), never read


def row(
    slots: int,
    *,
    head: Head = Head.NONE,
    choices: int = 0,
    bias: Sequence[float] = (),
    scale: float = 0.0,
    prior: float = _PRIOR,
    kl_scale: float = 2.0,
    write: int = NO_ANCHOR,
    feed: Feed = Feed.START,
    feed_scale: Sequence[float] = (),
) -> tuple:
  """One controller step as a tuple in the order of `Schedule`'s row fields.

  Args:
    slots: K, the width of the table.
    head: what is decided.
    choices: the first so many choices exist.
    bias: added to the logits of the first choices; the rest get 0.
    scale: the tanh constant; 0 for none.
    prior: target probability of a skip.
    kl_scale: the skip KL is of sigmoid(kl_scale * logit); 2: as sampled.
    write: the anchor slot that keeps this step's state.
    feed: what the next step reads.
    feed_scale: factors on the first anchors when fed; the rest get 1.
  """

  def fill(values: Sequence[float], rest: float) -> np.ndarray:
    out = np.full(slots, rest, np.float32)
    out[: len(values)] = values
    return out

  return (
      head,
      np.arange(slots) < choices,
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
) -> Schedule:
  """Stacks rows into a Schedule; `op_bias` and `tied` as that has them."""
  columns = (
      np.asarray(column, dtype)
      for column, dtype in zip(zip(*rows, strict=True), _TYPES, strict=True)
  )
  if op_bias is not None:
    op_bias = np.asarray(op_bias, np.float32)
  return Schedule(*columns, op_bias, tied)
