"""The networks without choices by name, to train beside children."""

from enas_jax.nn.lstm import Lstm

NETWORKS = {"lstm": Lstm}
