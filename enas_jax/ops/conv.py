"""Convolutions on NHWC arrays: pointwise, depthwise, dense, and the reduction.

On TPU and GPU they are plain XLA convolutions. On the CPU XLA runs those on
one thread when they stand in a loop or a branch, which is where a searched
network has them, so there they are made of shifted products and matrix
products. One gradient rule holds both (`lax.platform_dependent`).
"""

import functools

import jax
from jax import lax
import jax.numpy as jnp

from enas_jax.ops import windows

_NHWC = ("NHWC", "HWIO", "NHWC")
_PATCH_ENTRIES = 1 << 19  # 2 MiB of patches at a time, on the CPU


def pointwise(x, w):
  """1x1 convolution: x[B, H, W, C], w[C, F] -> [B, H, W, F]."""
  y = x.reshape(-1, x.shape[-1]) @ w.astype(x.dtype)
  return y.reshape(*x.shape[:-1], w.shape[-1])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def depthwise(x, w, stride: int = 1):
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
  """The weight gradient, summed over the batch by a loop over image pairs.

  The body is elementwise, into one accumulator a tap: XLA's reduction over
  batch, rows and columns with the channels last is several times slower.
  """
  k = len(w)
  batch, height, width, c = g.shape
  pair = 2 - batch % 2
  phases = windows.split(x, k, stride)
  sums = (jnp.zeros((pair, height, width * c), jnp.float32),) * k**2

  def long_rows(a, n):  # of W * C: one long axis for the vector units
    a = lax.dynamic_slice_in_dim(a, n * pair, pair)
    return a.reshape(*a.shape[:2], -1)

  def body(n, sums):
    rows = jax.tree.map(lambda phase: long_rows(phase, n), phases)
    dy = long_rows(g, n).astype(jnp.float32)

    def tap(i, j):
      p, q = i // stride, j // stride
      phase = rows[i % stride][j % stride]
      return phase[:, p : p + height, q * c : (q + width) * c]

    taps = (tap(i, j) for i in range(k) for j in range(k))
    return tuple(s + tap * dy for s, tap in zip(sums, taps, strict=True))

  sums = lax.fori_loop(0, batch // pair, body, sums)
  sums = [s.reshape(-1, width, c).sum((0, 1)) for s in sums]
  return jnp.stack(sums).reshape(w.shape).astype(w.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def dense(x, w, stride: int = 1):
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
      cpu=functools.partial(_dense_patches, stride=stride),
      default=functools.partial(_dense_conv, stride=stride),
  )


def _dense_fwd(x, w, stride):
  return dense(x, w, stride), (x, w)


def _dense_bwd(stride, residuals, g):
  def plain(x, w, g):
    conv = functools.partial(_dense_conv, stride=stride)
    return jax.vjp(conv, x, w)[1](g)

  patches = functools.partial(_dense_gradients, stride=stride)
  return lax.platform_dependent(*residuals, g, cpu=patches, default=plain)


dense.defvjp(_dense_fwd, _dense_bwd)
dense = jax.jit(dense, static_argnames="stride")


def _dense_conv(x, w, stride):
  w = w.astype(x.dtype)
  return lax.conv_general_dilated(
      x, w, (stride, stride), "SAME", dimension_numbers=_NHWC
  )


def _dense_patches(x, w, stride):
  k, features = len(w), w.shape[-1]
  out = [windows.same(size, k, stride)[0] for size in x.shape[1:3]]
  w = w.reshape(-1, features)

  def chunk(x):
    return pointwise(_patches(x, k, stride), w)

  return lax.map(chunk, _chunks(x, w, out)).reshape(-1, *out, features)


def _dense_gradients(x, w, g, stride):
  k, (height, width, c) = len(w), x.shape[1:]
  flat = w.reshape(-1, w.shape[-1]).astype(g.dtype)

  def step(dw, chunk):
    x, g = chunk
    patches = _patches(x, k, stride)
    dw += jnp.einsum(
        "bhwp,bhwf->pf", patches, g, preferred_element_type=jnp.float32
    )
    dpatches = windows.spread(pointwise(g, flat.T), k, stride)

    def term(i, j):
      n = (i * k + j) * c
      return windows.back(dpatches[..., n : n + c], i, j, k, stride)

    return dw, windows.collect(term, k, stride, height, width)

  chunks = tuple(_chunks(a, flat, g.shape[1:3]) for a in (x, g))
  dw, dx = lax.scan(step, jnp.zeros(flat.shape, jnp.float32), chunks)
  return dx.reshape(x.shape), dw.reshape(w.shape).astype(w.dtype)


def _patches(x, k, stride):
  """[B, H, W, C] -> [B, Ho, Wo, k * k * C]: what each output pixel reads."""
  return jnp.concatenate(windows.taps(x, k, stride), axis=-1)


def _chunks(a, w, out):
  """[B, ...] -> [B / n, n, ...]: as many images as patches fit in the cache."""
  fit = _PATCH_ENTRIES // (out[0] * out[1] * len(w))
  n = max(n for n in range(1, max(fit, 1) + 1) if len(a) % n == 0)
  return a.reshape(-1, n, *a.shape[1:])


def factorized_reduction(x, w1, w2):
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
  even, odd = x[:, ::2, ::2], x[:, 1::2, 1::2]
  rows, columns = (size % 2 for size in x.shape[1:3])
  odd = jnp.pad(odd, ((0, 0), (0, rows), (0, columns), (0, 0)))
  return jnp.concatenate([pointwise(even, w1), pointwise(odd, w2)], axis=-1)
