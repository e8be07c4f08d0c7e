"""What the TPU compiler makes of the programs of a search.

No TPU is needed: libtpu compiles for one that is only described. Install it as
`pip install 'jax[tpu]'` does; this says that a program compiles, fits and is
divided as meant, and what the compiler counts. It is no timing.
"""

import functools
import os
import time

import jax
from jax.experimental import topologies
import numpy as np

from enas_jax import parallel, steps
from enas_jax.strategies import STRATEGIES
from enas_jax.strategies.fixed import fixed
from experiments.speed import children

# libtpu would ask the cloud's metadata server what machine this is.
_ALONE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
}
_ARCHS = 10  # M of a controller step, as the micro config's
_DRAWN = 20  # random architectures, of which the costliest is compiled alone


def compiled(topology: str, space: str, size: str, dtype: str) -> dict:
  """FLOPs, bytes and memory a chip: on one of `topology`, and on all of it."""
  os.environ.update(_ALONE)
  jax.config.update("jax_platforms", "cpu")
  described = topologies.get_topology_desc(
      platform="tpu", topology_name=topology
  )
  chip = jax.sharding.SingleDeviceSharding(described.devices[0])
  mesh = parallel.mesh(described.devices)
  parts = children.build(space, size, dtype, _DRAWN)
  split, held = parts.train, parts.held.arrays
  row = jax.tree.map(lambda leaf: leaf[0], split.rows(None))
  state = children.start(parts)
  # The compiler counts the costliest branch of every choice, and what is in a
  # loop once: beside it stands the child that comes nearest to that.
  costs = children.operations(parts)
  costliest = fixed(parts.archs[int(np.argmax(costs))])
  child = children.child_step(parts, parts.given)
  strategy = STRATEGIES["reinforce"](parts.space)
  controller = functools.partial(
      steps.strategy_step,
      task=parts.task,
      strategy=strategy,
      valid=parts.held,
      archs=_ARCHS,
  )
  told = children.start(parts._replace(given=strategy))
  step = (state, split.arrays, row)
  divided = parallel.shardings(mesh, split)
  everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  programs = {
      "child": (child, step, chip),
      "child_alone": (children.child_step(parts, costliest), step, chip),
      "reward": (children.reward(parts), (state, held, row), chip),
      "controller": (controller, (told, held), chip),
      "child_all": (parallel.child_step(child, mesh, split), step, divided),
      "controller_all": (
          parallel.strategy_step(controller, mesh, split),
          (told, held),
          (divided[0], everywhere),
      ),
  }
  chips = len(described.devices)
  result = {
      "topology": topology,
      "chips": chips,
      "space": space,
      "size": size,
      "dtype": dtype,
  }
  for name, (function, args, sharding) in programs.items():
    start = time.perf_counter()
    shapes = _shapes(args, sharding)
    program = jax.jit(function, donate_argnums=0).lower(*shapes).compile()
    result.update(_facts(name, program, time.perf_counter() - start))
  return result


def _shapes(args, sharding):
  """The arguments without their values, where `sharding`, a prefix, says."""

  def of(sharding, tree):
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=sharding
        ),
        tree,
    )

  return jax.tree.map(of, sharding, args)


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
