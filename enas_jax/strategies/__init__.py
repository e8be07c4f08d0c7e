"""The strategies by name. To add one, write a file and a line here.

A strategy is called with the space first and its options by keyword.
"""

from enas_jax.strategies.evolution import evolution
from enas_jax.strategies.random import random
from enas_jax.strategies.reinforce import reinforce

STRATEGIES = {
    "evolution": evolution,
    "random": random,
    "reinforce": reinforce,
}
