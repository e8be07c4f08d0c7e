"""The searched cell: nodes that sum two branches each (ENAS §2.3, §3.4)."""

import functools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from enas_jax.ops import conv


def cell(branches, weights, mix, inputs, sources, ops):
  """Runs a cell and mixes its loose ends: the states that no node reads.

  State 0 and 1 are the inputs, state n + 2 is node n:
  state[n + 2] = sum over d of branches[ops[n, d]](state[sources[n, d]],
  weights[n, d]). The result is the sum over the loose states j of
  relu(state[j]) @ mix[j], before its batch norm.

  With numpy `sources` and `ops` only the chosen branches are built. With jax
  arrays one program serves every architecture and runs the chosen branches
  only; see `_searched`.

  Args:
    branches: static; functions (x[B, H, W, C], weights of one side) ->
      y[B, H, W, C].
    weights: a tree, leaves [N, D, ...]; what each side of each node reads.
    mix: [2 + N, C, C].
    inputs: [2, B, H, W, C], or a pair.
    sources: i32[N, D]; the state each side reads, an earlier one.
    ops: i32[N, D]; its branch.

  Returns:
    [B, H, W, C].
  """
  if isinstance(ops, jax.Array) or isinstance(sources, jax.Array):
    return _searched(branches, weights, mix, jnp.stack(inputs), sources, ops)
  return _fixed(branches, weights, mix, inputs, sources, ops)


def _fixed(branches, weights, mix, inputs, sources, ops):
  states = list(inputs)
  for n, row in enumerate(ops):
    states.append(
      sum(
        branches[op](
          states[sources[n][d]], jax.tree.map(lambda w: w[n, d], weights)
        )
        for d, op in enumerate(row)
      )
    )
  loose = sorted(set(range(len(states))) - set(np.ravel(sources).tolist()))
  return sum(_mixed(states[j], mix[j]) for j in loose)


def _mixed(state, mix):
  return conv.pointwise(jax.nn.relu(state), mix)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _searched(branches, weights, mix, inputs, sources, ops):
  """The cell whose architecture is data, with its own gradient.

  Forward, a scan over the sides of the nodes writes a buffer of states
  [2 + N, B, H, W, C]. Backward, the scan runs in reverse over a buffer of
  their cotangents, updated in place, and runs the one chosen branch again
  before it pulls back through it. Autodiff would save what every branch needs
  and make a whole buffer of zeros for each state that is read.
  """
  return _fwd(branches, weights, mix, inputs, sources, ops)[0]


def _edges(tree):
  """Leaves [N, D, ...] -> [N * D, ...]."""
  return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), tree)


def _targets(sources):
  """The state that each side of each node is added to, i32[N * D]."""
  nodes, sides = sources.shape
  return np.repeat(np.arange(nodes, dtype=np.int32) + 2, sides)


def _loose(sources):
  """(states, those that no side reads first; how many these are)."""
  nodes = len(sources)
  loose = jnp.ones(nodes + 2, bool).at[sources.ravel()].set(False)
  return jnp.argsort(~loose), loose.sum()


def _fwd(branches, weights, mix, inputs, sources, ops):
  nodes = len(sources)
  nothing = jnp.zeros((nodes, *inputs.shape[1:]), inputs.dtype)
  states = jnp.concatenate([inputs, nothing])

  def run(branch):
    return lambda states, source, w: branch(states[source], w)

  runs = [run(branch) for branch in branches]

  def step(states, edge):
    target, source, op, w = edge
    y = lax.switch(op, runs, states, source, w)
    return states.at[target].add(y), None

  edges = (_targets(sources), *_edges((sources, ops, weights)))
  states, _ = lax.scan(step, states, edges)

  order, count = _loose(sources)

  def gather(n, out):
    j = order[n]
    return out + _mixed(states[j], mix[j])

  out = lax.fori_loop(0, count, gather, jnp.zeros_like(inputs[0]))
  return out, (weights, mix, states, sources, ops)


def _bwd(branches, residuals, g):
  weights, mix, states, sources, ops = residuals
  order, count = _loose(sources)

  def scatter(n, carry):
    dstates, dmix = carry
    j = order[n]
    ds, dm = jax.vjp(_mixed, states[j], mix[j])[1](g)
    return dstates.at[j].set(ds), dmix.at[j].set(dm)

  zeros = jnp.zeros_like(states), jnp.zeros_like(mix)
  dstates, dmix = lax.fori_loop(0, count, scatter, zeros)

  def pull(branch):
    return lambda states, dstates, target, source, w: jax.vjp(
      branch, states[source], w
    )[1](dstates[target])

  pulls = [pull(branch) for branch in branches]

  def step(dstates, edge):
    target, source, op, w = edge
    dx, dw = lax.switch(op, pulls, states, dstates, target, source, w)
    return dstates.at[source].add(dx), dw

  edges = (_targets(sources), *_edges((sources, ops, weights)))
  dstates, dweights = lax.scan(step, dstates, edges, reverse=True)
  dweights = jax.tree.map(lambda dw, w: dw.reshape(w.shape), dweights, weights)
  return dweights, dmix, dstates[:2], None, None


_searched.defvjp(_fwd, _bwd)
