"""Reshapes, as far as they split whole axes or merge them: (h · d) into (h, d) and back.

A reshape falls into blocks of axes that hold the same elements before and after. A block of one axis each is the axis
itself. One that splits an axis, or merges several, keeps track of indices; in any other block all is needed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lim_jax.structure import boxes, known
from lim_jax.structure.boxes import Box, Mask
from lim_jax.structure.coupling import Axes, Coupling, Units
from lim_jax.structure.known import Known
from lim_jax.structure.program import Equation
from lim_jax.structure.rules.base import Step, register


class Block(NamedTuple):
    """Consecutive axes that hold the same elements before and after."""

    ins: tuple[int, ...]
    outs: tuple[int, ...]


def blocks(old: Sequence[int], new: Sequence[int]) -> list[Block]:
    """Returns the smallest blocks of a reshape of non-empty arrays, in order."""
    found, i, j = [], 0, 0
    while i < len(old) and j < len(new):
        a, b, before, after = i, j, old[i], new[j]
        i, j = i + 1, j + 1
        while before != after:
            if before < after:
                before, i = before * old[i], i + 1
            else:
                after, j = after * new[j], j + 1
        found.append(Block(tuple(range(a, i)), tuple(range(b, j))))
    found += [Block((axis,), ()) for axis in range(i, len(old))]  # of size 1
    return found + [Block((), (axis,)) for axis in range(j, len(new))]


class Reshape:
    """The rule of `reshape` without a permutation."""

    def known(self, eqn: Equation, ins: Sequence[Known]) -> list[Known]:
        """As known as it was."""
        (operand,) = ins
        return [known.partly(eqn.outs[0], _reshaped(eqn, operand.mask), _reshaped(eqn, operand.value), operand.static)]

    def demand(self, eqn: Equation, wants: Sequence[Box | None], ins: Sequence[Known], round_to: int) -> Step:
        """Needs the box around the wanted elements."""
        (want,) = wants
        assert want is not None
        use, have = list(boxes.full(eqn.ins[0].ndim)), list(boxes.full(eqn.outs[0].ndim))
        for block in _blocks(eqn):
            read, made = _block_demand(eqn, block, [want[axis] for axis in block.outs])
            for axis, mask in zip(block.ins, read, strict=True):
                use[axis] = mask
            for axis, mask in zip(block.outs, made, strict=True):
                have[axis] = mask
        return Step((want,), (tuple(use),), inner=tuple(have))

    def evaluate(self, eqn: Equation, step: Step, operands: Sequence[Any]) -> list[tuple[Any, Box]]:
        """Reshapes the box."""
        return [(operands[0].reshape(boxes.cut_shape(step.inner, eqn.outs[0].shape)), step.inner)]

    def couple(self, eqn: Equation, ins: Sequence[Units], coupling: Coupling) -> list[Axes]:
        """Of split or merged axes one carries the units: the first that can leave (the heads of (heads, features))."""
        result: list[np.ndarray] = [np.zeros(0, int)] * eqn.outs[0].ndim
        for block in _blocks(eqn):
            made = _block_units(eqn, block, [ins[0].axes[axis] for axis in block.ins], coupling)
            for axis, units in zip(block.outs, made, strict=True):
                result[axis] = units
        return [tuple(result)]


def _blocks(eqn: Equation) -> list[Block]:
    if 0 in eqn.ins[0].shape:
        return [Block(tuple(range(eqn.ins[0].ndim)), tuple(range(eqn.outs[0].ndim)))]
    return blocks(eqn.ins[0].shape, eqn.outs[0].shape)


def _sizes(eqn: Equation, block: Block) -> tuple[list[int], list[int]]:
    return [eqn.ins[0].shape[axis] for axis in block.ins], [eqn.outs[0].shape[axis] for axis in block.outs]


def _block_demand(eqn: Equation, block: Block, wanted: Sequence[Mask]) -> tuple[Sequence[Mask], Sequence[Mask]]:
    """Returns the masks of a block's axes before and after; those after hold the wanted ones."""
    old, new = _sizes(eqn, block)
    wide, made = (sum(size > 1 for size in sizes) for sizes in (old, new))
    if all(mask is None for mask in wanted) or (wide > 1 and made > 1):
        return boxes.full(len(old)), boxes.full(len(new))
    read = boxes.hull(boxes.outer(wanted, new).reshape(old))
    if wide <= 1:
        return read, wanted
    return read, boxes.hull(boxes.outer(read, old).reshape(new))


def _reshaped(eqn: Equation, values: np.ndarray) -> np.ndarray:
    """Reshapes an array whose axes may have size 1 in the place of what the operand has."""
    shape = [0] * eqn.outs[0].ndim
    for block in _blocks(eqn):
        _, new = _sizes(eqn, block)
        uniform = all(values.shape[axis] == 1 for axis in block.ins)
        if not uniform:
            values = known.spread(values, eqn.ins[0].shape, block.ins)
        for axis, size in zip(block.outs, new, strict=True):
            shape[axis] = 1 if uniform else size
    return values.reshape(shape)


def _block_units(eqn: Equation, block: Block, units: Sequence[np.ndarray], coupling: Coupling) -> Sequence[np.ndarray]:
    old, new = _sizes(eqn, block)
    reason = f"split or merged by {eqn.name} at {eqn.source}"
    wide, made = [axis for axis, n in enumerate(old) if n > 1], [axis for axis, n in enumerate(new) if n > 1]
    result = [coupling.fresh(size) for size in new]
    if len(wide) == 1 and len(made) == 1:
        result[made[0]] = units[wide[0]]
    elif len(wide) == 1 and made:
        rows = units[wide[0]].reshape(new[made[0]], -1)
        result[made[0]] = coupling.join(rows[:, 0], *rows[:, 1:].T)
        for axis in made[1:]:
            coupling.block(result[axis], reason)
    elif len(made) == 1 and wide:
        free = [axis for axis in wide if not coupling.is_blocked(units[axis]).all()]
        carrier = free[0] if free else wide[0]
        for axis in wide:
            if axis != carrier:
                coupling.block(units[axis], reason)
        shape = boxes.along(units[carrier], carrier, len(old))
        result[made[0]] = np.broadcast_to(shape, old).reshape(-1)
    else:
        for some in (*units, *result):
            coupling.block(some, reason)
    return result


register(Reshape(), "reshape")
