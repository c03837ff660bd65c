"""Taking out: the same function with smaller parameters."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.errors import UserError
from lim_jax.sparsity import groups as groups_lib
from lim_jax.sparsity.groups import leaves_by_path
from lim_jax.structure import boxes, known
from lim_jax.structure.analysis import Plan, backwards, forwards
from lim_jax.structure.boxes import Box
from lim_jax.structure.cost import macs, program_macs
from lim_jax.structure.cuts import Cuts, cut_for, cuts_of, take
from lim_jax.structure.evaluation import run
from lim_jax.structure.known import Known
from lim_jax.structure.program import Array, Program, read

PyTree = Any


class CompactFunction:
    """A function of cut parameters that computes what `fn` computes of the whole ones.

    It is traced anew for inputs of new shapes, as under `jax.jit`; which parameters are left stays the same.
    """

    def __init__(
        self, fn: Callable[..., Any], params: PyTree, knowns: Sequence[Known], round_to: int, cuts: Cuts | None = None
    ) -> None:
        """Takes a function and what is known of its parameters.

        Args:
          fn: the function.
          params: its whole parameters; only shapes matter.
          knowns: what is known of each leaf of them.
          round_to: widths are rounded up to a multiple of this.
          cuts: what is left of the parameters, if that is decided already; then results of `fn` that are shaped and
            named like parameters, such as new batch statistics, are cut alike.
        """
        self.cuts = cuts
        self._fn = fn
        self._params = jax.tree.map(_abstract, params)
        self._knowns = knowns
        self._round_to = round_to
        self._plans: dict[Any, _Traced] = {}

    def decide(self, *inputs: Any) -> Cuts:
        """Decides for inputs of some shapes what is left of the parameters.

        What is not read at all with inputs of these shapes, such as positions past the end of a short text, stays:
        other shapes may need it.
        """
        plan = self._traced(inputs).plan
        anything = [known.nothing(each.array, each.static) for each in self._knowns]
        read_at_all = self._plan(plan.program, anything, self._traced(inputs).outputs).parts
        parts = []
        for number in plan.program.inputs[: len(self._knowns)]:
            part, read_part = plan.parts.get(number), read_at_all.get(number)
            if part is not None and read_part is not None:
                part = tuple(boxes.without(*masks) for masks in zip(part, read_part, strict=True))
            parts.append(part)
        self.cuts = cuts_of(self._params, parts)
        return self.cuts

    def also(self, fn: Callable[..., Any]) -> "CompactFunction":
        """Returns another function of the same parameters, such as one in training mode, for the same cuts."""
        return CompactFunction(fn, self._params, self._knowns, self._round_to, self.cuts)

    def whole_macs(self, *inputs: Any) -> int:
        """Returns the MACs of the whole function for inputs of some shapes."""
        return program_macs(self._traced(inputs).plan.program)

    def __call__(self, params: PyTree, *inputs: Any) -> Any:
        """Computes the function of the cut parameters and of inputs of any shapes that `fn` takes.

        Raises:
          UserError: if other parameters are needed than were left.
        """
        traced = self._traced(inputs)
        plan = traced.plan
        assert self.cuts is not None
        arrays: dict[int, tuple[Any, Box]] = {}
        numbers = iter(plan.program.inputs)
        for (path, cut), leaf, number in zip(self.cuts.items(), jax.tree.leaves(params), numbers, strict=False):
            wanted = plan.parts.get(number)
            if wanted is not None:
                if not boxes.contains(cut.part, wanted):
                    raise UserError(f"more of {path} is needed than was left; compact the function for these inputs")
                arrays[number] = (leaf, cut.part)
        for leaf, number in zip(jax.tree.leaves(inputs), plan.program.inputs[len(self.cuts) :], strict=True):
            arrays[number] = (leaf, boxes.full(np.ndim(leaf)))
        return jax.tree.unflatten(traced.result, run(plan, arrays, traced.outputs))

    def _traced(self, inputs: Sequence[Any]) -> "_Traced":
        shapes = jax.tree.map(_abstract, tuple(inputs))
        key = (jax.tree.structure(shapes), tuple(jax.tree.leaves(shapes)))
        if key not in self._plans:
            program, result = read(self._fn, self._params, *shapes)
            outputs = [boxes.full(program.arrays[number].ndim) for number in program.outputs]
            if self.cuts is not None:
                outputs = self._cut_outputs(program, result)
            self._plans[key] = _Traced(self._plan(program, self._knowns, outputs), outputs, result)
        return self._plans[key]

    def _plan(self, program: Program, params: Sequence[Known], outputs: Sequence[Box]) -> Plan:
        inputs = [known.nothing(program.arrays[number]) for number in program.inputs[len(params) :]]
        return backwards(program, forwards(program, [*params, *inputs]), outputs, self._round_to)

    def _cut_outputs(self, program: Program, result: Any) -> list[Box]:
        paths = leaves_by_path(jax.tree.unflatten(result, program.outputs))
        outputs = []
        for path, number in paths.items():
            cut = cut_for(path, program.arrays[number].shape, self.cuts or {})
            outputs.append(boxes.full(program.arrays[number].ndim) if cut is None else cut.part)
        return outputs


@dataclasses.dataclass(frozen=True)
class _Traced:
    """A function for inputs of one shape: how it is computed, which part of each output, and the result's treedef."""

    plan: Plan
    outputs: list[Box]
    result: Any


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

    fn: CompactFunction
    params: PyTree
    cuts: Cuts
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

    Channels that nobody reads go, and channels whose value does not depend on the inputs: what they contribute becomes
    a constant of the function. What is left is for inference; while a network is trained, see `shrink`.

    Args:
      fn: `fn(params, *inputs)`, traceable by JAX, without side effects; its values are finite.
      params: a tree of arrays.
      *inputs: examples of the other arguments, or `jax.ShapeDtypeStruct`; only shapes matter.
      round_to: widths are rounded up to a multiple of this, as far as there were channels.

    Returns:
      The smaller function and its parameters.
    """
    return _compacted(of_values(fn, params, round_to), fn, params, inputs)


def of_values(fn: Callable[..., Any], params: PyTree, round_to: int = 1) -> CompactFunction:
    """Returns a function without what does not matter while its parameters have the values that they have."""
    knowns = [known.exactly(np.asarray(leaf)) for leaf in jax.tree.leaves(params)]
    return CompactFunction(fn, params, knowns, round_to)


def shrink(
    fn: Callable[..., Any], params: PyTree, *inputs: Any, groups: groups_lib.Groups, round_to: int = 1
) -> Compacted:
    """Removes zero groups for good, and what nobody reads then, so that the rest can be trained on.

    The rest may take any values: nothing is folded, and the gradients are those of the whole network with these groups
    at zero. `Compacted.also` cuts the same function in training mode, and `take` the optimizer's state.

    Args:
      fn: `fn(params, *inputs)` in evaluation mode; see `compact`.
      params: a tree of arrays, batch statistics included.
      *inputs: examples of the other arguments, or `jax.ShapeDtypeStruct`.
      groups: of the parameters, as for `lim_jax.sparsity`: those that are zero now go.
      round_to: widths are rounded up to a multiple of this, as far as there were channels.
    """
    return _compacted(CompactFunction(fn, params, frozen_zeros(params, groups), round_to), fn, params, inputs)


def frozen_zeros(params: PyTree, groups: groups_lib.Groups) -> list[Known]:
    """Returns what is known of each parameter if its groups that are zero stay zero."""
    leaves = jax.tree.leaves(params)
    masks = [np.zeros(np.shape(leaf), bool) for leaf in leaves]
    for layer in groups_lib.layers(groups, params):
        zero = np.asarray(groups_lib.zero_groups(layer, leaves))
        for index, axes in zip(layer.leaves, layer.axes, strict=True):
            masks[index] |= zero.reshape([n if axis in axes else 1 for axis, n in enumerate(masks[index].shape)])
    knowns = []
    for leaf, mask in zip(leaves, masks, strict=True):
        array = Array(mask.shape, np.asarray(leaf).dtype)
        knowns.append(known.partly(array, mask, np.zeros((1,) * mask.ndim, array.dtype), static=True))
    return knowns


def _compacted(smaller: CompactFunction, fn: Callable[..., Any], params: PyTree, inputs: Sequence[Any]) -> Compacted:
    cuts = smaller.decide(*inputs)
    cut_params = jax.tree.map(jnp.asarray, take(params, cuts))
    shapes = jax.tree.map(_abstract, tuple(inputs))
    return Compacted(
        fn=smaller,
        params=cut_params,
        cuts=cuts,
        macs=(smaller.whole_macs(*inputs), macs(smaller, cut_params, *shapes)),
        difference=_difference(fn, params, smaller, cut_params, inputs),
    )


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
