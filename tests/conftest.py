"""The tests compile far longer than they compute."""

import jax

jax.config.update("jax_disable_most_optimizations", True)
