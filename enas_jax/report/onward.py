"""Says what a person may do next with a run, as commands."""

import shlex

from enas_jax.report import markup, words
from enas_jax.report.files import block, RunFiles
from enas_jax.report.markup import paragraph

_OWN = ("space", "network", "task")  # parts that may be a user's own


def steps(run: RunFiles) -> str:
  """Returns what to do next, with the commands for it."""
  path = str(run.path)
  if run.diverged:
    return paragraph(
        "A smaller config.child.lr may help, in a new --workdir."
    )
  if not run.result:
    return (
        paragraph("The command that began this run goes on with it.")
        + paragraph("This command makes the page anew:")
        + _python("enas_jax.report", path)
    )
  if arguments := run.result.get("retrain"):
    return (
        paragraph("Retrain the derived architecture from scratch:")
        + markup.code(words.command(arguments, path))
    )
  if run.searches and "test" not in run.result:
    return paragraph("The last line of log.txt names the next command.")
  if run.searches:
    path = str(run.path / "retrain" / "derived")
  own = {
      kind: name
      for kind in _OWN
      if ":" in (name := str(block(run.config, kind).get("name", "")))
  }
  text = any("child/perplexity" in line for line in run.epochs)
  return (_write if text else _look)(path, own)


def _look(path: str, own: dict[str, str]) -> str:
  """Says how to use a network of pictures in a folder."""
  model = [f"--model={path}", *(f"--{kind}={own[kind]}" for kind in own)]
  return (
      paragraph("Ask the trained network what a picture shows:")
      + _python("enas_jax.predict", *model, "picture.png")
      + paragraph("Write it as a program that runs without this package:")
      + _python("enas_jax.export", *model, "--out=program")
  )


def _write(path: str, own: dict[str, str]) -> str:
  """Says how to use a network of text in a folder."""
  given = "".join(f", {kind}={name!r}" for kind, name in own.items())
  return (
      paragraph("Write a text with the trained network, in Python:")
      + markup.code(
          "import enas_jax\n\n"
          f"model = enas_jax.load({path!r}{given})\n"
          'print(model.generate("The", words=20, temperature=0.8, key=0))'
      )
  )


def _python(module: str, *rest: str) -> str:
  return markup.code(shlex.join(["python", "-m", module, *rest]))
