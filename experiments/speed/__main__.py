"""What does one compiled program for every architecture cost?

  python -m experiments.speed --space=micro --size=small [--against=torch]
  python -m experiments.speed --config=configs/own_images.py --archs=12
  python -m experiments.speed --all [--against=torch]
  python -m experiments.speed --aot=v5e:2x2 --space=micro --size=paper

Times a whole child step (forward, backward, optimiser; of images with
augmentation) of a space on noise of the size of CIFAR-10 or Penn Treebank, or
of any config that searches: the architecture as a traced array, against the
same architecture compiled statically and, with --against=torch (`pip install
torch`), against the same child in eager PyTorch, as users write it and in its
best tuning; and the reward of a batch. PyTorch has a process of its own and is
on the GPU where JAX is. All of one architecture take turns. The steps go on
from each other's weights, in place. The last line is one JSON object; --all
runs every space and size, each in a process of its own, the paper's on fewer
architectures unless told otherwise, and writes the table of
experiments/results/speed.md; --table writes it of lines that --json printed
before. --aot compiles for TPUs that need not be there, see aot.py.
"""

from enas_jax import process

if __name__ == "__main__":
  process.start_anew()  # as a run has it, and PyTorch with it

import functools
import json
import pathlib
import platform
import resource
import subprocess
import sys
import time

from absl import flags
import jax
import jax.numpy as jnp
import numpy as np

from enas_jax import command, controller
from enas_jax.strategies.fixed import fixed
from experiments.speed import apart, children

_DTYPE = flags.DEFINE_enum(
    "dtype", "float32", ["float32", "bfloat16"], "Of the computation."
)
_SPACE = flags.DEFINE_enum(
    "space", "micro", list(children.SIZES), "Search space."
)
_SIZE = flags.DEFINE_enum(
    "size", "small", ["small", "paper"], "The paper's size, or one of seconds."
)
_ARCHS = flags.DEFINE_integer(
    "archs", 20, "Random architectures.", lower_bound=1
)
_STATIC = flags.DEFINE_integer(
    "static", 20, "How many of them compiled alone.", lower_bound=0
)
_REPEAT = flags.DEFINE_integer(
    "repeat", 3, "Timed steps of each, the median.", lower_bound=1
)
_AGAINST = flags.DEFINE_enum(
    "against", None, ["torch", "forms"], "PyTorch, as users write it and tuned;"
    " or in every form of eager.py.",
)
_ARITHMETIC = flags.DEFINE_bool(
    "arithmetic", False, "Operations chosen without branches, of images."
)
_GRAPH = flags.DEFINE_bool(
    "graph", False, "Branches in a command buffer of a GPU (CUDA graph)."
)
_AT_ONCE = flags.DEFINE_integer(
    "at_once", 0, "Also rewards so many architectures, in turn and at once."
)
_ALL = flags.DEFINE_bool("all", False, "Every space and size, and the table.")
_FROM = flags.DEFINE_string("table", None, "JSON lines to write the table of.")
_CONFIG = command.config_flag()
_AOT = flags.DEFINE_string("aot", None, "A TPU topology, such as v5e:2x2.")
_JSON = flags.DEFINE_bool("json", False, "Nothing but the JSON object.")

_FLAGS = (
    *(_DTYPE, _SPACE, _SIZE, _ARCHS, _STATIC, _REPEAT, _AGAINST),
    *(_ARITHMETIC, _GRAPH, _AT_ONCE, _ALL, _FROM, _CONFIG, _AOT, _JSON),
)
_PAUSE = 0.05  # seconds before everything that is timed
_TABLE = pathlib.Path(__file__).parents[1] / "results" / "speed.md"
_BEGIN, _END = "<!-- speed -->", "<!-- /speed -->"
# Of --all, where the flags are not given: a step of these takes a second.
_FEWER = {"archs": 8, "static": 8, "repeat": 1}
_ROWS = (  # of the table: what, and its numbers
    ("architectures", "archs"),
    ("step, median, ms", "step_ms"),
    ("alone, median, ms", "static_step_ms"),
    ("traced over alone, all together (mean of pairs)",
     "total_over_static traced_over_static"),
    ("PyTorch as users write it, tuned: step, ms",
     "torch_step_ms torch_tuned_step_ms"),
    ("reward batch, median, ms", "reward_ms"),
    ("PyTorch: reward batch, ms",
     "torch_reward_ms torch_tuned_reward_ms"),
    ("images or words a second", "items_per_second"),
    ("GFLOP/s of the step, of a matrix product", "gflops matmul_gflops"),
    ("compilation, traced, alone, s", "compile_s static_compile_s"),
    ("temporaries, traced, largest alone, MB",
     "temporary_mb static_temporary_mb"),
    ("peak of the process, MB", "peak_mb"),
)


