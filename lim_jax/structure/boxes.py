"""Boxes: which indices of each axis of an array matter.

A box has one entry per axis: None for all indices, or a bool array of the axis's length. It stands for the part
`array[np.ix_(...)]`. Where no element matters at all there is no box (None).
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

Mask = np.ndarray | None
Box = tuple[Mask, ...]


def full(ndim: int) -> Box:
    """Returns the box of everything."""
    return (None,) * ndim


def simplified(mask: Mask) -> Mask:
    """Returns None in the place of a mask that is all true."""
    return None if mask is None or mask.all() else mask


def as_mask(mask: Mask, size: int) -> np.ndarray:
    """Returns a mask as a bool array."""
    return np.ones(size, bool) if mask is None else mask


def indices(mask: Mask, size: int) -> np.ndarray:
    """Returns the chosen indices, increasing."""
    return np.arange(size) if mask is None else np.flatnonzero(mask)


def count(mask: Mask, size: int) -> int:
    """Returns how many indices are chosen."""
    return size if mask is None else int(mask.sum())


def cut_shape(box: Box, shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the shape of the part of an array that a box stands for."""
    return tuple(count(mask, size) for mask, size in zip(box, shape, strict=True))


def either(a: Mask, b: Mask) -> Mask:
    """Returns the union of two masks."""
    return None if a is None or b is None else simplified(a | b)


def without(mask: Mask, allowed: Mask) -> Mask:
    """Returns a mask that leaves out an index only where it is among those that may be left out."""
    return mask if mask is None or allowed is None else simplified(mask | ~allowed)


def union(a: Box | None, b: Box | None) -> Box | None:
    """Returns the smallest box that holds two."""
    if a is None or b is None:
        return b if a is None else a
    return tuple(map(either, a, b))


def contains(a: Box, b: Box) -> bool:
    """Says whether all of `b` lies in `a`."""
    return all(x is None or (y is not None and not (y & ~x).any()) for x, y in zip(a, b, strict=True))


def rounded(mask: Mask, multiple: int) -> Mask:
    """Returns a mask with so many more indices that their number is a multiple, as far as there are any."""
    if mask is None:
        return None
    chosen = mask.copy()
    chosen[np.flatnonzero(~mask)[: -int(mask.sum()) % multiple]] = True
    return simplified(chosen)


def hull(mask: np.ndarray) -> Box:
    """Returns the smallest box around the true elements of a bool array."""
    axes = range(mask.ndim)
    found = (mask.any(axis=tuple(other for other in axes if other != axis)) for axis in axes)
    return tuple(simplified(np.asarray(each)) for each in found)


def outer(masks: Sequence[Mask], sizes: Sequence[int]) -> np.ndarray:
    """Returns a bool array of shape `sizes` that is true inside a box."""
    result = np.ones(tuple(sizes), bool)
    for axis, mask in enumerate(masks):
        if mask is not None:
            result &= along(mask, axis, len(sizes))
    return result


def along(vector: np.ndarray, axis: int, ndim: int) -> np.ndarray:
    """Returns a vector as an array of `ndim` axes that extends along one of them."""
    return vector.reshape([-1 if other == axis else 1 for other in range(ndim)])


def restrict(values: np.ndarray, box: Box) -> np.ndarray:
    """Returns the part of an array that a box stands for; axes of size 1 hold for all indices and stay."""
    for axis, mask in enumerate(box):
        if mask is not None and values.shape[axis] != 1:
            values = np.compress(mask, values, axis)
    return values


def narrow(array: Any, have: Box, want: Box) -> Any:
    """Returns the part `want` of an array of which `array` is the part `have`."""
    for axis, (old, new) in enumerate(zip(have, want, strict=True)):
        if new is None or (old is not None and np.array_equal(old, new)):
            continue
        chosen = new if old is None else new[old]
        array = take(array, np.flatnonzero(chosen), axis)
    return array


def take(array: Any, chosen: np.ndarray, axis: int) -> Any:
    """Returns `array` at some indices along an axis: by a slice where they are consecutive, else by a gather."""
    if len(chosen) == array.shape[axis] and (chosen == np.arange(len(chosen))).all():
        return array
    if isinstance(array, np.ndarray):
        return np.take(array, chosen, axis)
    if len(chosen) and (np.diff(chosen) == 1).all():
        return array[(slice(None),) * axis + (slice(int(chosen[0]), int(chosen[-1]) + 1),)]
    return jnp.take(array, chosen, axis=axis, mode="clip")
