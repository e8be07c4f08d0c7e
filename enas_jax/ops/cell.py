"""Runs a searched cell: nodes that sum branches of other nodes (ENAS §2.4)."""

from collections.abc import Callable
import functools
from typing import Any

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

from enas_jax.ops import choose, conv


def cell(
    branches: tuple[Callable, ...] | choose.Together,
    weights: Any,
    mix: jax.Array,
    inputs: jax.Array | tuple[jax.Array, jax.Array],
    sources: jax.Array,
    ops: jax.Array,
) -> jax.Array:
  """Runs a cell and mixes its loose ends, the states that no side reads.

  States 0 and 1 are the inputs, and state n + 2 is node n:
  state[n + 2] = sum over d of
  branches[ops[n, d]](state[sources[n, d]], weights[n, d]). The result is the
  sum over the loose ends j of relu(state[j]) @ mix[j], before its batch norm.

  With numpy `sources` and `ops` only the chosen branches are built. With jax
  arrays one program serves every arch, and runs only the chosen branches; see
  `_searched`.

  Args:
    branches: Functions (x[B, H, W, C], weights) -> y of the same shape and
      dtype; static. All of them together, for jax arrays only, need no branch.
    weights: A tree with leaves [N, D, ...], the weights of each side of each
      node.
    mix: [2 + N, C, C], the matrix of each state.
    inputs: [2, B, H, W, C], or a pair.
    sources: i32[N, D], the earlier state that each side reads.
    ops: i32[N, D], the branch of each side.

  Returns:
    The mix of the loose ends, [B, H, W, C].
  """
  if isinstance(sources, jax.Array) or isinstance(ops, jax.Array):
    return _searched(branches, weights, mix, jnp.stack(inputs), sources, ops)
  return _fixed(branches, weights, mix, inputs, sources, ops)


def _fixed(branches, weights, mix, inputs, sources, ops):
  """Runs a cell with a numpy arch."""

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
  """Returns the part that a loose end has in the result."""
  return conv.pointwise(jax.nn.relu(state), mix)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _searched(branches, weights, mix, inputs, sources, ops):
  """Runs a cell with an arch of jax arrays; it has a gradient of its own.

  The forward pass is a scan over the sides of all nodes, which adds to a buffer
  of states [2 + N, B, H, W, C]. The backward pass is a scan in reverse over a
  buffer of their cotangents, which it updates in place, and pulls back through
  the one chosen branch. Autodiff would save the residuals of every branch, and
  make a whole buffer of zeros for each state that is read.
  """
  return _forward(branches, weights, mix, inputs, sources, ops)[0]


def _forward(branches, weights, mix, inputs, sources, ops):
  nodes = jnp.zeros((len(sources), *inputs.shape[1:]), inputs.dtype)
  states = jnp.concatenate([inputs, nodes])

  def step(states, side):
    target, source, op, w = side

    def run(branch, turn, states):
      return states.at[target].add(branch(states[source + turn], w))

    return choose.update(op, branches, run, states), None

  states, _ = lax.scan(step, states, _sides(sources, ops, weights))

  if isinstance(branches, choose.Together):
    out = _joined(states, mix, sources)
    return out.astype(inputs.dtype), (weights, mix, states, sources, ops)

  # The loop has a length known at run time, so that only loose ends cost.
  order, count = _loose(sources)

  def gather(i, out):
    return out + _mixed(states[order[i]], mix[order[i]])

  out = lax.fori_loop(0, count, gather, jnp.zeros(inputs.shape[1:]))
  return out.astype(inputs.dtype), (weights, mix, states, sources, ops)


def _backward(branches, residuals, g):
  weights, mix, states, sources, ops = residuals
  dstates, dmix = _scattered(branches, states, mix, sources, g)

  def step(carry, row):
    side, (target, source, op, w) = row

    def pull(branch, turn, carry):
      dstates, dweights = carry
      back = jax.vjp(branch, states[source + turn], w)[1]
      dx, dw = back(dstates[target + turn])
      dweights = jax.tree.map(
          lambda whole, d: whole.at[side].set(d), dweights, dw
      )
      return dstates.at[source].add(dx), dweights

    return choose.update(op, branches, pull, carry), None

  sides = _sides(sources, ops, weights)
  targets, _, _, flat = sides
  carry = dstates, jax.tree.map(jnp.zeros_like, flat)
  rows = jnp.arange(len(targets)), sides
  (dstates, dweights), _ = lax.scan(step, carry, rows, reverse=True)
  dweights = jax.tree.map(lambda d, w: d.reshape(w.shape), dweights, weights)
  return dweights, dmix, dstates[:2], None, None


_searched.defvjp(_forward, _backward)


def _scattered(branches, states, mix, sources, g):
  """Returns the cotangents of all states and of `mix` from the result's."""
  if isinstance(branches, choose.Together):

    def joined(states, mix):
      return _joined(states, mix, sources)

    return jax.vjp(joined, states, mix)[1](g.astype(jnp.float32))
  order, count = _loose(sources)

  def scatter(i, carry):
    j = order[i]
    pulled = jax.vjp(_mixed, states[j], mix[j])[1](g)
    return tuple(a.at[j].set(b) for a, b in zip(carry, pulled, strict=True))

  zeros = jnp.zeros_like(states), jnp.zeros_like(mix)
  return lax.fori_loop(0, count, scatter, zeros)


def _joined(states, mix, sources):
  """Returns the mix of the loose ends without a loop, f32[B, H, W, C].

  A state that is read counts by a matrix of zeros.
  """
  mix = jnp.where(_read(sources)[:, None, None], 0, mix)
  parts = [_mixed(*each) for each in zip(states, mix, strict=True)]
  return sum(part.astype(jnp.float32) for part in parts)


def _sides(sources, ops, weights):
  """Returns (target state, source, op, weights) of each side, [N * D, ...]."""
  nodes, sides = sources.shape
  targets = np.repeat(np.arange(2, nodes + 2, dtype=np.int32), sides)
  flat = jax.tree.map(
      lambda a: a.reshape(nodes * sides, *a.shape[2:]), (sources, ops, weights)
  )
  return targets, *flat


def _loose(sources):
  """Returns (all states in an order with the loose ends first, their number).
  """
  read = _read(sources)
  return jnp.argsort(read), (~read).sum()


def _read(sources):
  """Returns which states are read by a side, bool[2 + N]."""
  return jnp.zeros(len(sources) + 2, bool).at[sources.ravel()].set(True)