def main() -> None:
  # What is timed here is a first compilation, too.
  jax.config.update("jax_enable_compilation_cache", False)
  if _ALL.value or _FROM.value:
    if _ALL.value:
      lines = _everything()
    else:
      lines = pathlib.Path(_FROM.value).read_text(encoding="utf-8").splitlines()
    _write([json.loads(line) for line in lines])
    return
  if _AOT.value:
    from experiments.speed import aot

    result = aot.compiled(
        _AOT.value, _SPACE.value, _SIZE.value, _DTYPE.value
    )
  else:
    result = _measured()
  if not _JSON.value:
    width = max(map(len, result))
    for name, value in result.items():
      shown = f"{value:,.3f}" if isinstance(value, float) else value
      print(f"{name:{width}}  {shown}")
  print(json.dumps(result))


def _measured() -> dict:
  if _CONFIG.value:
    parts = children.of_config(_CONFIG.value, _ARCHS.value)
    of = {"space": _CONFIG.value.space.name, "size": "as configured"}
  else:
    of = {"space": _SPACE.value, "size": _SIZE.value, "dtype": _DTYPE.value}
    parts = children.build(
        *of.values(), _ARCHS.value, arithmetic=_ARITHMETIC.value
    )
  state = children.start(parts)
  row = jax.tree.map(lambda leaf: leaf[0], parts.train.rows(None))
  args = (state, parts.train.arrays, row)
  step = children.child_step(parts, parts.given)
  traces = 0

  def counted(*args):
    nonlocal traces
    traces += 1
    return step(*args)

  operations = children.operations(parts)
  options = children.GRAPH if _GRAPH.value else None
  traced, compile_seconds = _compile(
      counted, *args, donate_argnums=0, compiler_options=options
  )
  score = (parts.held.arrays, row)
  rewarded, reward_seconds = _compile(
      children.reward(parts), state, *score, compiler_options=options
  )
  others = _others()
  product = jax.jit(jnp.matmul)
  square = jnp.ones((2048, 2048))
  medians, static_compile, static_memory = {}, [], []

  def stepping(program):
    def run():
      nonlocal state
      state = program(state, *args[1:])
      return state

    return run

  for index, arch in enumerate(parts.archs):
    state = state._replace(strategy=jax.tree.map(jnp.asarray, arch))
    programs = {"step": stepping(traced)}
    if index < _STATIC.value:
      alone_strategy = fixed(arch)
      alone, seconds = _compile(
          children.child_step(parts, alone_strategy), *args, donate_argnums=0
      )
      static_compile.append(seconds)
      static_memory.append(alone.memory_analysis().temp_size_in_bytes)
      programs["static_step"] = stepping(alone)
    rewards = {}
    for name, prepare in others.items():
      programs[f"{name}_step"], rewards[f"{name}_reward"] = prepare(arch)
    programs["matmul"] = functools.partial(product, square, square)
    _time(programs, medians)
    # Of the weights that the steps have left.
    rewards["reward"] = functools.partial(rewarded, state, *score)
    _time(rewards, medians)

  return {
      **of,
      "archs": _ARCHS.value,
      "traces": traces,
      **{f"{k}_ms": 1e3 * float(np.median(v)) for k, v in medians.items()},
      **_ratios(medians),
      **(_rewards(parts, state, row) if _AT_ONCE.value else {}),
      "items_per_second": parts.train.items / float(np.median(medians["step"])),
      "gflops": float(np.median(operations / np.asarray(medians["step"])))
      / 1e9,
      "matmul_gflops": 2e-9 * 2048**3 / float(np.median(medians["matmul"])),
      "compile_s": compile_seconds,
      "compile_reward_s": reward_seconds,
      "static_compile_s": float(np.median(static_compile or [np.nan])),
      "weights_mb": sum(leaf.nbytes for leaf in jax.tree.leaves(state.params))
      / 1e6,
      "temporary_mb": traced.memory_analysis().temp_size_in_bytes / 1e6,
      "static_temporary_mb": max(static_memory, default=np.nan) / 1e6,
      "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
      "controller_samples_per_second": _samples(parts.space),
      "jax": jax.__version__,
      "machine": f"{jax.device_count()} {jax.devices()[0].device_kind}"
      f" {platform.machine()}",
  }


def _ratios(medians) -> dict:
  """Means over the architectures of both times of each."""
  step = np.asarray(medians["step"])
  found = {}
  if "static_step" in medians:
    static = np.asarray(medians["static_step"])
    pairs = step[: len(static)] / static
    found["traced_over_static"] = float(pairs.mean())
    # Where a child alone is next to nothing, a mean of ratios says little.
    found["total_over_static"] = float(step[: len(static)].sum() / static.sum())
    found["pairs"] = np.round(pairs, 3).tolist()
  for name in medians:
    form, _, what = name.rpartition("_")
    if form.startswith("torch"):
      pairs = np.asarray(medians[name]) / np.asarray(medians[what])
      found[f"{name}_over_ours"] = float(pairs.mean())
  return found


