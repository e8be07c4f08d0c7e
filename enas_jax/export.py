"""Writes a trained network as a program that runs without this package.

  python -m enas_jax.export --model=F --out=E

F is the folder of a final training, or its `model/`. The folder E then holds
the program, of StableHLO, with the weights in it: it takes pixels
u8[n, H, W, C] of any number n of pictures and returns probabilities
f32[n, classes], on a CPU, an NVIDIA GPU or a TPU. Beside it are `labels.txt`,
a class a line, and a `README.md`, which says how to run it. Of several models,
--model=A,B, the program averages the probabilities. An E that holds an earlier
export is replaced. Parts of your own are named as for `enas_jax.predict`.
"""

from collections.abc import Sequence
import pathlib

from absl import flags
import jax
from jax import export
import numpy as np

from enas_jax import command, folder, model
from enas_jax.errors import ConfigError

PROGRAM, LABELS, README = "program.bin", "labels.txt", "README.md"
_PLATFORMS = ("cpu", "cuda", "tpu")

_WORDS = """\
It needs `pip install jax flatbuffers` alone; jax {version} wrote it, and the \
versions of the next six months read it:

    import jax.export, numpy as np
    pixels = np.zeros({shape}, np.uint8)  # any number of pictures
    found = jax.export.deserialize(open("{program}", "rb").read()).call(pixels)
    print(np.array(open("{labels}").read().splitlines())[found.argmax(1)])
"""


def main() -> None:
  """Exports what the flags name.

  Raises:
    ConfigError: no model, or no folder that can be written to.
  """
  for name in ("model", "out"):
    if not flags.FLAGS[name].value:
      raise ConfigError(f"--{name}", "is required.")
  out = pathlib.Path(flags.FLAGS.out).expanduser().resolve()
  try:
    _claim(out)
    models = model.together(flags.FLAGS.model, **command.own_parts())
    write(out, program(models), models[0].classes)
  except OSError as error:
    raise ConfigError(
        "--out", f"cannot write to {out}: {error.strerror}."
    ) from None
  print(f"{out / README} says how to run {out / PROGRAM}.")


def program(models: Sequence[model.Model]) -> export.Exported:
  """Returns the program u8[n, H, W, C] -> f32[n, classes], n of any value.

  Args:
    models: of the same classes; their probabilities are averaged.

  Raises:
    ConfigError: they read pictures of different sizes.
  """
  shapes = [tuple(each.content["images"]["shape"]) for each in models]
  for shape in shapes:
    if shape != shapes[0]:
      raise ConfigError(
          "--model",
          f"pictures of {_size(shapes[0])} and of {_size(shape)} are not read"
          " by one program; export each model alone.",
      )

  @jax.jit
  def mean(pixels):
    found = (each.probabilities(each.variables, pixels) for each in models)
    return sum(found) / len(models)

  several = export.symbolic_shape("n")
  pixels = jax.ShapeDtypeStruct((*several, *shapes[0]), np.uint8)
  return export.export(mean, platforms=_PLATFORMS)(pixels)


def write(
    path: pathlib.Path, content: export.Exported, classes: Sequence[str]
) -> None:
  """Writes the folder of a program whole, or nothing."""
  lines = [" ".join(name.splitlines()) + "\n" for name in classes]
  (pixels,) = content.in_avals
  words = _WORDS.format(
      version=jax.__version__,
      shape=(1, *pixels.shape[1:]),
      program=PROGRAM,
      labels=LABELS,
  )
  with folder.whole(path) as draft:
    (draft / PROGRAM).write_bytes(content.serialize())
    (draft / LABELS).write_bytes("".join(lines).encode(errors="replace"))
    (draft / README).write_text(words, encoding="utf-8")


def _claim(path: pathlib.Path) -> None:
  """Raises ConfigError unless the folder is new, empty or an export."""
  if not path.exists():
    return
  if not path.is_dir():
    raise ConfigError("--out", f"{path} is a file.")
  names = {entry.name for entry in path.iterdir()}
  if names and names != {PROGRAM, LABELS, README}:
    raise ConfigError("--out", f"{path} is not empty, and no former export.")


def _size(shape: tuple[int, ...]) -> str:
  return " x ".join(map(str, shape))


def cli() -> None:
  """Maps every way to end to a line and an exit code."""
  command.cli(
      main,
      *command.model_flags(),
      flags.DEFINE_string("out", None, "The folder of the program."),
  )


if __name__ == "__main__":
  cli()
