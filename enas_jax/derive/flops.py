"""Counts the operations of a program in its jaxpr."""

from collections.abc import Callable
import math
from typing import Any

import jax


def count(function: Callable, *args: Any) -> float:
  """Returns the floating point operations of the products in a call.

  These are matrix products and convolutions, with two operations for each
  multiplication. Work on single entries is left out. Where an operation has one
  form for the CPU and another for all other platforms, the latter is counted, a
  plain convolution. A branch that is chosen at run time cannot be counted, so
  `function` must run a numpy arch.

  Args:
    function: The function; it is traced, not run.
    *args: Its arguments, arrays or shapes.
  """
  return _of(jax.make_jaxpr(function)(*args).jaxpr)


def _of(jaxpr) -> float:
  """Returns the operations of a jaxpr."""
  return sum(map(_equation, jaxpr.eqns))


def _equation(equation) -> float:
  """Returns the operations of one equation of a jaxpr."""
  name, params = equation.primitive.name, equation.params
  match name:
    case "dot_general":
      (contracted, _), _ = params["dimension_numbers"]
      shape = equation.invars[0].aval.shape
      inner = math.prod(shape[axis] for axis in contracted)
      return 2.0 * inner * math.prod(equation.outvars[0].aval.shape)
    case "conv_general_dilated":
      kernel = equation.invars[1].aval.shape
      out = params["dimension_numbers"].rhs_spec[0]
      window = math.prod(kernel) / kernel[out]
      return 2.0 * window * math.prod(equation.outvars[0].aval.shape)
    case "cond":  # a choice of platform, whose last branch is the default one
      return _of(params["branches"][-1].jaxpr)
    case "scan":
      return params["length"] * _of(params["jaxpr"].jaxpr)
  inner = (params.get(key) for key in ("jaxpr", "call_jaxpr"))
  return sum(_of(getattr(j, "jaxpr", j)) for j in inner if j is not None)
