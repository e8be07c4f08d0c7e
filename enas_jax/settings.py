"""The settings of a run: its loop, and what follows a search.

Each is read from a block of the config by `options.read`; type, bounds,
default and help of a setting stand here and nowhere else.
"""

import dataclasses
from typing import Annotated, Literal

from enas_jax.options import Count, NonNegative, Path, Seed, Small, Whole

Dtype = Literal["float32", "bfloat16"]
POLICY = "policy"  # of `Derive.by` and `Search.children`


@dataclasses.dataclass(frozen=True)
class Run:
  """What a search and the training of one network have in common.

  Attributes:
    epochs: How often the training split is passed over.
    seed: Everything random follows from it.
    dtype: Type of the computation; weights and sums are float32.
    devices: Each trains a child on its share of the batch; 0: all there are.
    steps_per_call: Child steps that are dispatched at once.
    checkpoint_seconds: The least time between two checkpoints.
  """

  epochs: Annotated[Count, Small(2)]
  seed: Seed = 0
  dtype: Dtype = "float32"
  devices: Whole = 1
  steps_per_call: Count = 1
  checkpoint_seconds: NonNegative = 60.0


@dataclasses.dataclass(frozen=True)
class Training(Run):
  """The training of one network.

  Attributes:
    eval_every: Epochs between two looks at the held-out examples.
    init: The folder of a trained model to go on from; "": random weights.
  """

  eval_every: Count = 1
  init: Path = ""


@dataclasses.dataclass(frozen=True)
class Search:
  """When a strategy is asked and told.

  Attributes:
    name: Which strategy proposes.
    steps: Strategy steps of an epoch.
    archs: M of the paper's section 2.2, the architectures that are sampled and
      rewarded in a controller step. The M of a child step's gradient is 1, or
      the number of devices.
    same_batch: Whether those of a step are rewarded on the same data.
    at_once: How many of those of a step are rewarded at a time, as one large
      batch, which takes as many times the memory; for networks without a
      branch (network.arithmetic).
    warmup: Epochs at first that train shared weights alone.
    children: Who proposes the children that train the shared weights.
  """

  name: str
  steps: Annotated[Whole, Small(2)]
  archs: Annotated[Count, Small(2)]
  same_batch: bool = False
  at_once: Count = 1
  warmup: Annotated[Whole, Small(0)] = 0
  children: Literal["policy", "random"] = POLICY


@dataclasses.dataclass(frozen=True)
class Derive:
  """How one arch is derived when the search is done.

  Attributes:
    archs: Candidates of the trained policy.
    random: Random candidates.
    top: How many of each the table shows.
    by: Whether the best by score is derived, or what the strategy itself
      holds for the best.
    finalists: How many are trained alone before one is derived; 0: none.
    at_once: How many finalists, or retrainings, are trained at a time, each in
      a process of its own.
  """

  archs: Annotated[Count, Small(3)] = 100
  random: Annotated[Count, Small(3)] = 100
  top: Annotated[Count, Small(2)] = 5
  by: Literal["score", "policy"] = "score"
  finalists: Whole = 0
  at_once: Count = 1


@dataclasses.dataclass(frozen=True)
class Retrain:
  """What follows when an arch is derived.

  Attributes:
    command: The final config that the last line of the search names.
    random: How many random candidates are retrained beside what was derived.
  """

  command: str = ""
  random: Whole = 0


@dataclasses.dataclass(frozen=True)
class Objective:
  """What the cost of an arch takes off its reward.

  Attributes:
    cost: What is counted of its final network, or latency: the milliseconds of
      a validation batch on the device at hand; "": nothing.
    target: Up to which nothing is taken off.
    weight: The penalty when the cost is twice the target.
  """

  cost: Literal["", "params", "flops", "latency"] = ""
  target: NonNegative = 0.0
  weight: NonNegative = 0.0


@dataclasses.dataclass(frozen=True)
class Benchmark:
  """What architectures score in truth.

  Attributes:
    path: Of the table; "": the truth is not known.
    data: The data set on which it was made; "": as the file's name ends.
    training: FLOPs of training one of its architectures alone, on average, if
      the table does not say it; 0: they are not known.
  """

  path: Path = ""
  data: str = ""
  training: NonNegative = 0.0
