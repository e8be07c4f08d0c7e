"""Convolutions on NHWC arrays: pointwise, depthwise, dense, and the reduction.

On TPU and GPU they are plain XLA convolutions. On the CPU they are made of
shifted products and matrix products, because XLA runs a convolution on one
thread when it stands in a loop or a branch, which is where a searched network
has it. One gradient rule serves both forms (`lax.platform_dependent`).
"""

import functools
import math

import jax
from jax import export, lax
import jax.numpy as jnp

from enas_jax.ops import windows

_NHWC = ("NHWC", "HWIO", "NHWC")
_IMAGES_A_TURN = 4  # the most in the depthwise weight gradient on the CPU
# The entries of `_columns` or `_patches` on the CPU. If those of all images fit
# into the cache that the cores share, they are made at once; else as many
# images are taken at a time as fit near a core.
_ENTRIES_AT_ONCE, _ENTRIES_A_CHUNK = 3 << 19, 3 << 18


def pointwise(x: jax.Array, w: jax.Array) -> jax.Array:
  """Returns the 1x1 convolution of x[B, H, W, C] and w[C, F], [B, H, W, F]."""
  y = x.reshape(-1, x.shape[-1]) @ w.astype(x.dtype)
  return y.reshape(*x.shape[:-1], w.shape[-1])


def strided(x: jax.Array, stride: int) -> jax.Array:
  """Returns the rows and columns of x[B, H, W, C] that a 1x1 window reads."""
  # `factorized_reduction` says what the barrier is for.
  return x if stride == 1 else lax.optimization_barrier(
      x[:, ::stride, ::stride]
  )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(x: jax.Array, w: jax.Array, stride: int = 1) -> jax.Array:
  """Returns the depthwise convolution with SAME padding.

  Args:
    x: [B, H, W, C], the input.
    w: [k, k, C], the kernel.
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
  """Returns the weight gradient, summed over the batch by a loop over images.

  The body of the loop is elementwise and has one accumulator for each tap.
  XLA's reduction over batch, rows and columns with the channels last is several
  times slower. A turn takes up to four images, as many as divide the batch,
  because the accumulators are most of what it reads and writes. Each image is a
  slice of its own; four images in one slice took three times as long.
  """
  k = len(w)
  batch, height, width, c = g.shape
  images = math.gcd(batch, _IMAGES_A_TURN)
  # They are cast before the loop because each tap in it would cast its input.
  x, g = x.astype(jnp.float32), g.astype(jnp.float32)
  phases = windows.split(x, k, stride)

  def taps(n):  # rows of W * C entries are one long axis for the vector units
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
  """Returns the ordinary convolution with SAME padding.

  Args:
    x: [B, H, W, C], the input.
    w: [k, k, C, F], the kernel.
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
  """Returns (dx, dw in f32) of some images, by `_patches`."""
  dw = _sum_of_products(_patches(x, len(w), edges), g).reshape(w.shape)
  # It is float32 because the gradient of a pixel is a sum over its patches.
  _, back = jax.vjp(
      lambda x: _patches(x, len(w), edges), x.astype(jnp.float32)
  )
  dx = jnp.matmul(
      g, _flat(w).T.astype(g.dtype), preferred_element_type=jnp.float32
  )
  return back(dx)[0].astype(x.dtype), dw


def _column_gradients(x, g, w, edges):
  """Returns (dx, dw in f32) of some images, by `_columns`."""
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
  """Sums the products of a[B, H, W, P] and b[B, H, W, Q] to f32[P, Q]."""
  return jnp.einsum(
      "bhwp,bhwq->pq", a, b, preferred_element_type=jnp.float32
  )


def _unstrided(x, w, stride):
  """Returns the input and the kernel of an equal convolution without stride.

  The new input has the channels of all phases of the padded old input
  (`windows.split`), and the new kernel has for each phase the taps that read
  it.
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
  """Returns how many zeros pad the input that `_unstrided` returns."""
  low = (k - 1) // 2
  return (low, k - 1 - low) if stride == 1 else (0, 0)


def _padded(x, rows=(0, 0), columns=(0, 0)):
  """Returns x with zeros around it, computed once."""
  # Without the barrier XLA computes x, which may be the gradient of a batch
  # norm, once for each of the k slices that are read of it.
  return lax.optimization_barrier(windows.pad(x, rows, columns))


def _wide(w):
  """Says whether patches and their product have fewer entries than columns.

  This is so where few channels become many, as in a stem.
  """
  k, _, c, features = w.shape
  return k * k * c + features < k * (c + features)


def _patches(x, k, edges):
  """Returns the entries that each pixel reads, [B, Ho, Wo, k * k * C]."""
  x = _padded(x, edges, edges)
  height, width = (size - k + 1 for size in x.shape[1:3])
  shifts = [(i, j) for i in range(k) for j in range(k)]
  return jnp.concatenate(
      [x[:, i : i + height, j : j + width] for i, j in shifts], -1
  )


def _flat(w):
  """Returns the kernel as the matrix of `_patches`, [k * k * C, F]."""
  return w.reshape(-1, w.shape[-1])


def _columns(x, k):
  """Returns the entries that each pixel reads of its own row.

  It maps [B, H, W, C] to [B, H, W - k + 1, k * C].
  """
  width = x.shape[2] - k + 1
  return jnp.concatenate([x[:, :, j : j + width] for j in range(k)], -1)


def _product(columns, w, edges):
  """Returns the convolution of an input given by its `_columns`.

  The input is padded by `edges`, rows of zeros above and below. It takes one
  product with the kernel's rows side by side, and a sum over these rows. Memory
  then holds k columns and k results, where patches would be k * k columns, and
  the product is k times as wide.
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
  """Cuts a[B, ...] into chunks [B / n, n, ...], for an input x of kernel w.

  An exported program does not know B while it is traced; its chunks are images.
  """
  entries = math.prod(x.shape[1:]) * len(w) ** (2 if _wide(w) else 1)
  n = x.shape[0]
  if export.is_symbolic_dim(n):
    return a[:, None]
  if n * entries > _ENTRIES_AT_ONCE:
    fit = max(1, _ENTRIES_A_CHUNK // entries)
    n = max(m for m in range(1, fit + 1) if n % m == 0)
  return a.reshape(-1, n, *a.shape[1:])


def factorized_reduction(
    x: jax.Array, w1: jax.Array, w2: jax.Array
) -> jax.Array:
  """Halves the resolution by two pointwise paths one pixel apart.

  The first path reads the even rows and columns, the second the odd ones. Where
  a side is odd, the last position of the second path lies outside the image and
  reads zero, as in the reference (micro_child.py), which pads below and to the
  right before it crops.

  Args:
    x: [B, H, W, C], the input.
    w1: [C, F / 2], the weights of the first path.
    w2: [C, F / 2], the weights of the second path.

  Returns:
    [B, ceil(H / 2), ceil(W / 2), F], before the batch norm.
  """
  # The barrier is needed because XLA for GPUs (jax 0.11.2) crashes where it
  # fuses a strided slice into the product of the weight gradient and splits the
  # sum over pixels of that product.
  even, odd = lax.optimization_barrier((x[:, ::2, ::2], x[:, 1::2, 1::2]))
  rows, columns = (size % 2 for size in x.shape[1:3])
  odd = jnp.pad(odd, ((0, 0), (0, rows), (0, columns), (0, 0)))
  return jnp.concatenate([pointwise(even, w1), pointwise(odd, w2)], axis=-1)
