"""The tasks by name. To add one, write a file and a line here.

A task is called with the network first and its options by keyword.
"""

from enas_jax.tasks.classification import classification
from enas_jax.tasks.language_model import language_model

TASKS = {
    "classification": classification,
    "language_model": language_model,
}
