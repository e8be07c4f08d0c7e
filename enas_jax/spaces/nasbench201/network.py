"""The NAS-Bench-201 network, which runs shared or final cells."""

import functools
from typing import Annotated, Literal

from flax import linen as nn
import jax
import jax.numpy as jnp

from enas_jax.ops import conv, layers, pool
from enas_jax.options import Count, Small
from enas_jax.spaces.nasbench201 import topology
from enas_jax.spaces.nasbench201.arch import NasBench201Arch
from enas_jax.spaces.nasbench201.cell import FinalCell, SharedCell


class NasBench201Network(nn.Module):
  """A network of three stages, with a residual block before the last two.

  Attributes:
    classes: The number of classes.
    final: Whether this is the network of the final training instead of the
      shared one; it takes a numpy architecture and tracks moving averages.
    cells: N, the number of cells of a stage; 5 in the benchmark.
    filters: The channels of the first stage; 16 in the benchmark.
    affine: Whether the batch norms of the shared network have a scale and an
      offset, as those of the final network always do. Shared weights rank
      better without; the benchmark's own searches have none in their cells.
    arithmetic: Whether the shared network chooses its operations by arithmetic,
      so that a GPU need not ask its host which branch to run. It then computes
      a convolution, a pool and an identity for every edge.
    dtype: The type of the computation; weights, statistics and the classifier
      are float32.
  """

  classes: Count
  final: bool = False
  cells: Annotated[Count, Small(1)] = 5
  filters: Annotated[Count, Small(4)] = 16
  affine: bool = False
  arithmetic: bool = False
  dtype: Literal["float32", "bfloat16"] = "float32"

  @nn.compact
  def __call__(
      self,
      images: jax.Array,
      arch: NasBench201Arch,
      *,
      train: bool,
      dropout: bool | None = None,
      progress: jax.Array | float = 0.0,
  ) -> tuple[jax.Array, None]:
    """Returns the class logits of `images` under `arch`.

    Args:
      images: f32[B, H, W, C], normalised.
      arch: An arch of jax arrays, for which one program serves all archs, or of
        numpy arrays, for which only the chosen branches are built.
      train: Whether moving averages move.
      dropout: Unused; there is no dropout.
      progress: Unused; there is no drop-path.

    Returns:
      The logits f32[B, classes]; and None, since there is no auxiliary head.
    """
    del dropout, progress
    images = images.astype(self.dtype)
    affine = self.affine or self.final
    x = layers.Conv(self.filters, 3, self.final, affine=affine)(
        images, train=train
    )
    cell = FinalCell if self.final else functools.partial(
        SharedCell, affine, self.arithmetic
    )
    for stage, channels, _ in topology.stages(
        self.filters, images.shape[1:3]
    ):
      if stage:
        block = Reduction(
            channels, self.final, affine, name=f"reduction_{stage}"
        )
        x = block(x, train=train)
      for n in range(self.cells):
        x = cell(name=f"cell_{stage}_{n}")(x, arch.ops, train=train)
    x = jax.nn.relu(layers.BatchNorm(self.final, affine)(x, train=train))
    head = layers.Classifier(self.classes, bias=True, name="classifier")
    return head(x), None


class Reduction(nn.Module):
  """The residual block that halves the image (Dong & Yang 2020, §2.1).

  Attributes:
    channels: The channels of its result.
    track: Whether batch norms track moving averages.
    affine: Whether they have a scale and an offset.
  """

  channels: int
  track: bool
  affine: bool

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Maps x[B, H, W, C] to [B, ceil(H / 2), ceil(W / 2), channels]."""
    c = self.channels
    conv_norm = functools.partial(
        layers.Conv, c, 3, self.track, affine=self.affine
    )
    y = conv_norm(stride=2)(jax.nn.relu(x), train=train)
    y = conv_norm()(jax.nn.relu(y), train=train)
    kernel = self.param(
        "kernel", layers.he_normal(x.shape[-1]), (x.shape[-1], c)
    )
    # Where a side is odd, repeating the edge makes the last window average only
    # the pixels that exist.
    odd = [(0, size % 2) for size in x.shape[1:3]]
    x = jnp.pad(x, ((0, 0), *odd, (0, 0)), mode="edge")
    return y + conv.pointwise(pool.avg_pool_valid(x, 2, 2), kernel)
