"""Runs a searched recurrent cell over a segment (ENAS §2.1).

It has a gradient of its own. In this file S is the positions of a segment, B
the rows, H the hidden size, and N the nodes of the cell, including the first
one, which reads the input.
"""

from collections.abc import Callable

import jax
from jax import lax
import jax.numpy as jnp

from enas_jax.ops import choose
from enas_jax.ops.dot import dot

# Each activation and its derivative as a function of the activation's value, in
# the order of enas_lm.
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

  Node 0 is a highway unit on the input and the state before, and each later
  node is one on an earlier node. `h, t` are the two halves of a product, and f
  is the node's activation:

    h, t = [x[s], mask * state] @ first          before = state
    h, t = (mask * node[sources[n]]) @ nodes[n]  before = node[sources[n]]
    node[n] = before + sigmoid(t) * (f(h) - before)
    state = sum of mix[n] * node[n]

  In the backward pass one reverse loop finds the cotangents of all products.
  After the loop, one matrix product for each node, in place of one for each
  position, sums them to the cotangent of a weight. Arch, mask and mix have no
  cotangents.

  Inside, a state is [H, B] because the CPU takes less time for a weight times
  few columns than for few rows times a weight. Therefore node 0 has one product
  at each position, and no separate product for the whole input. Weights are
  cast, taken apart and, for the forward pass, transposed outside of the loops,
  in which each position would copy them.

  Products take their operands in the type of x. Their sums and all elementwise
  work are float32. Values kept for the backward pass have the type of x again.

  Args:
    x: [S, B, H], the input.
    state: [B, H], the state before the first position.
    mask: [B, H], the dropout of every state that enters a product, or ones.
    first: [2 H, 2 H], the weights of node 0.
    nodes: [N - 1, H, 2 H], the weights of nodes 1, 2, ...
    sources: i32[N - 1], the node that each of these reads.
    ops: i32[N], the activation of each node, an index of ACTIVATIONS.
    mix: [N], the share of each node in the output.

  Returns:
    The outputs [S, B, H]; the last one is the state after the segment.
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
  of_t = jnp.arange(2)[:, None, None] == 1  # the second half; the first is h's

  def step(dafter, given):
    g, kept = given
    dproducts, dbefores = [None] * count, [None] * count
    for n in reversed(range(count)):
      before, value, gate = (_unpack(dtype, a) for a in kept[n])
      d = mix[n] * (g + dafter)
      for later in range(n + 1, count):
        d += jnp.where(sources[later - 1] == n, dbefores[later], 0.0)
      slope = choose.value(ops[n], [f(value) for _, f in ACTIVATIONS.values()])
      # Both halves are made at once; to join two arrays is slower on the CPU.
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
    """Returns [S, *, B] as [*, S B], in the type of x."""
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
  """Returns f32[...] in `dtype`, in a form that a loop can store.

  XLA on the CPU cannot update a slice in bfloat16; it would convert it to
  float32 entry by entry. It can update integers of that width.
  """
  a = a.astype(dtype)
  if dtype == jnp.bfloat16:
    return lax.bitcast_convert_type(a, jnp.uint16)
  return a


def _unpack(dtype, packed):
  """Returns the values that `_pack` packed, f32[...]."""
  if dtype == jnp.bfloat16:
    packed = lax.bitcast_convert_type(packed, dtype)
  return packed.astype(jnp.float32)


run.defvjp(_forward, _backward)
