"""The cells of NAS-Bench-201's shared network and of its final network."""

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax.ops import choose, conv, layers, norm, pool
from enas_jax.spaces.nasbench201.arch import EDGES, OPERATIONS

_NONE = OPERATIONS.index("none")
_CONVOLUTIONS = [n for n, name in enumerate(OPERATIONS) if "conv" in name]


class SharedCell(nn.Module):
  """A cell of the shared network; its tables have a row for each edge.

  Attributes:
    affine: Whether batch norms have a scale and an offset.
    arithmetic: As in `NasBench201Network`.
  """

  affine: bool
  arithmetic: bool = False

  @nn.compact
  def __call__(
      self, x: jax.Array, ops: jax.Array, *, train: bool
  ) -> jax.Array:
    """Returns node 3 of x[B, H, W, C], of its shape; ops: i32[6]."""
    del train
    c, edges = x.shape[-1], len(EDGES)

    def norm_weights(name):
      ones, zeros = nn.initializers.ones, nn.initializers.zeros
      return {
          "scale": self.param(f"scale_{name}", ones, (edges, c)),
          "offset": self.param(f"offset_{name}", zeros, (edges, c)),
      }

    weights = {
        name: {
            "kernel": self.param(
                f"kernel_{name}",
                layers.he_normal(np.prod(window, initial=c)),
                (edges, *window, c, c),
            ),
            **(norm_weights(name) if self.affine else {}),
        }
        for name, window in (("1", ()), ("3", (3, 3)))
    }
    ops = needed(ops, self.affine)
    if self.arithmetic and isinstance(ops, jax.Array):
      return _assembled(x, ops, weights)

    def edge(e, x):
      w = jax.tree.map(lambda leaf: leaf[e], weights)
      return choose.line(ops[e], _BRANCHES, x, w)

    return _summed(edge, x)


def needed(ops: jax.Array, affine: bool) -> jax.Array:
  """Returns a cell's operations, with `none` for those that add nothing.

  An edge into a node that is read only by `none` becomes `none`. So does an
  edge from a node that only `none` makes, unless the edge is a convolution with
  a batch norm that has an offset. The compiler finds such edges in a fixed
  cell, but not in a searched one.

  Args:
    ops: i32[6] of jax or numpy; the result is of the same kind.
    affine: Whether batch norms have an offset.
  """
  xp = jnp if isinstance(ops, jax.Array) else np
  full, adds = {0: xp.asarray(True)}, []
  for (node, source), op in zip(EDGES, ops, strict=True):
    offset = affine & xp.isin(op, np.array(_CONVOLUTIONS))
    adds.append((op != _NONE) & (full[source] | offset))
    full[node] = full.get(node, False) | adds[-1]
  read, kept = {3: True}, []
  for (node, source), some in reversed(list(zip(EDGES, adds, strict=True))):
    kept.append(some & read[node])
    read[source] = read.get(source, False) | kept[-1]
  return xp.where(xp.stack(kept[::-1]), ops, _NONE)


