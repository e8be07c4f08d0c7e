"""The experiments that come with the package, as `enas_jax.configs`.

  python -m enas_jax.main --config=cifar_micro --workdir=W

runs one by its name, in any folder.
"""
