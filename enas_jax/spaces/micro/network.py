"""The micro space's network, which runs shared or final cells."""

from typing import Annotated, Literal

from flax import linen as nn
import jax

from enas_jax.ops import layers
from enas_jax.ops import stem as stems
from enas_jax.options import Count, Keep, Small
from enas_jax.spaces.micro import final, shared, topology
from enas_jax.spaces.micro.arch import MicroArch


class MicroNetwork(nn.Module):
  """A convolutional network of micro cells.

  Attributes:
    classes: The number of classes.
    final: Whether this is the network of the final training instead of the
      shared one, and tracks moving averages. Of a numpy architecture only the
      chosen branches are built; one of jax arrays is chosen at run time
      (`chosen.py`).
    nodes: N, the computed nodes of a cell.
    cells: The number of normal cells; two reduction cells come on top.
    filters: The channels of the first cells, doubled at each reduction.
    stem: How often the image is halved before the first cell, 0, 1 or 2 times;
      pictures of 64 pixels want 1, and those of 224 want 2.
    keep: The keep probability of the dropout before the classifier.
    drop_path_keep: The keep probability of the last cell's paths at the end of
      the final training; a search does not use it, though the reference
      passes it there.
    aux: Whether there is an auxiliary head.
    row_fan_in: Whether the number of rows of a table counts in the scale at
      which it starts, as in the reference's search. Off: only the slice that
      one architecture reads counts.
    channel_fan_in: Whether the number of channels counts in the scale at which
      a depthwise kernel starts, as in the reference's final training
      (`ops.layers.depthwise_normal`). It changes nothing of the tables of
      `row_fan_in`.
    arithmetic: Whether the shared network chooses its operations by arithmetic,
      so that a GPU need not ask its host which branch to run. It then computes
      every operation, both separable convolutions as one.
    dtype: The type of the computation; weights, statistics and the classifier
      are float32.
  """

  classes: Count
  final: bool = False
  nodes: Count = 5
  cells: Annotated[Count, Small(1)] = 6
  filters: Annotated[Count, Small(4)] = 20
  stem: stems.Halvings = 0
  keep: Keep = 0.9
  drop_path_keep: Keep = 1.0
  aux: bool = True
  row_fan_in: bool = False
  channel_fan_in: bool = False
  arithmetic: bool = False
  dtype: Literal["float32", "bfloat16"] = "float32"

  def check_image(self, shape: tuple[int, int, int]) -> None:
    """Raises ConfigError of "stem" if an image (H, W, C) is too small."""
    stems.check(self.stem, shape)

  @nn.compact
  def __call__(
      self,
      images: jax.Array,
      arch: MicroArch,
      *,
      train: bool,
      dropout: bool | None = None,
      progress: jax.Array | float = 0.0,
  ) -> tuple[jax.Array, jax.Array | None]:
    """Returns the class logits of `images` under `arch`.

    Args:
      images: f32[B, H, W, C], normalised.
      arch: An arch of jax arrays, for which one program serves all archs, or of
        numpy arrays, for which only the chosen branches are built.
      train: Whether moving averages move, paths are dropped and the auxiliary
        head runs.
      dropout: Whether features are dropped; by default as `train`. Randomness
        comes from the "dropout" stream.
      progress: The fraction of the training that is done, for drop-path.

    Returns:
      The logits f32[B, classes]; and the auxiliary logits, or None.
    """
    dropout = train if dropout is None else dropout
    x = stems.apply(
        images.astype(self.dtype),
        3 * self.filters,
        self.stem,
        self.final,
        train=train,
    )
    states, aux = (x, x), None
    for cell in topology.cells(self.cells, self.filters, x.shape[1:3]):
      table = arch.reduce if cell.reduce else arch.normal
      if self.final:
        decay = progress * (cell.index + 1) / (self.cells + 2)
        keep = 1.0 - decay * (1.0 - self.drop_path_keep)
        dropped = train and self.drop_path_keep < 1.0
        states = final.step(
            cell,
            states,
            table,
            keep,
            dropped,
            self.channel_fan_in,
            train=train,
        )
      else:
        states = shared.step(
            cell,
            states,
            table,
            self.row_fan_in,
            self.channel_fan_in,
            self.arithmetic,
            train=train,
        )
      if self.aux and train and cell.heads:
        head = layers.AuxiliaryHead(self.classes, self.final, name="aux")
        aux = head(states[1], train=train)
    logits = layers.Classifier(self.classes, self.keep, name="classifier")(
        jax.nn.relu(states[1]), dropout=dropout
    )
    return logits, aux
