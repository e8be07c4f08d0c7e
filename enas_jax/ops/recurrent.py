"""A searched recurrent cell over a segment, with its own gradient (ENAS §2.1).

Letters of this file: S positions of a segment, B rows, H hidden size, N nodes
of the cell, the first of which reads the input.
"""

from collections.abc import Callable

import jax
from jax import lax
import jax.numpy as jnp

from enas_jax.ops.dot import dot

# In the order of enas_lm. The derivative is given the activation's value.
ACTIVATIONS: dict[str, tuple[Callable, Callable]] = {
    "tanh": (jnp.tanh, lambda y: 1 - y * y),
    "relu": (jax.nn.relu, lambda y: (y > 0).astype(y.dtype)),
    "sigmoid": (jax.nn.sigmoid, lambda y: y * (1 - y)),
    "identity": (lambda z: z, jnp.ones_like),
}


@jax.custom_vjp
def run(x, state, mask, first, nodes, sources, ops, mix):
  """The cell's outputs at every position.

  Node 0 is a highway unit on the input and the state before, each later one
  on an earlier node; `h, t` are the two halves of a product, f an activation:

    h, t = [x[s], mask * state] @ first          prev = state
    h, t = (mask * node[sources[n]]) @ nodes[n]  prev = node[sources[n]]
    node[n] = prev + sigmoid(t) * (f(h) - prev)
    state = sum of mix[n] * node[n]

  Backward, one loop in reverse finds the cotangents of all products; those of
  a weight are summed over the positions by one matrix product a node at the
  end, in place of one a position. Architecture, mask and mix get none. What a
  product reads transposed is transposed outside its loop, see `dot`.

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


def _activate(op, z):
  return _one(op, [f for f, _ in ACTIVATIONS.values()], z)


def _slope(op, y):
  return _one(op, [slope for _, slope in ACTIVATIONS.values()], y)


def _one(op, functions, z):
  """functions[op](z).

  For an architecture that is data this branches; but on a GPU, which asks its
  host at every branch, all are computed and one is kept. It is told apart as in
  `cell.py`.
  """
  if not isinstance(op, jax.Array):
    return functions[op](z)
  if jax.default_backend() == "gpu":
    return lax.select_n(op, *[f(z) for f in functions])
  return lax.switch(op, functions, z)


def _forward(x, state, mask, first, nodes, sources, ops, mix):
  dtype, weights = x.dtype, (first, nodes)
  ours, first = jnp.split(first.astype(dtype), 2)
  nodes = nodes.astype(dtype)

  def unit(product, op, before):
    h, t = jnp.split(product, 2, -1)
    value, gate = _activate(op, h), jax.nn.sigmoid(t)
    return before + gate * (value - before), value, gate

  def read(state, weight):
    return dot((mask * state).astype(dtype), weight)

  def step(state, x):
    out = [unit(x + read(state, first), ops[0], state)]
    values = jnp.zeros((len(ops), *state.shape)).at[0].set(out[0][0])
    for n in range(1, len(ops)):
      before = values[sources[n - 1]]
      out.append(unit(read(before, nodes[n - 1]), ops[n], before))
      values = values.at[n].set(out[-1][0])
    after = jnp.einsum("n,nbh->bh", mix, values)
    # The values come once more, so that the way back need not add them up.
    activated, gates = (jnp.stack([o[i] for o in out]) for i in (1, 2))
    return after, (after, _pack(dtype, values, activated, gates))

  given = state.astype(jnp.float32), dot(x, ours)
  _, (after, kept) = lax.scan(step, *given)
  after = after.astype(dtype)
  befores = jnp.concatenate([state[None], after[:-1]])
  residuals = (x, befores, kept, mask, *weights, sources, ops, mix)
  return after, residuals


def _backward(residuals, g):
  x, befores, kept, mask, first, nodes, sources, ops, mix = residuals
  count, dtype = len(ops), x.dtype
  first, nodes = (jnp.swapaxes(w.astype(dtype), -1, -2) for w in (first, nodes))

  def step(dstate, given):
    g, before, kept = given
    values, activated, gates = _unpack(dtype, kept)
    dvalues = mix[:, None, None] * (g + dstate)
    dproducts = [None] * count
    for n in reversed(range(count)):
      source = before if n == 0 else values[sources[n - 1]]
      d, gate, value = dvalues[n], gates[n], activated[n]
      dh = d * gate * _slope(ops[n], value)
      dt = d * (value - source) * gate * (1 - gate)
      dproducts[n] = jnp.concatenate([dh, dt], -1)
      dread = dot(dproducts[n].astype(dtype), nodes[n - 1] if n else first)
      if n == 0:
        dx, dread = jnp.split(dread, 2, -1)
      dsource = d * (1 - gate) + mask * dread
      if n:
        dvalues = dvalues.at[sources[n - 1]].add(dsource)
    return dsource, (dx, _pack(dtype, *dproducts))

  start = jnp.zeros(befores[0].shape)
  dstate, (dx, dproducts) = lax.scan(
      step, start, (g, befores, kept), reverse=True
  )

  # One product of all positions for each input of a node; node 0 has two.
  values = _unpack(dtype, kept[:, 0])
  inner = [mask * befores, *(mask * values[:, source] for source in sources)]
  read = jnp.stack([a.astype(dtype) for a in (x, *inner)])
  read = read.reshape(count + 1, -1, x.shape[-1])
  dproducts = jnp.swapaxes(_unpack(dtype, dproducts), 0, 1)
  dproducts = dproducts.reshape(count, read.shape[1], -1).astype(dtype)
  dproducts = jnp.concatenate([dproducts[:1], dproducts])
  dweights = lax.map(lambda ab: dot(*ab), (jnp.swapaxes(read, 1, 2), dproducts))
  dfirst = dweights[:2].reshape(first.shape)
  dx, dstate = dx.astype(dtype), dstate.astype(dtype)
  return dx, dstate, None, dfirst, dweights[2:], None, None, None


def _pack(dtype, *parts):
  """f32[...] each, stacked in `dtype` for a loop to keep.

  XLA on the CPU has no update of a slice in bfloat16, it would go through
  float32 entry by entry; of integers of that width it has.
  """
  parts = jnp.stack(parts).astype(dtype)
  if dtype == jnp.bfloat16:
    return lax.bitcast_convert_type(parts, jnp.uint16)
  return parts


def _unpack(dtype, packed):
  """What `_pack` stacked, f32[...]."""
  if dtype == jnp.bfloat16:
    packed = lax.bitcast_convert_type(packed, dtype)
  return packed.astype(jnp.float32)


run.defvjp(_forward, _backward)
