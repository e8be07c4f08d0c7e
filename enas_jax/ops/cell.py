"""Searched cells: nodes that sum branches of other nodes (ENAS §2.4).

`cell` chooses what each node reads and by which branch, `graph` the branches of
given edges. They share the scan over edges and its way back.

A branch is a tuple of stages, functions (x[B, H, W, C], weights) ->
y[B, H, W, C] of one shape and dtype, each applied to what the one before it
returned; () is the identity, and None in place of a tuple is zero. Where the
architecture is data, what a stage returns is kept for the way back, but for
the last one's: cut a branch after what is dear, if that is dearer than to
write and to read it.
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
    branches: static; a tuple of branches, see above.
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
    return _apply(branches[ops[n, d]], states[sources[n, d]], w)

  nodes, sides = sources.shape
  states = list(inputs)
  for n in range(nodes):
    states.append(sum(side(n, d) for d in range(sides)))
  loose = sorted(set(range(nodes + 2)) - set(sources.ravel().tolist()))
  out = sum(_mixed(states[j], mix[j]).astype(jnp.float32) for j in loose)
  return out.astype(inputs[0].dtype)


def _apply(branch, x, weights):
  if branch is None:
    return jnp.zeros_like(x)
  for stage in branch:
    x = stage(x, weights)
  return x


def _mixed(state, mix):
  return conv.pointwise(jax.nn.relu(state), mix)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _searched(branches, weights, mix, inputs, sources, ops):
  """The cell whose architecture is data, with its own gradient.

  Forward, a scan over the sides of all nodes adds to a buffer of states
  [2 + N, B, H, W, C]. Backward, the scan runs in reverse over a buffer of
  their cotangents, updated in place, and pulls back through the one chosen
  branch. Autodiff would save what every branch needs, and make a whole buffer
  of zeros for each state that is read.
  """
  return _forward(branches, weights, mix, inputs, sources, ops, keep=False)[0]


def _forward(branches, weights, mix, inputs, sources, ops, keep=True):
  shape = (len(sources), *inputs.shape[1:])
  states = jnp.concatenate([inputs, jnp.zeros(shape, inputs.dtype)])

  sides = _sides(sources, ops, weights)
  states, kept = _run(branches, states, sides, keep)

  # A loop of unknown length: only the loose states pay.
  order, count = _loose(sources)

  def gather(i, out):
    return out + _mixed(states[order[i]], mix[order[i]])

  out = lax.fori_loop(0, count, gather, jnp.zeros(inputs.shape[1:]))
  residuals = weights, mix, states, kept, sources, ops
  return out.astype(inputs.dtype), residuals


def _backward(branches, residuals, g):
  weights, mix, states, kept, sources, ops = residuals
  order, count = _loose(sources)

  def scatter(i, carry):
    j = order[i]
    pulled = jax.vjp(_mixed, states[j], mix[j])[1](g)
    return tuple(a.at[j].set(b) for a, b in zip(carry, pulled, strict=True))

  zeros = jnp.zeros_like(states), jnp.zeros_like(mix)
  dstates, dmix = lax.fori_loop(0, count, scatter, zeros)

  dstates, dweights = _pull(
      branches, states, kept, dstates, _sides(sources, ops, weights)
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


def _run(branches, states, sides, keep):
  """Adds the branch of each side to the buffer, in order.

  Args:
    branches: static.
    states: [nodes, B, H, W, C], zero where a node is a sum.
    sides: (the state to add to, source, op, weights), a row for each side.
    keep: static; whether there will be a way back.

  Returns:
    The states, and what stages but the last returned, [sides, stages, ...].
  """
  longest = max(map(len, filter(None, branches)), default=0)
  stages = max(longest - 1, 0) if keep else 0
  targets, *_ = sides
  kept = jnp.zeros((len(targets), stages, *states.shape[1:]), states.dtype)

  def step(carry, row):
    side, (target, source, op, w) = row

    def run(branch, turn, carry):
      states, kept = carry
      x = states[source + turn]
      for n, stage in enumerate(branch):
        if n and keep:
          # Else XLA computes x once more, for the buffer alone.
          x = lax.optimization_barrier(x)
          kept = kept.at[side, n - 1].set(x)
        x = stage(x, w)
      return states.at[target].add(x), kept

    return _chosen(branches, op, run, carry), None

  rows = jnp.arange(len(targets)), sides
  return lax.scan(step, (states, kept), rows)[0]


def _pull(branches, states, kept, dstates, sides):
  """The way back of `_run`: (cotangents of the states, of the weights)."""
  targets, _, _, weights = sides

  def step(carry, row):
    side, (target, source, op, w) = row

    def pull(branch, turn, carry):
      dstates, dweights = carry
      g = dstates[target + turn]
      for n, stage in reversed(list(enumerate(branch))):
        x = kept[side + turn, n - 1] if n else states[source + turn]
        g, dw = jax.vjp(stage, x, w)[1](g)
        dweights = jax.tree.map(
            lambda whole, d: whole.at[side].add(d), dweights, dw
        )
      return dstates.at[source].add(g), dweights

    return _chosen(branches, op, pull, carry), None

  carry = dstates, jax.tree.map(jnp.zeros_like, weights)
  rows = jnp.arange(len(targets)), sides
  return lax.scan(step, carry, rows, reverse=True)[0]


def _chosen(branches, op, run, carry):
  """run(branches[op], 0, carry), or carry where that branch is None.

  A loop for each branch, of one turn or none. XLA updates what a loop carries
  in place, where what goes through a `lax.switch` is copied as a whole (seen
  on the CPU, and in the memory that the TPU's compiler asks for). The turn's
  number, always 0, keeps what depends on it within the loop.

  On a GPU, a switch: the card asks its host before each loop whether to run
  it, and once before a switch, which costs more than the copies (timed in
  NAS-Bench-201). Told apart by JAX's default backend as the program is traced,
  since to trace a cell both ways takes twice as long; each is right everywhere.
  """
  if jax.default_backend() == "gpu":
    return lax.switch(op, [
        (lambda carry: carry)
        if branch is None
        else functools.partial(run, branch, 0)
        for branch in branches
    ], carry)
  for n, branch in enumerate(branches):
    if branch is not None:
      body = functools.partial(run, branch)
      carry = lax.fori_loop(0, (op == n).astype(jnp.int32), body, carry)
  return carry


def graph(branches, edges, weights, x, ops):
  """Runs a cell whose edges are given and whose branches are chosen.

  Node 0 is x; the others are the sums of their edges,
  branches[ops[e]](node[source of e], weights[e]). The result is the last node.

  As in `cell`, numpy `ops` build the chosen branches only, and with a jax
  array one program serves every architecture and runs the chosen ones.

  Args:
    branches: static; a tuple of branches, see above.
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
    y = _apply(branches[ops[e]], nodes[source], w)
    nodes[target] = nodes[target] + y if target in nodes else y
  return nodes[max(nodes)]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _graph(branches, edges, weights, x, ops):
  return _graph_forward(branches, edges, weights, x, ops, keep=False)[0]


def _graph_forward(branches, edges, weights, x, ops, keep=True):
  targets, sources = np.array(edges, np.int32).T
  zeros = jnp.zeros((max(targets), *x.shape), x.dtype)
  states = jnp.concatenate([x[None], zeros])
  sides = targets, sources, ops, weights
  states, kept = _run(branches, states, sides, keep)
  return states[-1], (weights, states, kept, ops)


def _graph_backward(branches, edges, residuals, g):
  weights, states, kept, ops = residuals
  targets, sources = np.array(edges, np.int32).T
  dstates, dweights = _pull(
      branches,
      states,
      kept,
      jnp.zeros_like(states).at[-1].set(g),
      (targets, sources, ops, weights),
  )
  return dweights, dstates[0], None


_graph.defvjp(_graph_forward, _graph_backward)