def _rewards(parts, state, row) -> dict:
  """The time of a reward among several, each on a batch of its own."""
  count = _AT_ONCE.value
  archs = [parts.archs[n % len(parts.archs)] for n in range(count)]
  rows, archs = (
      jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
      for each in ([row] * count, archs)
  )
  args = state, parts.held.arrays, rows, archs
  programs, found = {}, {}
  for name, size in (("in_turn", None), ("at_once", count)):
    program, _ = _compile(children.rewards(parts, size), *args)
    programs[name] = functools.partial(program, *args)
    memory = program.memory_analysis().temp_size_in_bytes
    found[f"reward_{name}_temporary_mb"] = memory / 1e6
  medians = {}
  _time(programs, medians)
  for name, (seconds,) in medians.items():
    found[f"reward_{name}_ms"] = 1e3 * seconds / count
  return found


def _others() -> dict:
  """PyTorch's programs, where they are asked for."""
  if not _AGAINST.value:
    return {}
  rows, arguments, sizes = children.SIZES[_SPACE.value][_SIZE.value]
  return apart.programs(
      "eager",
      "cuda" if jax.default_backend() == "gpu" else "cpu",
      _SPACE.value,
      arguments,
      sizes,
      rows,
      children.LENGTH,
      children.VOCABULARY,
      ("torch", "torch_tuned", "torch_half", "torch_compiled")[
          : 4 if _AGAINST.value == "forms" else 2
      ],
  )


def _samples(space, count: int = 2000) -> float:
  """Architectures a second that the controller draws, many at once."""
  params = controller.init(
      jax.random.key(0), space.schedule, hidden=64, init_range=0.1
  )

  @jax.jit
  def draw(key):
    one = functools.partial(controller.sample, params, space.schedule)
    return jax.vmap(lambda key: space.decode(one(key)[0]))(
        jax.random.split(key, count)
    )

  draw = functools.partial(draw, jax.random.key(0))
  return count / float(np.median([_seconds(draw) for _ in range(5)]))


def _compile(step, *args, **options):
  start = time.perf_counter()
  compiled = jax.jit(step, **options).lower(*args).compile()
  return compiled, time.perf_counter() - start


def _seconds(run) -> float:
  # The threads of PyTorch spin for a while after its last operation.
  time.sleep(_PAUSE)
  # As in a loop: a program that comes after others first has to ask for its
  # memory, which may take longer than the step.
  jax.block_until_ready(run())
  start = time.perf_counter()
  jax.block_until_ready(run())
  return time.perf_counter() - start


def _time(programs, medians) -> None:
  """Adds each program's median; they take turns, and turns at being first."""
  times = {name: [] for name in programs}
  for n in range(_REPEAT.value):
    order = list(programs) if n % 2 else list(programs)[::-1]
    for name in order:
      times[name].append(_seconds(programs[name]))
  for name, found in times.items():
    medians.setdefault(name, []).append(float(np.median(found)))


def _everything():
  """Measures each space and size; yields a JSON line of each."""
  names = ("dtype", "archs", "static", "repeat", "against")
  given = {n: flags.FLAGS[n].value for n in names if flags.FLAGS[n].present}
  for space, sizes in children.SIZES.items():
    for size in sizes:
      passed = {**(_FEWER if size == "paper" else {}), **given}
      words = [sys.executable, "-m", "experiments.speed", "--json"]
      words += [f"--space={space}", f"--size={size}"]
      words += [f"--{name}={value}" for name, value in passed.items()]
      done = subprocess.run(words, stdout=subprocess.PIPE, text=True)
      if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed.")
      line = done.stdout.splitlines()[-1]
      print(line, flush=True)
      yield line


def _write(results) -> None:
  before, _, rest = _TABLE.read_text(encoding="utf-8").partition(_BEGIN)
  _, _, after = rest.partition(_END)
  table = _table(results)
  _TABLE.write_text(f"{before}{_BEGIN}\n\n{table}\n{_END}{after}")
  print(table)


def _table(results) -> str:
  columns = [f"{r['space']}, {r['size']}" for r in results]
  lines = [["", *columns], ["---"] * (len(columns) + 1)]
  for label, names in _ROWS:
    cells = [[r.get(name) for name in names.split()] for r in results]
    lines.append([label, *(" / ".join(map(_short, c)) for c in cells)])
  return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _short(value) -> str:
  if value is None or value != value:
    return "-"
  if not isinstance(value, float):
    return f"{value:,}"
  return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
  command.cli(main, *_FLAGS)
