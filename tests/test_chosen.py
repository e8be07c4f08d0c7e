"""The final cells and layers that are chosen at run time are the fixed ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from enas_jax.spaces.micro.arch import OPERATIONS
from enas_jax.spaces.micro.chosen import ChosenCell
from enas_jax.spaces.micro.final import FinalCell

C = 4
# Each operation reads an input, and each a node.
TABLE = np.array(
    [[0, 0, 0, 2], [2, 1, 0, 3], [1, 4, 3, 2], [0, 1, 2, 4]], np.int32
)


def moved(fixed, chosen, table, stride):
  """Returns the chosen cell's variables with the fixed cell's weights."""
  for name in ("_Calibrate_0", "Conv_0"):
    for kind in ("params", "averages"):
      chosen[kind][name] = fixed[kind].get(name, {})
  convs = shrinks = 0
  for n, node in enumerate(table.tolist()):
    for d in range(2):
      source, op = node[2 * d : 2 * d + 2]
      own, at = chosen["params"], f"node{n}_{d}_"
      name = OPERATIONS[op]
      if "sep" in name:
        weights = fixed["params"][f"SeparableConv_{convs}"]
        convs += 1
        for what, key in (("depthwise", f"depthwise_{name[-1]}"),
                          ("pointwise", "pointwise")):
          stacks = [weights[f"{what}_{stack}"] for stack in range(2)]
          own[at + key] = jnp.stack(stacks)
      elif name == "identity" and stride == 2 and source < 2:
        weights = fixed["params"][f"FactorizedReduction_{shrinks}"]
        shrinks += 1
        own[at + "even"], own[at + "odd"] = weights["even"], weights["odd"]
  for k in sorted({0, 1} - set(table[:, 0::2].ravel().tolist())):
    if stride == 2:
      name = f"FactorizedReduction_{shrinks}"
      chosen["params"][f"FactorizedReduction_{k}"] = fixed["params"][name]
  return chosen


@pytest.mark.parametrize("stride", [1, 2])
def test_a_chosen_micro_cell_is_the_fixed_one(stride):
  key = jax.random.key(0)
  x = jax.random.normal(key, (3, 6, 6, C))
  inputs = x, x[::-1]
  fixed, chosen = (
      kind(C, stride, 1.0, False) for kind in (FinalCell, ChosenCell)
  )
  variables = fixed.init(key, *inputs, TABLE, train=True)
  table = jnp.asarray(TABLE)
  own = moved(
      variables, chosen.init(key, *inputs, table, train=True), TABLE, stride
  )
  for train in (True, False):
    expected, after = fixed.apply(
        variables, *inputs, TABLE, train=train, mutable=["averages"]
    )
    found, own_after = chosen.apply(
        own, *inputs, table, train=train, mutable=["averages"]
    )
    used = set(TABLE[:, 0::2].ravel().tolist())
    blocks = jnp.split(found, len(TABLE) + 2, -1)
    ends = [b for n, b in enumerate(blocks) if n not in used]
    np.testing.assert_allclose(jnp.concatenate(ends, -1), expected, atol=1e-4)
    assert all(not blocks[n].any() for n in used)
    if train:  # both have moved alike
      variables = {**variables, **after}
      own = {**own, **own_after}
