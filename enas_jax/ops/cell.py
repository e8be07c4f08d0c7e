"""Searched cells: nodes that sum branches of other nodes (ENAS §2.4).

`cell` chooses what each node reads and by which branch, `graph` the branches of
given edges. They share the scan over edges and its way back.
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from enas_jax.ops import conv


def cell(branches, weights, mix, inputs, sources, ops):
  """Runs a cell and mixes its loose ends: the states that no side reads.

  States 0 and 1 are the inputs, state n + 2 is node n:
  state[n + 2] = sum over d of
  branches[ops[n, d]](state[sources[n, d]], weights[n, d]). The result is the
  sum over the loose states j of relu(state[j]) @ mix[j], before its batch norm.

  With numpy `sources` and `ops` only the chosen branches are built. With jax
  arrays one program serves every architecture, and runs the chosen branches
  only; see `_searched`.

  Args:
    branches: static; a tuple of functions (x[B, H, W, C], weights of one side)
      -> y[B, H, W, C].
    weights: a tree, leaves [N, D, ...]: what each side of each node may read.
    mix: [2 + N, C, C].
    inputs: [2, B, H, W, C], or a pair.
    sources: i32[N, D], the state each side reads, an earlier one.
    ops: i32[N, D], the branch of each side.

  Returns:
    [B, H, W, C].
  """
  if isinstance(sources, jax.Array) or isinstance(ops, jax.Array):
    return _searched(branches, weights, mix, jnp.stack(inputs), sources, ops)
  return _fixed(branches, weights, mix, inputs, sources, ops)


def _fixed(branches, weights, mix, inputs, sources, ops):
  def side(n, d):
    w = jax.tree.map(lambda leaf: leaf[n, d], weights)
    return branches[ops[n, d]](states[sources[n, d]], w)

  nodes, sides = sources.shape
  states = list(inputs)
  for n in range(nodes):
    states.append(sum(side(n, d) for d in range(sides)))
  loose = sorted(set(range(nodes + 2)) - set(sources.ravel().tolist()))
  out = sum(_mixed(states[j], mix[j]).astype(jnp.float32) for j in loose)
  return out.astype(inputs[0].dtype)


def _mixed(state, mix):
  return conv.pointwise(jax.nn.relu(state), mix)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _searched(branches, weights, mix, inputs, sources, ops):
  """The cell whose architecture is data, with its own gradient.

  Forward, a scan over the sides of all nodes adds to a buffer of states
  [2 + N, B, H, W, C]. Backward, the scan runs in reverse over a buffer of
  their cotangents, updated in place, and runs the one chosen branch again to
  pull back through it. Autodiff would save what every branch needs, and make a
  whole buffer of zeros for each state that is read.
  """
  return _forward(branches, weights, mix, inputs, sources, ops)[0]


def _forward(branches, weights, mix, inputs, sources, ops):
  shape = (len(sources), *inputs.shape[1:])
  states = jnp.concatenate([inputs, jnp.zeros(shape, inputs.dtype)])

  states = _run(branches, states, _sides(sources, ops, weights))

  # A loop of unknown length: only the loose states pay.
  order, count = _loose(sources)

  def gather(i, out):
    return out + _mixed(states[order[i]], mix[order[i]])

  out = lax.fori_loop(0, count, gather, jnp.zeros(inputs.shape[1:]))
  return out.astype(inputs.dtype), (weights, mix, states, sources, ops)


def _backward(branches, residuals, g):
  weights, mix, states, sources, ops = residuals
  order, count = _loose(sources)

  def scatter(i, carry):
    j = order[i]
    pulled = jax.vjp(_mixed, states[j], mix[j])[1](g)
    return tuple(a.at[j].set(b) for a, b in zip(carry, pulled, strict=True))

  zeros = jnp.zeros_like(states), jnp.zeros_like(mix)
  dstates, dmix = lax.fori_loop(0, count, scatter, zeros)

  dstates, dweights = _pull(
      branches, states, dstates, _sides(sources, ops, weights)
  )
  dweights = jax.tree.map(lambda d, w: d.reshape(w.shape), dweights, weights)
  return dweights, dmix, dstates[:2], None, None


_searched.defvjp(_forward, _backward)


def _sides(sources, ops, weights):
  """(the state to add to, source, op, weights) of each side, [N * D, ...]."""
  nodes, sides = sources.shape
  targets = np.repeat(np.arange(2, nodes + 2, dtype=np.int32), sides)
  flat = jax.tree.map(
      lambda a: a.reshape(nodes * sides, *a.shape[2:]), (sources, ops, weights)
  )
  return targets, *flat


def _loose(sources):
  """(the states, those that no side reads first; how many these are)."""
  read = jnp.zeros(len(sources) + 2, bool).at[sources.ravel()].set(True)
  return jnp.argsort(read), (~read).sum()


def _run(branches, states, sides):
  """Adds the branch of each side to the buffer, in order.

  Args:
    branches: static.
    states: [nodes, B, H, W, C], zero where a node is a sum.
    sides: (the state to add to, source, op, weights), a row for each side.
  """

  # The branches index the buffer themselves: an operand of a switch is cheap,
  # a slice made outside would be a copy.
  def reading(branch):
    return lambda states, source, w: branch(states[source], w)

  readers = [reading(branch) for branch in branches]

  def step(states, side):
    target, source, op, w = side
    y = lax.switch(op, readers, states, source, w)
    return states.at[target].add(y), None

  return lax.scan(step, states, sides)[0]


def _pull(branches, states, dstates, sides):
  """The way back of `_run`: (cotangents of the states, of the weights)."""

  def pulling(branch):
    return lambda states, dstates, target, source, w: jax.vjp(
        branch, states[source], w
    )[1](dstates[target])

  pullers = [pulling(branch) for branch in branches]

  def step(dstates, side):
    target, source, op, w = side
    dx, dw = lax.switch(op, pullers, states, dstates, target, source, w)
    return dstates.at[source].add(dx), dw

  return lax.scan(step, dstates, sides, reverse=True)


def graph(branches, edges, weights, x, ops):
  """Runs a cell whose edges are given and whose branches are chosen.

  Node 0 is x; the others are the sums of their edges,
  branches[ops[e]](node[source of e], weights[e]). The result is the last node.

  As in `cell`, numpy `ops` build the chosen branches only, and with a jax
  array one program serves every architecture and runs the chosen ones.

  Args:
    branches: static; functions (x[B, H, W, C], weights) -> y[B, H, W, C].
    edges: static; pairs (node, the node that it reads), in an order in which
      a node is complete before it is read.
    weights: a tree, leaves [edges, ...]: what each edge may read.
    x: [B, H, W, C].
    ops: i32[edges], the branch of each edge.

  Returns:
    [B, H, W, C].
  """
  if isinstance(ops, jax.Array):
    return _graph(tuple(branches), edges, weights, x, ops)
  nodes = {0: x}
  for e, (target, source) in enumerate(edges):
    w = jax.tree.map(lambda leaf: leaf[e], weights)  # noqa: B023
    y = branches[ops[e]](nodes[source], w)
    nodes[target] = nodes[target] + y if target in nodes else y
  return nodes[max(nodes)]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _graph(branches, edges, weights, x, ops):
  return _graph_forward(branches, edges, weights, x, ops)[0]


def _graph_forward(branches, edges, weights, x, ops):
  targets, sources = np.array(edges, np.int32).T
  zeros = jnp.zeros((max(targets), *x.shape), x.dtype)
  states = jnp.concatenate([x[None], zeros])
  states = _run(branches, states, (targets, sources, ops, weights))
  return states[-1], (weights, states, ops)


def _graph_backward(branches, edges, residuals, g):
  weights, states, ops = residuals
  targets, sources = np.array(edges, np.int32).T
  dstates, dweights = _pull(
      branches,
      states,
      jnp.zeros_like(states).at[-1].set(g),
      (targets, sources, ops, weights),
  )
  return dweights, dstates[0], None


_graph.defvjp(_graph_forward, _graph_backward)
