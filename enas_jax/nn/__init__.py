"""Layers for networks of one's own, and the networks without choices by name.
"""

from enas_jax.nn.layers import (
    avg_pool,
    BatchNorm,
    Classifier,
    ConvNorm,
    DepthwiseNorm,
    max_pool,
    SeparableConv,
)
from enas_jax.nn.lstm import Lstm
from enas_jax.ops.reader import Reader

__all__ = [
    "NETWORKS",
    "BatchNorm",
    "Classifier",
    "ConvNorm",
    "DepthwiseNorm",
    "Reader",
    "SeparableConv",
    "avg_pool",
    "max_pool",
]

# Networks to train beside children.
NETWORKS = {"lstm": Lstm}
