"""enas_jax: architecture search by parameter sharing (ENAS), in JAX.

An architecture is data: one compiled program serves every one of its space,
and a numpy architecture builds only what it chose. A controller runs a
programme that is data too, a `Schedule`. A strategy is init, ask, tell;
REINFORCE, random and fixed look the same. A task owns the loss, the reward and
the measure. The loop knows protocols only.
"""

__version__ = "0.1.0"
