"""The networks without choices by name: baselines to train beside children."""

from enas_jax.nn.lstm import Lstm

NETWORKS = {"lstm": Lstm}
