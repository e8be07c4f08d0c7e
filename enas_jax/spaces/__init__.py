"""The search spaces by name. To add one, write a file and a line here."""

from enas_jax.spaces.macro import Macro
from enas_jax.spaces.micro import Micro
from enas_jax.spaces.nasbench201 import NasBench201
from enas_jax.spaces.recurrent import Recurrent

SPACES = {
    "macro": Macro,
    "micro": Micro,
    "nasbench201": NasBench201,
    "recurrent": Recurrent,
}
