"""A searched recurrent cell over a segment, with its own gradient (ENAS §2.1).

Letters of this file: S positions of a segment, B rows, H hidden size, N nodes
of the cell, the first of which reads the input.
"""

from collections.abc import Callable

import jax
from jax import lax
import jax.numpy as jnp

from enas_jax.ops import choose
from enas_jax.ops.dot import dot

# In the order of enas_lm. The derivative is given the activation's value.
ACTIVATIONS: dict[str, tuple[Callable, Callable]] = {
    "tanh": (jnp.tanh, lambda y: 1 - y * y),
    "relu": (jax.nn.relu, lambda y: (y > 0).astype(y.dtype)),
    "sigmoid": (jax.nn.sigmoid, lambda y: y * (1 - y)),
    "identity": (lambda z: z, jnp.ones_like),
}


@jax.custom_vjp
def run(
    x: jax.Array,
    state: jax.Array,
    mask: jax.Array,
    first: jax.Array,
    nodes: jax.Array,
    sources: jax.Array,
    ops: jax.Array,
    mix: jax.Array,
) -> jax.Array:
  """Returns the cell's outputs at every position.

  Node 0 is a highway unit on the input and the state before, each later one
  on an earlier node; `h, t` are the two halves of a product, f an activation:

    h, t = [x[s], mask * state] @ first          before = state
    h, t = (mask * node[sources[n]]) @ nodes[n]  before = node[sources[n]]
    node[n] = before + sigmoid(t) * (f(h) - before)
    state = sum of mix[n] * node[n]

  Backward, one loop in reverse finds the cotangents of all products; those of
  a weight are summed over the positions by one matrix product a node at the
  end, in place of one a position. Architecture, mask and mix get none.

  Inside, a state is [H, B], since a weight times few columns takes the CPU less
  than few rows times a weight; so node 0 has one product, not one for the whole
  input and one a position. Weights are cast, taken apart and, for the way
  forward, transposed outside the loops: within, each position would copy them.

  Products take their operands in the type of x; their sums, and what is done
  to each entry, are float32. What is kept is in the type of x again.

  Args:
    x: [S, B, H], the input.
    state: [B, H], before the first position.
    mask: [B, H], the dropout of every state that enters a product, or ones.
    first: [2 H, 2 H].
    nodes: [N - 1, H, 2 H], of nodes 1, 2, ...
    sources: i32[N - 1], the node that each reads.
    ops: i32[N], the activation of each, a number of ACTIVATIONS.
    mix: [N], the share of each node in the output.

  Returns:
    [S, B, H]; the last is the state after the segment.
  """
  return _forward(x, state, mask, first, nodes, sources, ops, mix)[0]


def _forward(x, state, mask, first, nodes, sources, ops, mix):
  dtype = x.dtype
  x, start, mask = (jnp.swapaxes(a, -1, -2) for a in (x, state, mask))
  transposed = [w.astype(dtype).T for w in (first, *nodes)]

  def step(state, x):
    values, kept = [], []
    for n, op in enumerate(ops):
      before = choose.value(sources[n - 1], values) if n else state
      read = (mask * before).astype(dtype)
      if n == 0:
        read = jnp.concatenate([x, read])
      h, t = jnp.split(dot(transposed[n], read), 2)
      value = choose.value(op, [f(h) for f, _ in ACTIVATIONS.values()])
      gate = jax.nn.sigmoid(t)
      values.append(before + gate * (value - before))
      kept.append([_pack(dtype, a) for a in (before, value, gate)])
    after = sum(share * value for share, value in zip(mix, values, strict=True))
    return after, (after, kept)

  _, (after, kept) = lax.scan(step, start.astype(jnp.float32), x)
  residuals = (x, kept, mask, first, nodes, sources, ops, mix)
  return jnp.swapaxes(after, -1, -2).astype(dtype), residuals


def _backward(residuals, g):
  x, kept, mask, first, nodes, sources, ops, mix = residuals
  count, dtype = len(ops), x.dtype
  weights = [w.astype(dtype) for w in (first, *nodes)]
  of_t = jnp.arange(2)[:, None, None] == 1  # the other half is of h

  def step(dafter, given):
    g, kept = given
    dproducts, dbefores = [None] * count, [None] * count
    for n in reversed(range(count)):
      before, value, gate = (_unpack(dtype, a) for a in kept[n])
      d = mix[n] * (g + dafter)
      for later in range(n + 1, count):
        d += jnp.where(sources[later - 1] == n, dbefores[later], 0.0)
      slope = choose.value(ops[n], [f(value) for _, f in ACTIVATIONS.values()])
      # Both halves at once: to join two is slower on the CPU.
      dproduct = jnp.where(of_t, (value - before) * (1 - gate), slope)
      dproduct = (d * gate * dproduct).reshape(-1, d.shape[-1]).astype(dtype)
      dread = dot(weights[n], dproduct)
      if n == 0:
        dx, dread = jnp.split(dread, 2)
      dproducts[n] = _pack(dtype, dproduct)
      dbefores[n] = d * (1 - gate) + mask * dread
    return dbefores[0], (dx, dproducts)

  given = jnp.swapaxes(g, -1, -2), kept
  start = jnp.zeros(mask.shape)
  dstate, (dx, dproducts) = lax.scan(step, start, given, reverse=True)

  def columns(a):
    """[S, *, B] as [*, S B], in the type of x."""
    return jnp.swapaxes(a, 0, 1).reshape(a.shape[1], -1).astype(dtype)

  dweights = []
  for n in range(count):
    read = columns(mask * _unpack(dtype, kept[n][0]))
    if n == 0:
      read = jnp.concatenate([columns(x), read])
    dproduct = columns(_unpack(dtype, dproducts[n]))
    dweights.append(dot(read, dproduct.T))
  dfirst, *dnodes = dweights
  dx, dstate = (jnp.swapaxes(a, -1, -2).astype(dtype) for a in (dx, dstate))
  return dx, dstate, None, dfirst, jnp.stack(dnodes), None, None, None


def _pack(dtype, a):
  """f32[...] in `dtype`, for a loop to keep.

  XLA on the CPU has no update of a slice in bfloat16, it would go through
  float32 entry by entry; of integers of that width it has.
  """
  a = a.astype(dtype)
  if dtype == jnp.bfloat16:
    return lax.bitcast_convert_type(a, jnp.uint16)
  return a


def _unpack(dtype, packed):
  """What `_pack` packed, f32[...]."""
  if dtype == jnp.bfloat16:
    packed = lax.bitcast_convert_type(packed, dtype)
  return packed.astype(jnp.float32)


run.defvjp(_forward, _backward)
