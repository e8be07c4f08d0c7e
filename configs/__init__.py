"""The experiments that come with the package, as `enas_jax.configs`."""
