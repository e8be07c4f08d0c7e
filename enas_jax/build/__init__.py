"""Config -> Plan: the only reader of the config.

Names become objects here, and every value that cannot work dies here, before
anything is written, with a `ConfigError` that names the key and the valid
choices. What a value may be is said by the part that takes it (options.py).
"""

from enas_jax.build.plans import plan, record
from enas_jax.build.recipes import recipe

__all__ = ["plan", "recipe", "record"]
