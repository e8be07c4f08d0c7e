"""The strategies by name. A new one is a file and a line here.

Each is called with the space first and its own arguments by keyword.
"""

from enas_jax.strategies.evolution import evolution
from enas_jax.strategies.random import random
from enas_jax.strategies.reinforce import reinforce

STRATEGIES = {
    "evolution": evolution,
    "random": random,
    "reinforce": reinforce,
}
