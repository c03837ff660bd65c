"""Taking out: the same function with smaller parameters."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.errors import UserError
from lim_jax.structure import boxes, known
from lim_jax.structure.analysis import Plan, backwards, forwards
from lim_jax.structure.boxes import Box
from lim_jax.structure.cost import macs
from lim_jax.structure.cuts import Cut, cuts_of
from lim_jax.structure.evaluation import run
from lim_jax.structure.program import read

PyTree = Any


class CompactFunction:
    """A function of cut parameters that computes what `fn` computes of the whole ones.

    It is traced anew for inputs of new shapes, as under `jax.jit`; which parameters are left stays the same.
    """

    def __init__(self, fn: Callable[..., Any], params: PyTree, round_to: int) -> None:
        """Takes the function, its whole parameters and what widths are rounded up to."""
        self._fn = fn
        self._params = jax.tree.map(np.asarray, params)
        self._round_to = round_to
        self._plans: dict[Any, tuple[Plan, Any]] = {}
        self._parts: list[Box | None] | None = None

    def fix(self, *inputs: Any) -> list[Box | None]:
        """Decides for inputs of some shapes what is left of the parameters; returns it, one part for each leaf."""
        plan, _ = self._plan(inputs)
        numbers = plan.program.inputs[: len(jax.tree.leaves(self._params))]
        self._parts = [plan.parts.get(number) for number in numbers]
        return self._parts

    def __call__(self, params: PyTree, *inputs: Any) -> Any:
        """Computes the function of the cut parameters and of inputs of any shapes that `fn` takes."""
        plan, result = self._plan(inputs)
        leaves = jax.tree.leaves(params)
        assert self._parts is not None
        arrays: dict[int, tuple[Any, Box]] = {}
        for number, leaf, part in zip(plan.program.inputs, leaves, self._parts, strict=False):
            wanted = plan.parts.get(number)
            if wanted is None:
                continue
            if part is None or not boxes.contains(part, wanted):
                raise UserError("with inputs of these shapes other parameters are needed; compact the function for them")
            arrays[number] = (leaf, part)
        for number, leaf in zip(plan.program.inputs[len(leaves) :], jax.tree.leaves(inputs), strict=True):
            arrays[number] = (leaf, boxes.full(np.ndim(leaf)))
        outputs = [boxes.full(plan.program.arrays[number].ndim) for number in plan.program.outputs]
        return jax.tree.unflatten(result, run(plan, arrays, outputs))

    def _plan(self, inputs: Sequence[Any]) -> tuple[Plan, Any]:
        shapes = jax.tree.map(_abstract, tuple(inputs))
        key = (jax.tree.structure(shapes), tuple(jax.tree.leaves(shapes)))
        if key not in self._plans:
            program, result = read(self._fn, jax.tree.map(_abstract, self._params), *shapes)
            leaves = jax.tree.leaves(self._params)
            knowns = [known.exactly(leaf) for leaf in leaves]
            knowns += [known.nothing(program.arrays[number]) for number in program.inputs[len(leaves) :]]
            outputs = [boxes.full(program.arrays[number].ndim) for number in program.outputs]
            plan = backwards(program, forwards(program, knowns), outputs, self._round_to)
            self._plans[key] = (plan, result)
        return self._plans[key]


@dataclasses.dataclass(frozen=True)
class Compacted:
    """A function without what did not matter for it.

    Attributes:
      fn: `fn(params, *inputs)` computes the same as the given function did of the given parameters. It goes through
        `jit`, `vmap`, `grad` and `jax.export`.
      params: the tree of the parameters with smaller arrays; what vanished has size 0.
      cuts: what is left of each parameter, by path.
      macs: multiply-accumulates before and after.
      difference: the largest difference of any output on random inputs, as part of that output's largest value.
    """

    fn: Callable[..., Any]
    params: PyTree
    cuts: dict[str, Cut]
    macs: tuple[int, int]
    difference: float

    @property
    def num_parameters(self) -> tuple[int, int]:
        """The number of parameters before and after."""
        shapes = [(cut.shape, cut.compact_shape) for cut in self.cuts.values()]
        return sum(int(np.prod(old)) for old, _ in shapes), sum(int(np.prod(new)) for _, new in shapes)

    def __str__(self) -> str:
        """Says what is left in a few lines."""
        lines = [
            f"parameters {self.num_parameters[0]:,} -> {self.num_parameters[1]:,}",
            f"MACs {self.macs[0]:,} -> {self.macs[1]:,}",
            f"largest difference on random inputs {self.difference:.1e} of the largest output",
        ]
        changed = [(path, cut) for path, cut in self.cuts.items() if cut.compact_shape != cut.shape]
        return "\n".join(lines + [f"{path} {cut.shape} -> {cut.compact_shape}" for path, cut in changed])


def compact(fn: Callable[..., Any], params: PyTree, *inputs: Any, round_to: int = 1) -> Compacted:
    """Removes everything from a function that does not matter for its outputs.

    Args:
      fn: `fn(params, *inputs)`, traceable by JAX, without side effects; its values are finite.
      params: a tree of arrays.
      *inputs: examples of the other arguments, or `jax.ShapeDtypeStruct`; only shapes matter.
      round_to: widths are rounded up to a multiple of this, as far as there were channels.

    Returns:
      The smaller function and its parameters.
    """
    smaller, cuts, cut_params = cut(fn, params, *inputs, round_to=round_to)
    shapes = jax.tree.map(_abstract, inputs)
    return Compacted(
        fn=smaller,
        params=cut_params,
        cuts=cuts,
        macs=(macs(fn, params, *shapes), macs(smaller, cut_params, *shapes)),
        difference=_difference(fn, params, smaller, cut_params, inputs),
    )


def cut(
    fn: Callable[..., Any], params: PyTree, *inputs: Any, round_to: int = 1
) -> tuple[CompactFunction, dict[str, Cut], PyTree]:
    """Does what `compact` does, and no more: returns the smaller function, the cuts and the cut parameters."""
    smaller = CompactFunction(fn, params, round_to)
    cuts = cuts_of(params, smaller.fix(*inputs))
    leaves = [each(jnp.asarray(leaf)) for each, leaf in zip(cuts.values(), jax.tree.leaves(params), strict=True)]
    return smaller, cuts, jax.tree.unflatten(jax.tree.structure(params), leaves)


def _difference(
    fn: Callable[..., Any], params: PyTree, smaller: CompactFunction, cut_params: PyTree, inputs: Sequence[Any]
) -> float:
    """Returns the largest relative difference of the outputs on inputs drawn like the examples."""
    flat, treedef = jax.tree.flatten(tuple(inputs))
    drawn = jax.tree.unflatten(treedef, [_drawn(leaf, seed) for seed, leaf in enumerate(flat)])
    expected, actual = jax.jit(fn)(params, *drawn), jax.jit(smaller)(cut_params, *drawn)
    largest = 0.0
    for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(actual), strict=True):
        if jnp.issubdtype(a.dtype, jnp.number) and a.size:
            a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
            largest = max(largest, float(np.max(np.abs(a - b)) / max(float(np.max(np.abs(a))), 1e-30)))
    return largest


def _drawn(leaf: Any, seed: int) -> Any:
    """Returns a normal array like `leaf`; what is not floating is taken as it is, or as zeros."""
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jax.random.normal(jax.random.key(seed), leaf.shape, leaf.dtype)
    return jnp.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    aval = jax.typeof(leaf)
    return jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=getattr(aval, "weak_type", False))
