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

NHWC = ("NHWC", "HWIO", "NHWC")


def pointwise(x, w):
  """1x1 convolution: x[B, H, W, C], w[C, F] -> [B, H, W, F]."""
  y = x.reshape(-1, x.shape[-1]) @ w
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
    cpu=functools.partial(_depthwise_shifts, stride=stride),
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


def _depthwise_conv(x, w, stride):
  return lax.conv_general_dilated(
    x,
    w[:, :, None],
    (stride, stride),
    "SAME",
    dimension_numbers=NHWC,
    feature_group_count=x.shape[-1],
  )


def _depthwise_shifts(x, w, stride):
  k = len(w)
  phases = windows.split(x, k, stride)
  height, width = (windows.same(n, k, stride)[0] for n in x.shape[1:3])
  return sum(
    windows.tap(phases, i, j, height, width) * w[i, j]
    for i in range(k)
    for j in range(k)
  )


def _depthwise_dx(g, w, shape, stride):
  k = len(w)
  g = windows.spread(g, k, stride)

  def term(i, j):
    return windows.back(g, i, j, k, stride) * w[i, j]

  return windows.collect(term, k, stride, *shape[1:3])


def _depthwise_dw(x, g, w, stride):
  """The weight gradient, summed over the batch by a loop over image pairs.

  The body is elementwise, into one accumulator a tap: XLA's reduction over
  batch, rows and columns with the channels last is several times slower.
  """
  k = len(w)
  batch, height, width, c = g.shape
  pair = 2 - batch % 2
  phases = windows.split(x, k, stride)

  def pairs(a):  # rows of W * C: one long axis for the vector units
    return a.reshape(batch // pair, pair, a.shape[1], -1)

  phases = jax.tree.map(pairs, phases)
  zeros = jnp.zeros((pair, height, width * c), jnp.float32)

  def body(sums, xs):
    phases, g = xs
    taps = (
      phases[i % stride][j % stride][
        :,
        i // stride : i // stride + height,
        j // stride * c : (j // stride + width) * c,
      ]
      for i in range(k)
      for j in range(k)
    )
    return tuple(s + t * g for s, t in zip(sums, taps, strict=True)), None

  sums, _ = lax.scan(body, (zeros,) * k**2, (phases, pairs(g)))
  sums = [s.reshape(-1, width, c).sum((0, 1)) for s in sums]
  return jnp.stack(sums).reshape(w.shape).astype(w.dtype)


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


def _dense_conv(x, w, stride):
  return lax.conv_general_dilated(
    x, w, (stride, stride), "SAME", dimension_numbers=NHWC
  )


def _dense_patches(x, w, stride):
  k = len(w)
  phases = windows.split(x, k, stride)
  height, width = (windows.same(n, k, stride)[0] for n in x.shape[1:3])
  patches = jnp.concatenate(
    [
      windows.tap(phases, i, j, height, width)
      for i in range(k)
      for j in range(k)
    ],
    axis=-1,
  )
  return pointwise(patches, w.reshape(-1, w.shape[-1]))


def factorized_reduction(x, w1, w2):
  """Halves the resolution: two pointwise paths one pixel apart (ENAS §2.4).

  The second path reads the odd rows and columns. Where the size is odd its
  last position lies outside the image and reads zero, as in the reference,
  which pads below and to the right before it crops.

  Args:
    x: [B, H, W, C].
    w1: [C, F / 2].
    w2: [C, F / 2].

  Returns:
    [B, ceil(H / 2), ceil(W / 2), F], before the batch norm.
  """
  even, odd = x[:, ::2, ::2], x[:, 1::2, 1::2]
  rows, columns = (a - b for a, b in zip(even.shape[1:3], odd.shape[1:3]))
  odd = jnp.pad(odd, ((0, 0), (0, rows), (0, columns), (0, 0)))
  return jnp.concatenate([pointwise(even, w1), pointwise(odd, w2)], axis=-1)
