"""What the TPU compiler makes of the three programs of a search.

No TPU is needed: libtpu compiles for one that is only described. Install it as
`pip install 'jax[tpu]'` does; this says that a program compiles, fits and is
divided as meant, and what the compiler counts. It is no timing.
"""

import os
import time

import jax
from jax.experimental import topologies

from enas_jax import search
from enas_jax.strategies import STRATEGIES
from experiments.speed import children

# libtpu would ask the cloud's metadata server what machine this is.
_ALONE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}
_ARCHS = 10  # M of a controller step, as the micro config's


def compiled(topology: str, space: str, size: str, dtype: str) -> dict:
  """FLOPs, bytes and memory of each program on one chip of `topology`."""
  os.environ.update(_ALONE)
  jax.config.update("jax_platforms", "cpu")
  described = topologies.get_topology_desc(
      platform="tpu", topology_name=topology
  )
  chip = jax.sharding.SingleDeviceSharding(described.devices[0])
  parts = children.build(space, size, dtype, 1)
  row = jax.tree.map(lambda leaf: leaf[0], parts.train.rows(None))
  state = children.start(parts)
  fixed = STRATEGIES["fixed"](parts.space, arch=parts.archs[0])
  score = (state, parts.held.arrays, row)
  step = (state, parts.train.arrays, row)
  programs = {
      "child": (children.child_step(parts, parts.given), step),
      "child_alone": (children.child_step(parts, fixed), step),
      "reward": (children.reward(parts), score),
      "controller": _controller(parts, state),
  }
  result = {"topology": topology, "space": space, "size": size, "dtype": dtype}
  for name, (function, args) in programs.items():
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=chip
        ),
        args,
    )
    start = time.perf_counter()
    program = jax.jit(function, donate_argnums=0).lower(*shapes).compile()
    result.update(_facts(name, program, time.perf_counter() - start))
  return result


def _controller(parts, state):
  """A strategy step of REINFORCE: M rewards in one call, and the update."""
  strategy = STRATEGIES["reinforce"](parts.space)

  def run(state, arrays):
    return search.strategy_step(
        state,
        arrays,
        task=parts.task,
        strategy=strategy,
        valid=parts.held,
        archs=_ARCHS,
    )

  state = search.init(
      jax.random.key(0),
      task=parts.task,
      strategy=strategy,
      tx=parts.tx,
      train=parts.train,
  )
  return run, (state, parts.held.arrays)


def _facts(name: str, program, seconds: float) -> dict:
  """The compiler's counts; an estimate below zero is none."""
  cost, memory = program.cost_analysis(), program.memory_analysis()
  estimate = cost.get("optimal_seconds", -1.0)
  text = program.as_text()
  moves = ("all-reduce", "all-gather", "reduce-scatter", "collective-permute")
  return {
      f"{name}_gflop": cost.get("flops", float("nan")) / 1e9,
      f"{name}_gb_moved": cost.get("bytes accessed", float("nan")) / 1e9,
      f"{name}_arguments_mb": memory.argument_size_in_bytes / 1e6,
      f"{name}_temporary_mb": memory.temp_size_in_bytes / 1e6,
      f"{name}_collectives": {m: text.count(f" {m}(") for m in moves},
      f"{name}_estimate_ms": 1e3 * estimate if estimate > 0 else None,
      f"{name}_compile_s": seconds,
  }
