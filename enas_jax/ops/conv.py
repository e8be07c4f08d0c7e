"""Convolutions on NHWC arrays: pointwise, depthwise, dense, and the reduction.

On TPU and GPU they are plain XLA convolutions. On the CPU XLA runs those on
one thread when they stand in a loop or a branch, which is where a searched
network has them, so there they are made of shifted products and matrix
products. One gradient rule holds both (`lax.platform_dependent`).
"""

import functools
import math

import jax
from jax import lax
import jax.numpy as jnp

from enas_jax.ops import windows

_NHWC = ("NHWC", "HWIO", "NHWC")
_IMAGES_A_TURN = 4  # at most, of the depthwise weight gradient on the CPU
# Of `_columns` or `_patches`, on the CPU: all images at once where that many
# fit, in what the cores share, or else as many at a time as fit near a core.
_ENTRIES_AT_ONCE, _ENTRIES_A_CHUNK = 3 << 19, 3 << 18


def pointwise(x: jax.Array, w: jax.Array) -> jax.Array:
  """1x1 convolution: x[B, H, W, C], w[C, F] -> [B, H, W, F]."""
  y = x.reshape(-1, x.shape[-1]) @ w.astype(x.dtype)
  return y.reshape(*x.shape[:-1], w.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(x: jax.Array, w: jax.Array, stride: int = 1) -> jax.Array:
  """Depthwise convolution with SAME padding.

  Args:
    x: [B, H, W, C].
    w: [k, k, C].
    stride: 1 or 2; static.

  Returns:
    [B, ceil(H / stride), ceil(W / stride), C].
  """
  return lax.platform_dependent(
      x,
      w,
      cpu=functools.partial(_depthwise_taps, stride=stride),
      default=functools.partial(_depthwise_conv, stride=stride),
  )


def _depthwise_fwd(x, w, stride):
  return depthwise(x, w, stride), (x, w)


def _depthwise_bwd(stride, residuals, g):
  def plain(x, w, g):
    conv = functools.partial(_depthwise_conv, stride=stride)
    return jax.vjp(conv, x, w)[1](g)

  def shifts(x, w, g):
    dx = _depthwise_dx(g, w, x.shape, stride)
    return dx, _depthwise_dw(x, g, w, stride)

  return lax.platform_dependent(*residuals, g, cpu=shifts, default=plain)


depthwise.defvjp(_depthwise_fwd, _depthwise_bwd)
depthwise = jax.jit(depthwise, static_argnames="stride")


def _depthwise_conv(x, w, stride):
  return lax.conv_general_dilated(
      x,
      w[:, :, None].astype(x.dtype),
      (stride, stride),
      "SAME",
      dimension_numbers=_NHWC,
      feature_group_count=x.shape[-1],
  )


def _depthwise_taps(x, w, stride):
  taps = windows.taps(x, len(w), stride)
  factors = w.astype(jnp.float32).reshape(-1, x.shape[-1])
  y = sum(tap * f for tap, f in zip(taps, factors, strict=True))
  return y.astype(x.dtype)


def _depthwise_dx(g, w, shape, stride):
  k, w = len(w), w.astype(jnp.float32)
  spread = windows.spread(g, k, stride)

  def term(i, j):
    return windows.back(spread, i, j, k, stride) * w[i, j]

  return windows.collect(term, k, stride, *shape[1:3]).astype(g.dtype)


def _depthwise_dw(x, g, w, stride):
  """The weight gradient, summed over the batch by a loop over images.

  The body is elementwise, into one accumulator a tap: XLA's reduction over
  batch, rows and columns with the channels last is several times slower. A
  turn takes four images, or what divides the batch, since the accumulators are
  most of what it reads and writes; each a slice of its own: out of one slice
  they took three times as long.
  """
  k = len(w)
  batch, height, width, c = g.shape
  images = math.gcd(batch, _IMAGES_A_TURN)
  # In float32 before the loop: in it every tap would convert what it reads.
  x, g = x.astype(jnp.float32), g.astype(jnp.float32)
  phases = windows.split(x, k, stride)

  def taps(n):  # of rows of W * C: one long axis for the vector units
    def rows(a):
      a = lax.dynamic_index_in_dim(a, n, keepdims=False)
      return a.reshape(len(a), -1)

    own, dy = jax.tree.map(rows, (phases, g))
    for i in range(k):
      for j in range(k):
        phase = own[i % stride][j % stride]
        p, q = i // stride, j // stride
        yield phase[p : p + height, q * c : (q + width) * c] * dy

  def body(turn, sums):
    for image in range(images):
      products = taps(turn * images + image)
      sums = tuple(s + p for s, p in zip(sums, products, strict=True))
    return sums

  sums = (jnp.zeros((height, width * c), jnp.float32),) * k**2
  sums = lax.fori_loop(0, batch // images, body, sums)
  sums = [s.reshape(height, width, c).sum((0, 1)) for s in sums]
  return jnp.stack(sums).reshape(w.shape).astype(w.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def dense(x: jax.Array, w: jax.Array, stride: int = 1) -> jax.Array:
  """Ordinary convolution with SAME padding.

  Args:
    x: [B, H, W, C].
    w: [k, k, C, F].
    stride: 1 or 2; static.

  Returns:
    [B, ceil(H / stride), ceil(W / stride), F].
  """
  return lax.platform_dependent(
      x,
      w,
      cpu=functools.partial(_dense_products, stride=stride),
      default=functools.partial(_dense_conv, stride=stride),
  )


def _dense_fwd(x, w, stride):
  return dense(x, w, stride), (x, w)


def _dense_bwd(stride, residuals, g):
  def plain(x, w, g):
    conv = functools.partial(_dense_conv, stride=stride)
    return jax.vjp(conv, x, w)[1](g)

  products = functools.partial(_dense_gradients, stride=stride)
  return lax.platform_dependent(*residuals, g, cpu=products, default=plain)


dense.defvjp(_dense_fwd, _dense_bwd)
dense = jax.jit(dense, static_argnames="stride")


def _dense_conv(x, w, stride):
  w = w.astype(x.dtype)
  return lax.conv_general_dilated(
      x, w, (stride, stride), "SAME", dimension_numbers=_NHWC
  )


def _dense_products(x, w, stride):
  (x, w), edges = _unstrided(x, w, stride), _edges(len(w), stride)

  def chunk(x):
    if _wide(w):
      return pointwise(_patches(x, len(w), edges), _flat(w))
    return _product(_columns(_padded(x, columns=edges), len(w)), w, edges)

  y = lax.map(chunk, _chunks(x, x, w))
  return y.reshape(-1, *y.shape[2:])


def _dense_gradients(x, w, g, stride):
  edges = _edges(len(w), stride)
  unstrided = functools.partial(_unstrided, stride=stride)
  (x, w), pull = jax.vjp(unstrided, x, w)
  gradients = _patch_gradients if _wide(w) else _column_gradients

  def step(dw, chunk):
    dx, more = gradients(*chunk, w, edges)
    return dw + more, dx

  chunks = _chunks(x, x, w), _chunks(g, x, w)
  dw, dx = lax.scan(step, jnp.zeros(w.shape, jnp.float32), chunks)
  return pull((dx.reshape(x.shape), dw.astype(w.dtype)))


def _patch_gradients(x, g, w, edges):
  """(dx, dw f32) of some images."""
  dw = _sum_of_products(_patches(x, len(w), edges), g).reshape(w.shape)
  # In float32, since a pixel's gradient is a sum over its patches.
  _, back = jax.vjp(
      lambda x: _patches(x, len(w), edges), x.astype(jnp.float32)
  )
  dx = jnp.matmul(
      g, _flat(w).T.astype(g.dtype), preferred_element_type=jnp.float32
  )
  return back(dx)[0].astype(x.dtype), dw


def _column_gradients(x, g, w, edges):
  """(dx, dw f32) of some images."""
  k, _, c, features = w.shape
  low, _ = across = [k - 1 - edge for edge in edges]
  height, width = g.shape[1:3]
  g = _padded(g, across, across)
  rows = [
      g[:, k - 1 - i :][:, : x.shape[1], low : low + width] for i in range(k)
  ]
  columns = _columns(_padded(x, columns=edges), k)
  dw = _sum_of_products(columns, jnp.concatenate(rows, -1))
  dw = dw.reshape(k, c, k, features).transpose(2, 0, 1, 3)
  columns = _columns(g[:, low : low + height], k)
  return _product(columns, w[::-1, ::-1].swapaxes(2, 3), across), dw


def _sum_of_products(a, b):
  """a[B, H, W, P], b[B, H, W, Q] -> f32[P, Q]."""
  return jnp.einsum(
      "bhwp,bhwq->pq", a, b, preferred_element_type=jnp.float32
  )


def _unstrided(x, w, stride):
  """The input and the kernel of the same convolution without its stride.

  The channels of the new input are those of the phases of the padded old one
  (`windows.split`), and the new kernel reads each with the taps it has there.
  """
  if stride == 1:
    return x, w
  k, _, c, features = w.shape
  size = -(-k // stride)
  w = jnp.pad(w, ((0, size * stride - k),) * 2 + ((0, 0),) * 2)
  w = w.reshape(size, stride, size, stride, c, features)
  w = w.transpose(0, 2, 1, 3, 4, 5).reshape(size, size, -1, features)
  phases = windows.split(x, k, stride)
  return jnp.concatenate([b for a in phases for b in a], -1), w


def _edges(k, stride):
  """The zeros before and after what `_unstrided` returns."""
  low = (k - 1) // 2
  return (low, k - 1 - low) if stride == 1 else (0, 0)


def _padded(x, rows=(0, 0), columns=(0, 0)):
  # The barrier: else XLA computes what x is made of, such as the gradient of a
  # batch norm, once for each of the k slices that are read of it.
  return lax.optimization_barrier(windows.pad(x, rows, columns))


def _wide(w):
  """Whether patches and their product hold less than columns and theirs do.

  So it is where few channels become many, as where an image is read.
  """
  k, _, c, features = w.shape
  return k * k * c + features < k * (c + features)


def _patches(x, k, edges):
  """[B, H, W, C] -> [B, Ho, Wo, k * k * C]: what pixels read."""
  x = _padded(x, edges, edges)
  height, width = (size - k + 1 for size in x.shape[1:3])
  shifts = [(i, j) for i in range(k) for j in range(k)]
  return jnp.concatenate(
      [x[:, i : i + height, j : j + width] for i, j in shifts], -1
  )


def _flat(w):
  return w.reshape(-1, w.shape[-1])


def _columns(x, k):
  """[B, H, W, C] -> [B, H, W - k + 1, k * C]: what pixels read of their row."""
  width = x.shape[2] - k + 1
  return jnp.concatenate([x[:, :, j : j + width] for j in range(k)], -1)


def _product(columns, w, edges):
  """The convolution whose input has these `_columns`, and `edges` of zero rows.

  One product with the kernel's rows side by side, and a sum over these. So k
  columns stand in memory and k results, where patches would be k * k columns,
  and the product is k times as wide.
  """
  k, _, _, features = w.shape
  w = w.astype(columns.dtype).transpose(1, 2, 0, 3).reshape(-1, k * features)
  products = jnp.matmul(columns, w, preferred_element_type=jnp.float32)
  low, high = edges
  rows = jnp.split(products, k, -1)
  y = sum(
      windows.pad(row, (low - i, high - (k - 1 - i)))
      for i, row in enumerate(rows)
  )
  return y.astype(columns.dtype)


def _chunks(a, x, w):
  """[B, ...] -> [B / n, n, ...] for an input x of kernel w."""
  entries = math.prod(x.shape[1:]) * len(w) ** (2 if _wide(w) else 1)
  n = len(x)
  if n * entries > _ENTRIES_AT_ONCE:
    fit = max(1, _ENTRIES_A_CHUNK // entries)
    n = max(m for m in range(1, fit + 1) if n % m == 0)
  return a.reshape(-1, n, *a.shape[1:])


def factorized_reduction(
    x: jax.Array, w1: jax.Array, w2: jax.Array
) -> jax.Array:
  """Halves the resolution: two pointwise paths one pixel apart.

  The second path reads the odd rows and columns. Where the size is odd its
  last position lies outside the image and reads zero, as in the reference
  (micro_child.py), which pads below and to the right before it crops.

  Args:
    x: [B, H, W, C].
    w1: [C, F / 2].
    w2: [C, F / 2].

  Returns:
    [B, ceil(H / 2), ceil(W / 2), F], before the batch norm.
  """
  # The barrier: XLA for GPUs (jax 0.11.2) dies where it fuses a strided slice
  # into the product of the weight gradient, whose sum over pixels it splits.
  even, odd = lax.optimization_barrier((x[:, ::2, ::2], x[:, 1::2, 1::2]))
  rows, columns = (size % 2 for size in x.shape[1:3])
  odd = jnp.pad(odd, ((0, 0), (0, rows), (0, columns), (0, 0)))
  return jnp.concatenate([pointwise(even, w1), pointwise(odd, w2)], axis=-1)