def _assembled(x, ops, weights):
  """Returns node 3 where node 0 is x, without a branch.

  The edges that read one node are one 3 x 3 convolution of its ReLU. The kernel
  of an edge is the one that the edge chose, with a 1 x 1 kernel in its middle,
  or 0. Identity and average pooling are terms with a factor of 0 or 1.

  Args:
    x: [B, H, W, C].
    ops: i32[6].
    weights: A tree with leaves [6, ...], by the size of the convolution.
  """
  c = x.shape[-1]
  is_op = {name: ops == n for n, name in enumerate(OPERATIONS)}
  three, one = is_op["nor_conv_3x3"], is_op["nor_conv_1x1"]

  def chosen(name, fallback):
    """Returns [6, C] of the convolution that each edge chose, or 0."""
    ones = jnp.full((len(EDGES), c), fallback)
    both = (weights[size].get(name, ones) for size in "31")
    return sum(
        jnp.where(on[:, None], leaf, 0.0)
        for on, leaf in zip((three, one), both, strict=True)
    )

  scale, offset = chosen("scale", 1.0), chosen("offset", 0.0)
  small = jnp.pad(
      weights["1"]["kernel"][:, None, None],
      ((0, 0), (1, 1), (1, 1), (0, 0), (0, 0)),
  )
  kernel = sum(
      jnp.where(on[:, None, None, None, None], leaf, 0.0)
      for on, leaf in ((three, weights["3"]["kernel"]), (one, small))
  )
  nodes = {0: x}
  for source in range(3):
    edges = [e for e, edge in enumerate(EDGES) if edge[1] == source]
    x = nodes[source]
    y = conv.dense(
        jax.nn.relu(x), jnp.concatenate([kernel[e] for e in edges], -1)
    )
    joined = (
        jnp.concatenate([leaf[e] for e in edges]) for leaf in (scale, offset)
    )
    y, _, _ = norm.batch_norm(y, *joined)
    pooled = pool.avg_pool(x)
    for e, part in zip(edges, jnp.split(y, len(edges), -1), strict=True):
      part = part + jnp.where(is_op["skip_connect"][e], x, 0)
      part = part + jnp.where(is_op["avg_pool_3x3"][e], pooled, 0)
      node = EDGES[e][0]
      nodes[node] = nodes[node] + part if node in nodes else part
  return nodes[3]


def _summed(edge, x):
  """Returns node 3 where node 0 is x.

  Args:
    edge: (number of an edge, the node that it reads) -> its result.
    x: [B, H, W, C].
  """
  nodes = {0: x}
  for e, (node, source) in enumerate(EDGES):
    y = edge(e, nodes[source])
    nodes[node] = nodes[node] + y if node in nodes else y
  return nodes[3]


def _plain(function) -> choose.Branch:
  """Makes a branch from a function without weights."""

  def whole(x, weights):
    del weights
    return function(x)

  def forward(x, weights):
    c = x.shape[-1]
    return whole(x, weights), jnp.ones(c), jnp.zeros(c)

  def backward(x, weights, y, g):
    del y
    return jax.vjp(whole, x, weights)[1](g)

  return choose.Branch(whole, forward, backward)


def _convolution(name: str, convolve) -> choose.Branch:
  """Makes a branch of ReLU, convolution and batch norm."""

  def convolved(x, weights):
    return convolve(jax.nn.relu(x), weights[name]["kernel"])

  def affine(weights, y):
    w, c = weights[name], y.shape[-1]
    return w.get("scale", jnp.ones(c)), w.get("offset", jnp.zeros(c))

  def normalised(y, weights):
    return norm.batch_norm(y, *affine(weights, y))[0]

  def whole(x, weights):
    return normalised(convolved(x, weights), weights)

  def forward(x, weights):
    y = convolved(x, weights)
    return y, *norm.line(*norm.moments(y), *affine(weights, y))

  def backward(x, weights, y, g):
    # XLA drops the convolution that `jax.vjp` would run, since y is given.
    dy, of_norm = jax.vjp(normalised, y, weights)[1](g)
    dx, of_kernel = jax.vjp(convolved, x, weights)[1](dy)
    return dx, jax.tree.map(jnp.add, of_norm, of_kernel)

  return choose.Branch(whole, forward, backward)


# The branches in the order of OPERATIONS.
_BRANCHES = (
    _plain(jnp.zeros_like),
    _plain(lambda x: x),
    _convolution("1", conv.pointwise),
    _convolution("3", conv.dense),
    _plain(pool.avg_pool),
)


class FinalCell(nn.Module):
  """A cell of the final network, which builds only the chosen operations."""

  @nn.compact
  def __call__(
      self, x: jax.Array, ops: np.ndarray, *, train: bool
  ) -> jax.Array:
    """Returns node 3 of x[B, H, W, C], of its shape; ops: i32[6]."""

    def edge(e, x):
      match name := OPERATIONS[ops[e]]:
        case "none":
          return jnp.zeros_like(x)
        case "skip_connect":
          return x
        case "avg_pool_3x3":
          return pool.avg_pool(x)
      layer = layers.Conv(x.shape[-1], int(name[-1]), True, name=f"edge_{e}")
      return layer(jax.nn.relu(x), train=train)

    return _summed(edge, x)
