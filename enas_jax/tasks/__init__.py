"""The tasks by name. A new one is a file and a line here.

Each is called with the network first and its own arguments by keyword.
"""

from enas_jax.tasks.classification import classification
from enas_jax.tasks.language_model import language_model

TASKS = {
    "classification": classification,
    "language_model": language_model,
}
