"""The tasks by name. A new one is a file and a line here.

Each is called with the network first and its own arguments by keyword.
"""

from enas_jax.tasks.classification import classification

TASKS = {"classification": classification}
