"""A function as a flat list of equations over numbered arrays: what the analysis walks over.

`read` traces a function to a jaxpr and puts the bodies of all calls (`jit`, `custom_jvp`, `custom_vjp`, `remat`, ...)
in the place of the calls; arithmetic that has its own derivative, such as `jax.nn.relu`, stays one operation. Literals
and captured constants become arrays of their own, and so do the indices that are computed from them.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import source_info_util  # the only place that says where in the user's code an equation comes from
from jax.core import Tracer
from jax.extend import core

from lim_jax.structure.arithmetic import ARITHMETIC

# Calls whose body may stand in their place, and the parameter that holds it.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
}


LARGEST_INDICES = 65536  # elements; larger integer arrays are not computed when a program is read


@dataclasses.dataclass(frozen=True)
class Array:
    """The shape and dtype of one array of a program."""

    shape: tuple[int, ...]
    dtype: Any

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)


@dataclasses.dataclass(frozen=True)
class Equation:
    """One primitive operation.

    Attributes:
      primitive: what is done.
      params: its static parameters.
      operands: numbers of the arrays that it takes.
      results: numbers of the arrays that it makes.
      ins, outs: shapes and dtypes of them.
      constants: for each operand its value, if it is a constant, else None.
      source: "file:line (function)" of the user's code.
      pure: False where it does more than compute its results.
    """

    primitive: core.Primitive
    params: dict[str, Any]
    operands: tuple[int, ...]
    results: tuple[int, ...]
    ins: tuple[Array, ...]
    outs: tuple[Array, ...]
    constants: tuple[Any, ...]
    source: str
    pure: bool

    @property
    def name(self) -> str:
        """The name of the primitive."""
        return self.primitive.name

    def bind(self, *operands: Any, **changes: Any) -> list[Any]:
        """Applies the primitive, with some of its parameters changed, and returns the list of results."""
        results = self.primitive.bind(*operands, **self.primitive.get_bind_params(self.params | changes))
        return list(results) if self.primitive.multiple_results else [results]


@dataclasses.dataclass(frozen=True)
class Program:
    """A function as a list of equations; each array is made once.

    Attributes:
      arrays: all arrays, by number.
      constants: values of those that no equation makes and nobody passes, by number.
      inputs: numbers of the arguments' arrays.
      equations: in order.
      outputs: numbers of the results.
    """

    arrays: tuple[Array, ...]
    constants: dict[int, Any]
    inputs: tuple[int, ...]
    equations: tuple[Equation, ...]
    outputs: tuple[int, ...]


def read(fn: Callable[..., Any], *args: Any) -> tuple[Program, Any]:
    """Traces a function of pytrees of arrays.

    Args:
      fn: the function.
      *args: its arguments; arrays or `jax.ShapeDtypeStruct`.

    Returns:
      The program, whose inputs are the leaves of `args`, and the treedef of the function's result.
    """
    closed, result = jax.make_jaxpr(fn, return_shape=True)(*args)
    return flatten(closed), jax.tree.structure(result)


def flatten(closed: core.ClosedJaxpr) -> Program:  # pyright: ignore[reportPrivateImportUsage]
    """Returns the program of a closed jaxpr."""
    writer = _Writer()
    inputs = [writer.add(var.aval) for var in closed.jaxpr.invars]
    outputs = writer.inline(closed.jaxpr, [writer.constant(value) for value in closed.consts], inputs)
    return Program(tuple(writer.arrays), writer.constants, tuple(inputs), tuple(writer.equations), tuple(outputs))


class _Writer:
    def __init__(self) -> None:
        self.arrays: list[Array] = []
        self.constants: dict[int, Any] = {}
        self.equations: list[Equation] = []

    def add(self, aval: Any) -> int:
        self.arrays.append(Array(tuple(aval.shape), aval.dtype))
        return len(self.arrays) - 1

    def constant(self, value: Any) -> int:
        value = value if hasattr(value, "shape") else np.asarray(value)
        number = self.add(value)
        self.constants[number] = value
        return number

    def inline(
        self, jaxpr: core.Jaxpr, constants: Sequence[int], inputs: Sequence[int], caller: str | None = None
    ) -> list[int]:
        """Appends the equations of a jaxpr to the program and returns the numbers of its results.

        Args:
          jaxpr: the equations.
          constants: numbers of the arrays in the place of its constants.
          inputs: numbers of the arrays in the place of its arguments.
          caller: the place in the code that all its equations come from, if that is not theirs.
        """
        number = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *inputs], strict=True))

        def find(atom: Any) -> int:
            if isinstance(atom, core.Literal):
                return self.constant(np.asarray(atom.val, atom.aval.dtype))  # pyright: ignore
            return number[atom]

        for eqn in jaxpr.eqns:
            operands = [find(atom) for atom in eqn.invars]
            body = eqn.params.get(CALLS.get(eqn.primitive.name, ""))
            if body is not None and not _is_arithmetic_with_derivative(eqn):
                consts = [self.constant(value) for value in getattr(body, "consts", ())]
                inner = getattr(body, "jaxpr", body)
                # What JAX calls in its own functions says where it was traced first, not where it is called.
                internal = "/jax/" in (inner.debug_info.func_src_info or "")
                results = self.inline(inner, consts, operands, caller or (_source(eqn) if internal else None))
            elif self._makes_indices(eqn, operands):
                results = [self.constant(value) for value in self._computed(eqn, operands)]
            else:
                results = [self.add(var.aval) for var in eqn.outvars]
                self.equations.append(self._equation(eqn, operands, results, caller))
            number.update(zip(eqn.outvars, results, strict=True))
        return [find(atom) for atom in jaxpr.outvars]

    def _makes_indices(self, eqn: core.JaxprEqn, operands: Sequence[int]) -> bool:
        """Says whether the results are small integer arrays made of constants alone."""
        avals: list[Any] = [var.aval for var in (*eqn.invars, *eqn.outvars)]
        small = all(jnp.issubdtype(aval.dtype, jnp.integer) or aval.dtype == bool for aval in avals)
        small = small and sum(aval.size for aval in avals) <= LARGEST_INDICES
        values = [self.constants.get(number) for number in operands]
        return small and not eqn.effects and not any(v is None or isinstance(v, Tracer) for v in values)

    def _computed(self, eqn: core.JaxprEqn, operands: Sequence[int]) -> list[np.ndarray]:
        params = eqn.primitive.get_bind_params(eqn.params)
        with jax.ensure_compile_time_eval():
            results = eqn.primitive.bind(*(self.constants[number] for number in operands), **params)
        return [np.asarray(result) for result in (results if eqn.primitive.multiple_results else [results])]

    def _equation(self, eqn: core.JaxprEqn, operands: list[int], results: list[int], caller: str | None) -> Equation:
        return Equation(
            primitive=eqn.primitive,
            params=dict(eqn.params),
            operands=tuple(operands),
            results=tuple(results),
            ins=tuple(self.arrays[number] for number in operands),
            outs=tuple(self.arrays[number] for number in results),
            constants=tuple(self.constants.get(number) for number in operands),
            source=caller or _source(eqn),
            pure=not eqn.effects,
        )


def _is_arithmetic_with_derivative(eqn: core.JaxprEqn) -> bool:
    """Says whether this is arithmetic, element by element, that says itself what its derivative is."""
    custom, results = eqn.primitive.name in ("custom_jvp_call", "custom_vjp_call"), [*eqn.outvars]
    return custom and len(results) == 1 and _is_arithmetic(eqn, results[0].aval.shape)  # pyright: ignore


def _is_arithmetic(eqn: core.JaxprEqn, shape: tuple[int, ...]) -> bool:
    """Says whether an equation treats each element of arrays of that shape, and scalars, on its own."""
    atoms: list[Any] = [*eqn.invars, *eqn.outvars]
    if any(atom.aval.shape not in (shape, ()) for atom in atoms):
        return False
    body = eqn.params.get(CALLS.get(eqn.primitive.name, ""))
    if body is None:
        return eqn.primitive.name in ARITHMETIC
    return all(_is_arithmetic(inner, shape) for inner in getattr(body, "jaxpr", body).eqns)


def _source(eqn: core.JaxprEqn) -> str:
    """Returns where an equation comes from: the innermost line that is not in an installed package, if there is one."""
    frames = list(source_info_util.user_frames(eqn.source_info.traceback))
    own = [frame for frame in frames if "site-packages" not in frame.file_name]
    if not frames:
        return "an unknown place"
    frame = (own or frames)[0]
    return f"{frame.file_name}:{frame.start_line} ({frame.function_name})"
