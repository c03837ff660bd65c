"""Operations that treat some axes index by index: arithmetic, broadcasting, reductions, windows, lookups, the unknown.

An axis of an operand is *linked* to an axis of the results if index i of the one depends on index i of the other alone,
and if the operation does the same with fewer indices along both. All other axes are taken as mixed: they are read as a
whole and made as a whole. An operation of which nothing is known has no linked axes.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lim_jax.structure import boxes, known
from lim_jax.structure.boxes import Box
from lim_jax.structure.coupling import Axes, Coupling, Units
from lim_jax.structure.known import Known
from lim_jax.structure.program import Equation
from lim_jax.structure.rules.base import Step

Links = list[tuple[int | None, ...]]  # for each operand, for each of its axes, the linked axis of the results


def _no_changes(eqn: Equation, ins: Sequence[Sequence[int]], out: Sequence[int]) -> dict[str, Any]:
    return {}


@dataclasses.dataclass(frozen=True)
class Parallel:
    """The rule of such an operation.

    Attributes:
      links: returns the linked axes.
      changes: returns the primitive's parameters that change with the sizes of linked axes; takes the equation, the
        shapes of the operands and that of the results.
      mixes: whether an index of an axis that is not linked can not leave; of a sum or a maximum, it can.
    """

    links: Callable[[Equation], Links]
    changes: Callable[[Equation, Sequence[Sequence[int]], Sequence[int]], dict[str, Any]] = _no_changes
    mixes: bool = True

    def known(self, eqn: Equation, ins: Sequence[Known]) -> list[Known]:
        """An element is known if all that it may depend on is."""
        links, static = self.links(eqn), all(operand.static for operand in ins)
        ndim = eqn.outs[0].ndim
        linked = {axis for axes in links for axis in axes if axis is not None}
        everything_known = not linked and all(operand.complete for operand in ins)
        mask = np.ones((1,) * ndim, bool) if linked or everything_known else np.zeros((1,) * ndim, bool)
        for operand, axes in zip(ins, links, strict=True):
            mask = mask & _onto_results(operand.mask, axes, ndim)
        if not mask.any() or not ins or not eqn.pure:
            return [known.nothing(out, static) for out in eqn.outs]
        values = self._values(eqn, ins, links, linked)
        return [known.partly(out, mask, value, static) for out, value in zip(eqn.outs, values, strict=True)]

    def demand(self, eqn: Equation, wants: Sequence[Box | None], ins: Sequence[Known], round_to: int) -> Step:
        """Linked axes are needed where the results are, others as a whole."""
        wanted = _wanted(eqn, wants)
        uses = [tuple(None if axis is None else wanted[axis] for axis in axes) for axes in self.links(eqn)]
        return Step(tuple(wants), tuple(uses))

    def evaluate(self, eqn: Equation, step: Step, operands: Sequence[Any]) -> list[tuple[Any, Box]]:
        """Applies the primitive to smaller arrays."""
        wanted = _wanted(eqn, step.wants)
        linked = {axis for axes in self.links(eqn) for axis in axes if axis is not None}
        have = tuple(mask if axis in linked else None for axis, mask in enumerate(wanted))
        shapes = [np.shape(operand) for operand in operands]
        results = eqn.bind(*operands, **self.changes(eqn, shapes, boxes.cut_shape(have, eqn.outs[0].shape)))
        return [(result, have if linked else boxes.full(np.ndim(result))) for result in results]

    def couple(self, eqn: Equation, ins: Sequence[Units], coupling: Coupling) -> list[Axes]:
        """Linked axes share their units."""
        found: list[list[np.ndarray]] = [[] for _ in range(eqn.outs[0].ndim)]
        for axes, units in zip(self.links(eqn), ins, strict=True):
            for axis, unit in zip(axes, units.axes, strict=True):
                if axis is not None:
                    found[axis].append(unit)
                elif self.mixes and len(unit) > 1:
                    coupling.block(unit, f"mixed by {eqn.name} at {eqn.source}")
        results = [
            coupling.join(*units) if units else self._made(eqn, size, coupling)
            for units, size in zip(found, eqn.outs[0].shape, strict=True)
        ]
        if all(out.shape == eqn.outs[0].shape for out in eqn.outs):
            return [tuple(results) for _ in eqn.outs]
        return [tuple(self._made(eqn, size, coupling) for size in out.shape) for out in eqn.outs]

    def _made(self, eqn: Equation, size: int, coupling: Coupling) -> np.ndarray:
        units = coupling.fresh(size)
        return coupling.block(units, f"made by {eqn.name} at {eqn.source}") if self.mixes and eqn.ins else units

    def _values(self, eqn: Equation, ins: Sequence[Known], links: Links, linked: set[int]) -> list[np.ndarray]:
        """Applies the primitive to what is known, as small along linked axes as that is."""
        sizes = self._rest(eqn)
        for axis in linked:
            sizes[axis] = 1
        for operand, axes in zip(ins, links, strict=True):
            for size, axis in zip(operand.value.shape, axes, strict=True):
                if axis is not None:
                    sizes[axis] = max(sizes[axis], size)
        operands = []
        for operand, axes in zip(ins, links, strict=True):
            shape = [
                size if axis is None else sizes[axis] for size, axis in zip(operand.array.shape, axes, strict=True)
            ]
            operands.append(np.broadcast_to(operand.value, shape))
        changes = self.changes(eqn, [operand.shape for operand in operands], sizes)
        return known.compute(lambda *arrays: self._apply(eqn, *arrays, **changes), *operands)

    def _rest(self, eqn: Equation) -> list[int]:
        return list(eqn.outs[0].shape)

    def _apply(self, eqn: Equation, *operands: Any, **changes: Any) -> list[Any]:
        return eqn.bind(*operands, **changes)


class Broadcast(Parallel):
    """Along new axes everything is the same."""

    def _rest(self, eqn: Equation) -> list[int]:
        return [1] * eqn.outs[0].ndim


class Elementwise(Parallel):
    """Arithmetic, where a factor of zero decides."""

    def known(self, eqn: Equation, ins: Sequence[Known]) -> list[Known]:
        """Zero times anything is zero."""
        (result,) = super().known(eqn, ins)
        factors = {"mul": ins, "and": ins, "div": ins[:1]}.get(eqn.name, ())
        zero = np.zeros((1,) * result.array.ndim, bool)
        for operand, axes in zip(factors, self.links(eqn), strict=False):
            zero = zero | _onto_results(operand.zero, axes, result.array.ndim)
        if not zero.any():
            return [result]
        value = np.where(result.mask, result.value, np.zeros((), result.value.dtype))
        return [known.partly(result.array, result.mask | zero, value, result.static)]


class Sum(Parallel):
    """A sum needs nothing that is zero."""

    def demand(self, eqn: Equation, wants: Sequence[Box | None], ins: Sequence[Known], round_to: int) -> Step:
        """Leaves out the zeros of the axes that are summed over."""
        step = super().demand(eqn, wants, ins, round_to)
        (use,), (operand,) = step.uses, ins
        assert use is not None
        axes = eqn.params["axes"]
        nonzero = boxes.restrict(operand.nonzero, use)
        nonzero = nonzero.any(axis=tuple(axis for axis in range(nonzero.ndim) if axis not in axes), keepdims=True)
        around = boxes.hull(np.broadcast_to(nonzero, [n if n > 1 else 1 for n in nonzero.shape]))
        part = tuple(
            boxes.rounded(around[axis], round_to) if axis in axes and nonzero.shape[axis] > 1 else mask
            for axis, mask in enumerate(use)
        )
        return Step(step.wants, (part,))


def _wanted(eqn: Equation, wants: Sequence[Box | None]) -> Box:
    """Returns the box around all that is wanted of any result; those of linked axes have the same shape."""
    if any(out.shape != eqn.outs[0].shape for out in eqn.outs):
        return boxes.full(eqn.outs[0].ndim)
    box: Box | None = None
    for want in wants:
        box = boxes.union(box, want)
    assert box is not None
    return box


def _onto_results(mask: np.ndarray, axes: Sequence[int | None], ndim: int) -> np.ndarray:
    """Returns a mask of an operand as one of the results: true where all that is mixed is."""
    mixed = tuple(position for position, axis in enumerate(axes) if axis is None)
    mask = np.asarray(mask.all(axis=mixed))
    order = [axis for axis in axes if axis is not None]
    mask = mask.transpose(np.argsort(order))
    shape = [1] * ndim
    for size, axis in zip(mask.shape, sorted(order), strict=True):
        shape[axis] = size
    return mask.reshape(shape)
