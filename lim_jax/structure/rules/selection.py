"""Slices, reversals, splits and padding: each index along an axis of the result is one of the operand's, or padding."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from lim_jax.structure import boxes, known
from lim_jax.structure.boxes import Box, Mask
from lim_jax.structure.coupling import Axes, Coupling, Units
from lim_jax.structure.known import Known
from lim_jax.structure.program import Equation
from lim_jax.structure.rules.base import Step, register

PADDING = -1
Origins = list[np.ndarray | None]  # for each axis, the index of the operand at each index of the result; None: the same


def slice_origins(eqn: Equation) -> list[Origins]:
    """Every so many indices between two."""
    strides = eqn.params["strides"] or (1,) * eqn.outs[0].ndim
    limits = zip(eqn.params["start_indices"], eqn.params["limit_indices"], strides, eqn.ins[0].shape, strict=True)
    return [
        [
            None if (start, stop, step) == (0, size, 1) else np.arange(start, stop, step)
            for start, stop, step, size in limits
        ]
    ]


def reverse_origins(eqn: Equation) -> list[Origins]:
    """The other way round."""
    turned = eqn.params["dimensions"]
    return [[np.arange(size)[::-1] if axis in turned else None for axis, size in enumerate(eqn.ins[0].shape)]]


def split_origins(eqn: Equation) -> list[Origins]:
    """One after the other."""
    axis, results, start = eqn.params["axis"], [], 0
    for size in eqn.params["sizes"]:
        origins: Origins = [None] * eqn.ins[0].ndim
        origins[axis] = np.arange(start, start + size)
        results.append(origins)
        start += size
    return results


def pad_origins(eqn: Equation) -> list[Origins]:
    """Padding before, between and after; where that is negative, less than there was."""
    origins: Origins = []
    for size, (low, high, interior) in zip(eqn.ins[0].shape, eqn.params["padding_config"], strict=True):
        if (low, high, interior) == (0, 0, 0):
            origins.append(None)
            continue
        inner = np.full(max(size + (size - 1) * interior, 0), PADDING)
        inner[:: interior + 1] = np.arange(size)
        padded = np.concatenate([np.full(max(low, 0), PADDING), inner, np.full(max(high, 0), PADDING)])
        origins.append(padded[max(-low, 0) : len(padded) - max(-high, 0)])
    return [origins]


def take_origins(eqn: Equation) -> list[Origins]:
    """Constant indices along one axis."""
    origins: Origins = [None] * eqn.ins[0].ndim
    (axis,) = eqn.params["dimension_numbers"].collapsed_slice_dims
    origins[axis] = np.asarray(eqn.constants[1])[:, 0]
    return [origins]


def is_take(eqn: Equation) -> bool:
    """Says whether a gather takes constant indices along one axis, in its place, as `jnp.take` does."""
    numbers, indices, shape = eqn.params["dimension_numbers"], eqn.constants[1], eqn.ins[0].shape
    if indices is None or np.ndim(indices) != 2 or numbers.operand_batching_dims or len(numbers.start_index_map) != 1:
        return False
    (axis,) = numbers.start_index_map
    inside = np.all((np.asarray(indices) >= 0) & (np.asarray(indices) < shape[axis]))
    whole = all(
        size == n for other, (size, n) in enumerate(zip(eqn.params["slice_sizes"], shape, strict=True)) if other != axis
    )
    in_place = tuple(numbers.offset_dims) == tuple(other for other in range(len(shape)) if other != axis)
    return bool(inside) and whole and in_place and tuple(numbers.collapsed_slice_dims) == (axis,)


ORIGINS = {
    "slice": slice_origins,
    "rev": reverse_origins,
    "split": split_origins,
    "pad": pad_origins,
    "gather": take_origins,
}


class Selection:
    """The rule of these operations; beside the operand they may have the value of padding, or constant indices."""

    def known(self, eqn: Equation, ins: Sequence[Known]) -> list[Known]:
        """What is selected is as known as it was; padding is known if its value is."""
        operand, padding = ins[0], _padding(eqn, ins)
        static = all(each.static for each in ins)
        results = []
        for out, origins in zip(eqn.outs, ORIGINS[eqn.name](eqn), strict=True):
            masks = [operand.mask, *(pad.mask for pad in padding)]
            values = [operand.value, *(pad.value for pad in padding)]
            results.append(known.partly(out, _select(masks, origins), _select(values, origins), static))
        return results

    def demand(self, eqn: Equation, wants: Sequence[Box | None], ins: Sequence[Known], round_to: int) -> Step:
        """Needs what is selected."""
        use: Box | None = None
        for want, origins in zip(wants, ORIGINS[eqn.name](eqn), strict=True):
            if want is not None:
                use = boxes.union(use, _part(eqn, want, origins))
        return Step(tuple(wants), (use, *(() if eqn.name == "pad" else None for _ in ins[1:])))

    def evaluate(self, eqn: Equation, step: Step, operands: Sequence[Any]) -> list[tuple[Any, Box]]:
        """Selects from what there is."""
        use, operand, padding = step.uses[0], operands[0], _padding(eqn, operands)
        assert use is not None
        results = []
        for want, origins in zip(step.wants, ORIGINS[eqn.name](eqn), strict=True):
            if want is None:
                results.append((None, ()))
                continue
            result = operand
            for axis, (mask, origin) in enumerate(zip(want, origins, strict=True)):
                if origin is None:
                    result = boxes.narrow(result, _only(axis, use), _only(axis, want))
                    continue
                wanted = origin if mask is None else origin[mask]
                here = boxes.indices(use[axis], eqn.ins[0].shape[axis])
                places = np.where(wanted == PADDING, len(here), np.searchsorted(here, wanted))
                result = _pick(result, places, axis, padding)
            results.append((result, want))
        return results

    def couple(self, eqn: Equation, ins: Sequence[Units], coupling: Coupling) -> list[Axes]:
        """What is selected is what it was."""
        results = []
        for origins in ORIGINS[eqn.name](eqn):
            result = []
            for units, origin in zip(ins[0].axes, origins, strict=True):
                if origin is not None:
                    made = coupling.fresh(len(origin))
                    units = np.where(origin == PADDING, made, units[np.maximum(origin, 0)])
                result.append(units)
            results.append(tuple(result))
        return results


def _padding(eqn: Equation, each: Sequence[Any]) -> Sequence[Any]:
    return each[1:] if eqn.name == "pad" else ()


def _part(eqn: Equation, want: Box, origins: Origins) -> Box:
    part: list[Mask] = []
    for size, mask, origin in zip(eqn.ins[0].shape, want, origins, strict=True):
        if origin is not None:
            wanted = origin if mask is None else origin[mask]
            mask = np.zeros(size, bool)
            mask[wanted[wanted != PADDING]] = True
        part.append(boxes.simplified(mask))
    return tuple(part)


def _only(axis: int, box: Box) -> Box:
    return tuple(mask if other == axis else None for other, mask in enumerate(box))


def _pick(array: Any, places: np.ndarray, axis: int, padding: Sequence[Any]) -> Any:
    """Returns an array at some places along an axis; the one past its end is padding."""
    size = array.shape[axis]
    if (places == size).any():
        edge = jnp.broadcast_to(padding[0], [1 if other == axis else n for other, n in enumerate(array.shape)])
        array = jnp.concatenate([array, edge], axis)
    return boxes.take(array, places, axis)


def _select(arrays: Sequence[np.ndarray], origins: Origins) -> np.ndarray:
    """Returns what is selected of an array of which axes may have size 1; the second one is the padding."""
    array, *padding = arrays
    for axis, origin in enumerate(origins):
        if origin is None:
            continue
        inside = origin != PADDING
        if array.shape[axis] > 1:
            array = array.take(np.maximum(origin, 0), axis)
        if not inside.all():
            array = np.where(boxes.along(inside, axis, array.ndim), array, padding[0])
    return array


TAKE = Selection()
register(TAKE, *(name for name in ORIGINS if name != "gather"))
