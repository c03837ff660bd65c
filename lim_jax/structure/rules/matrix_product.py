"""Matrix products: an index that is summed over is needed where both factors may be something else than zero.

What is known of both factors at such an index is added up beforehand: the product with a constant channel becomes part
of a constant.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lim_jax.structure import boxes, known
from lim_jax.structure.boxes import Box
from lim_jax.structure.coupling import Axes, Coupling, Units
from lim_jax.structure.known import Known
from lim_jax.structure.program import Equation
from lim_jax.structure.rules.base import Step, register


class MatrixProduct:
    """The rule of `dot_general`."""

    def known(self, eqn: Equation, ins: Sequence[Known]) -> list[Known]:
        """A sum is known if each of its products is: both factors are known, or one is zero."""
        left, right = ins
        static = left.static and right.static
        open_products = _products(eqn, ~left.mask, right.nonzero) + _products(eqn, left.nonzero, ~right.mask)
        if open_products.all():
            return [known.nothing(eqn.outs[0], static)]
        values = [np.where(operand.mask, operand.value, 0).astype(operand.value.dtype) for operand in ins]
        (value,) = known.compute(eqn.bind, *_spread(eqn, *values))
        return [known.partly(eqn.outs[0], open_products == 0, value, static)]

    def demand(self, eqn: Equation, wants: Sequence[Box | None], ins: Sequence[Known], round_to: int) -> Step:
        """Needs the hull of the indices where neither factor is known to be zero; folds what is known outside of it."""
        (want,) = wants
        assert want is not None
        contracting, _ = eqn.params["dimension_numbers"]
        parts = _free_boxes(eqn, want)
        summed = [eqn.ins[0].shape[axis] for axis in contracting[0]]
        nonzero, unknown = np.ones(summed, bool), np.zeros(summed, bool)
        for operand, part, axes in zip(ins, parts, contracting, strict=True):
            nonzero &= _along(boxes.restrict(operand.nonzero, part), axes, summed)
            unknown |= _along(boxes.restrict(~operand.mask, part), axes, summed)
        foldable = not (ins[0].static and ins[1].static)
        around = boxes.hull(nonzero & unknown if foldable else nonzero)
        around = tuple(boxes.rounded(mask, round_to) for mask in around)
        folded = nonzero & ~boxes.outer(around, summed)
        uses = []
        for part, axes in zip(parts, contracting, strict=True):
            use = list(part)
            for axis, mask in zip(axes, around, strict=True):
                use[axis] = mask
            uses.append(tuple(use))
        constant = self._folded(eqn, ins, parts, folded) if folded.any() else None
        return Step((want,), tuple(uses), constant)

    def evaluate(self, eqn: Equation, step: Step, operands: Sequence[Any]) -> list[tuple[Any, Box]]:
        """Multiplies smaller matrices."""
        (result,), (want,) = eqn.bind(*operands), step.wants
        assert want is not None
        return [(result if step.constant is None else result + step.constant, want)]

    def couple(self, eqn: Equation, ins: Sequence[Units], coupling: Coupling) -> list[Axes]:
        """What is summed over goes together; the rest stays apart."""
        (left_sum, right_sum), (left_batch, right_batch) = eqn.params["dimension_numbers"]
        coupling.read(ins, (left_sum, right_sum))
        left, right = (factor.axes for factor in ins)
        for a, b in zip(left_sum, right_sum, strict=True):
            coupling.join(left[a], right[b])
        batch = [coupling.join(left[a], right[b]) for a, b in zip(left_batch, right_batch, strict=True)]
        return [(*batch, *(left[axis] for axis in _free(eqn, 0)), *(right[axis] for axis in _free(eqn, 1)))]

    def _folded(self, eqn: Equation, ins: Sequence[Known], parts: Sequence[Box], folded: np.ndarray) -> np.ndarray:
        contracting, _ = eqn.params["dimension_numbers"]
        values = []
        for operand, part in zip(ins, parts, strict=True):
            value = np.where(operand.mask, operand.value, 0).astype(operand.value.dtype)
            values.append(boxes.restrict(value, part))
        values = list(_spread(eqn, *values))
        order = np.argsort(contracting[0])
        chosen = folded.transpose(order)
        shape = [1] * values[0].ndim
        for position in order:
            shape[contracting[0][position]] = folded.shape[position]
        values[0] = np.where(chosen.reshape(shape), values[0], 0).astype(values[0].dtype)
        (result,) = known.compute(eqn.bind, *values)
        return known.compressed(result)


def _free(eqn: Equation, side: int) -> list[int]:
    """Returns the axes of a factor that are neither summed over nor common to both."""
    contracting, batch = eqn.params["dimension_numbers"]
    return [axis for axis in range(eqn.ins[side].ndim) if axis not in (*contracting[side], *batch[side])]


def _free_boxes(eqn: Equation, want: Box) -> list[Box]:
    """Returns the parts of both factors that a part of the product comes from, with all that is summed over."""
    _, batch = eqn.params["dimension_numbers"]
    number = len(batch[0])
    split = number + len(_free(eqn, 0))
    parts = []
    for side, masks in ((0, want[number:split]), (1, want[split:])):
        part: list[boxes.Mask] = [None] * eqn.ins[side].ndim
        for axis, mask in zip((*batch[side], *_free(eqn, side)), (*want[:number], *masks), strict=True):
            part[axis] = mask
        parts.append(tuple(part))
    return parts


def _spread(eqn: Equation, left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns both with equal sizes where they are summed over or common."""
    contracting, batch = eqn.params["dimension_numbers"]
    shapes = [list(left.shape), list(right.shape)]
    for axis, (a, b) in enumerate(zip((*contracting[0], *batch[0]), (*contracting[1], *batch[1]), strict=True)):
        size = eqn.ins[0].shape[a] if axis < len(contracting[0]) else max(shapes[0][a], shapes[1][b])
        shapes[0][a] = shapes[1][b] = size
    return np.broadcast_to(left, shapes[0]), np.broadcast_to(right, shapes[1])


def _products(eqn: Equation, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Returns in how many products both are true."""
    left, right = _spread(eqn, left, right)
    contracting, batch = eqn.params["dimension_numbers"]
    labels = [list(range(left.ndim)), list(range(left.ndim, left.ndim + right.ndim))]
    for a, b in zip((*contracting[0], *batch[0]), (*contracting[1], *batch[1]), strict=True):
        labels[1][b] = labels[0][a]
    operands = (left.astype(np.float32), labels[0], right.astype(np.float32), labels[1])
    made = [*(labels[0][a] for a in batch[0]), *(labels[s][a] for s in (0, 1) for a in _free(eqn, s))]
    return np.einsum(*operands, made, optimize=True)  # pyright: ignore


def _along(mask: np.ndarray, axes: Sequence[int], sizes: Sequence[int]) -> np.ndarray:
    """Returns where a mask is true for anything else than the axes that are summed over."""
    if 0 in mask.shape:
        return np.zeros(sizes, bool)
    found = np.asarray(mask.any(axis=tuple(axis for axis in range(mask.ndim) if axis not in axes)))
    return np.broadcast_to(found.transpose(np.argsort(np.argsort(axes))), sizes)


register(MatrixProduct(), "dot_general")
