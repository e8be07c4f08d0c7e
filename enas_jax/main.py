"""Searches for an architecture, or trains one from scratch.

  python -m enas_jax.main --config=X --workdir=W
  python -m enas_jax.main --config=X:smoke --workdir=W \\
      --config.seed=1 --config.child.lr=0.1

X is the name of an experiment that comes with the package, as cifar_micro, or
the path of a file. Each says at its top what it does; a word after its colon is
one of its variants (smoke: every stage in small), and --config.KEY changes
one of its values. The same command goes on from where a run was stopped. A
value that cannot work ends in one line and exit code 2. A signal saves and then
ends the process: a shell tells 130 after Ctrl-C, 143 after SIGTERM.

On several hosts the same command is started on each, with one folder that all
of them see. A TPU pod, SLURM, Kubernetes and MPI say themselves who belongs
together; elsewhere process I of N is told:

  --coordinator=HOST:PORT --processes=N --process=I --config.devices=0
"""

from enas_jax import process

if __name__ == "__main__":
  process.end_silently()
  process.start_anew()  # before the imports that take a second

from absl import flags

from enas_jax import build, command, hosts, run
from enas_jax.errors import ConfigError
from enas_jax.folder import OtherConfig

_HOSTS = ("coordinator", "processes", "process")


def main() -> None:
  """Runs the experiment that the flags name."""
  for name in ("config", "workdir"):
    if flags.FLAGS[name].value is None:
      raise ConfigError(f"--{name}", "is required.")
  config, workdir = flags.FLAGS.config, flags.FLAGS.workdir
  hosts.join(*(flags.FLAGS[name].value for name in _HOSTS))
  try:
    # A run that has ended is told without its data.
    record = hosts.together(lambda: build.record(config))
    if not run.finished(workdir, record):
      tell = command.tell if hosts.writes() else None
      plan = hosts.together(lambda: build.plan(config, tell=tell))
      run.run(plan, workdir)
  except OtherConfig as error:
    raise _further(error, workdir) or error from None
  hosts.part()


def _further(error: OtherConfig, workdir: str) -> ConfigError | None:
  """Tells how to train what has ended for more epochs, if that is wanted."""
  there, here = (of.get("epochs", 0) for of in (error.there, error.here))
  if [*error.here] != ["epochs"] or not 0 < there < here:
    return None
  if not run.trained(workdir):
    return None
  more = f"{workdir.rstrip('/')}_more"
  line = command.again(
      ("workdir", "config.epochs", "config.init"),
      (
          f"--config.epochs={here - there}",
          f"--config.init={workdir}",
          f"--workdir={more}",
      ),
  )
  return ConfigError(
      "--config.epochs",
      f"{workdir} was trained for {there} epochs, and its learning rate was"
      f" planned for these. From its weights it goes on in a new folder:"
      f" {line}",
  )


def cli() -> None:
  """Maps every way to end to a line and an exit code."""
  command.cli(
      main,
      command.config_flag(),
      command.workdir_flag(),
      *command.hosts_flags(),
  )


if __name__ == "__main__":
  cli()
