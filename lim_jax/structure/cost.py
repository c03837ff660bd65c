"""Multiply-accumulates of any function, counted from its program."""

import math
from collections.abc import Callable
from typing import Any

from lim_jax.structure.program import Equation, Program, flatten, read


def macs(fn: Callable[..., Any], *args: Any) -> int:
    """Returns the MACs of `fn(*args)`: those of convolutions and matrix products, loops of known length included.

    Args:
      fn: the function.
      *args: its arguments; arrays or `jax.ShapeDtypeStruct`.
    """
    return program_macs(read(fn, *args)[0])


def program_macs(program: Program) -> int:
    """Returns the MACs of a program."""
    return sum(_equation_macs(eqn) for eqn in program.equations)


def _equation_macs(eqn: Equation) -> int:
    if eqn.name == "scan":
        return eqn.params["length"] * program_macs(flatten(eqn.params["jaxpr"]))
    if eqn.name == "dot_general":
        (axes, _), _ = eqn.params["dimension_numbers"]
        return math.prod(eqn.outs[0].shape) * math.prod(eqn.ins[0].shape[axis] for axis in axes)
    if eqn.name == "conv_general_dilated":
        made = eqn.params["dimension_numbers"].rhs_spec[0]
        taps = math.prod(size for axis, size in enumerate(eqn.ins[1].shape) if axis != made)
        return math.prod(eqn.outs[0].shape) * taps
    return 0
