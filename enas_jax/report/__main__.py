"""Makes a page of a run, or one that sets several runs beside each other.

  python -m enas_jax.report W
  python -m enas_jax.report W1 W2 ... --out=F

W is the folder of a run: of a search or of a training, one that is still at
work included. The page of one run is `report.html` in its folder, which the run
itself writes when it ends; that of several is `report.html` in the folder where
the command is run, or F. A page is one file without scripts, which any browser
shows without a network.
"""

import pathlib

from absl import flags

from enas_jax import command
from enas_jax.errors import ConfigError
from enas_jax.report import files, page, several
from enas_jax.report.searched import NAME


def main(paths: list[str]) -> None:
  """Writes the page of the runs in the folders that are named.

  Args:
    paths: the folders.

  Raises:
    ConfigError: a folder is not that of a run, or the page cannot be written.
  """
  if not paths:
    raise ConfigError("enas_jax.report", "name the folder of a run.")
  named = [pathlib.Path(path).expanduser() for path in paths]
  folders = [*dict.fromkeys(named)]  # each once
  for path in folders:
    if not path.is_dir():
      raise ConfigError(str(path), "there is no such folder.")
    if not files.is_run(path):
      raise ConfigError(
          str(path), "is not the folder of a run: it has no config.json."
      )
  home = folders[0] if len(folders) == 1 else pathlib.Path()
  out = pathlib.Path(flags.FLAGS.out or home / NAME).expanduser()
  runs = [files.read(path) for path in folders]
  try:
    if len(runs) == 1:
      page.write(runs[0], out)
    else:
      several.write(runs, out)
  except OSError as error:
    raise ConfigError(
        "--out", f"cannot write to {out}: {error.strerror}."
    ) from None
  print(out)


def cli() -> None:
  """Maps every way to end to a line and an exit code."""
  out = flags.DEFINE_string("out", None, "The file that is written.")
  command.cli(main, out, files=True)


if __name__ == "__main__":
  cli()
