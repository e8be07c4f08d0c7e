"""PyTorch's programs in a process of their own.

In ours its threads and its memory are in the way: a step of NAS-Bench-201 took
half as long again. No user has both in one process.
"""

import contextlib
import functools
import importlib
import multiprocessing


def programs(file, *sizes):
  """`programs(*sizes)` of eager.py or final.py, {name: arch -> two runs}.

  What it returns is called as what that file returns, and waits for the other
  process to have done it.
  """
  context = multiprocessing.get_context("spawn")
  pipe, end = context.Pipe()
  context.Process(target=_serve, args=(end, file, sizes), daemon=True).start()
  end.close()

  def run(name, part, arch):
    pipe.send((name, part, arch))
    pipe.recv()

  def prepare(name, arch):
    return [functools.partial(run, name, part, arch) for part in (0, 1)]

  return {name: functools.partial(prepare, name) for name in pipe.recv()}


def _serve(pipe, file, sizes) -> None:
  # Here, not in our process.
  made = importlib.import_module(f"experiments.speed.{file}").programs(*sizes)
  pipe.send(list(made))
  with contextlib.suppress(EOFError):  # ours has ended
    while True:
      name, part, arch = pipe.recv()
      made[name](arch)[part]()
      pipe.send(None)
