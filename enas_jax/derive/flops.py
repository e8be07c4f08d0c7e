"""How many operations a network takes, counted in its jaxpr."""

from collections.abc import Callable
import math

import jax


def count(function: Callable, *args) -> float:
  """Floating point operations of the products in `function(*args)`.

  Matrix products and convolutions, two operations each multiplication; what is
  done to single entries is left out. Of an operation that has several forms,
  that of every platform but the CPU is counted, a plain convolution. A branch
  that is chosen at run time cannot be counted: give a numpy architecture.
  """
  return _of(jax.make_jaxpr(function)(*args).jaxpr)


def _of(jaxpr) -> float:
  return sum(map(_equation, jaxpr.eqns))


def _equation(equation) -> float:
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
    case "cond":  # of platforms, the last stands for those without a name
      return _of(params["branches"][-1].jaxpr)
    case "scan":
      return params["length"] * _of(params["jaxpr"].jaxpr)
  inner = (params.get(key) for key in ("jaxpr", "call_jaxpr"))
  return sum(_of(getattr(j, "jaxpr", j)) for j in inner if j is not None)
