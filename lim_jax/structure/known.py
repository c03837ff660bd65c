"""What is known of an array before the inputs are: which of its elements have which value.

`Known` is the domain of the forward analysis. Its two arrays have size 1 along axes over which nothing differs, so that
what is known of a (batch, height, width, channels) array mostly fits in (1, 1, 1, channels). An element that is known
has that value whatever the inputs are, as long as all values that the program computes are finite: zero times anything
is then zero.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from lim_jax.structure.boxes import Box, along, simplified
from lim_jax.structure.program import Array


@dataclasses.dataclass(frozen=True)
class Known:
    """What is known of one array.

    Attributes:
      array: its shape and dtype.
      mask: bool; which elements are known. Size 1 or the array's along each axis.
      value: what they are; anything elsewhere. Size 1 or the array's along each axis.
      static: whether the array depends on parameters and constants alone; then it is computed when the compact function
        runs, and never replaced by what was known.
    """

    array: Array
    mask: np.ndarray
    value: np.ndarray
    static: bool

    @property
    def zero(self) -> np.ndarray:
        """The elements that are known to be zero."""
        return self.mask & (self.value == 0)

    @property
    def nonzero(self) -> np.ndarray:
        """The elements that may be something else than zero."""
        return ~self.zero

    @property
    def complete(self) -> bool:
        """Whether every element is known."""
        return bool(self.mask.all())

    def full_value(self) -> np.ndarray:
        """Returns the values in the shape of the array."""
        return np.broadcast_to(self.value, self.array.shape)


def nothing(array: Array, static: bool = False) -> Known:
    """Returns what is known where nothing is."""
    ones = (1,) * array.ndim
    return Known(array, np.zeros(ones, bool), np.zeros(ones, _storable(array.dtype)), static)


def exactly(value: Any) -> Known:
    """Returns what is known of a given array of numbers."""
    if isinstance(value, Tracer) or jnp.issubdtype(value.dtype, jax.dtypes.extended):
        return nothing(Array(tuple(value.shape), value.dtype), static=True)
    value = np.asarray(value)
    return Known(Array(value.shape, value.dtype), np.ones((1,) * value.ndim, bool), value, static=True)


def partly(array: Array, mask: np.ndarray, value: np.ndarray, static: bool) -> Known:
    """Returns what is known, with sizes of 1 where nothing differs."""
    mask = compressed(mask)
    if not mask.any():
        return nothing(array, static)
    value = np.where(mask, value, np.zeros((), value.dtype))
    return Known(array, mask, compressed(value), static)


def needed(known: Known, box: Box) -> Box | None:
    """Returns which part of an array must be computed so that all elements in a box can be told."""
    if known.static:
        return None if _is_empty(box) else box
    unknown: Any = ~known.mask
    for axis, mask in enumerate(box):
        if mask is not None:
            unknown = unknown & along(mask, axis, unknown.ndim)
    result = []
    for axis, mask in enumerate(box):
        found = unknown.any(axis=tuple(other for other in range(unknown.ndim) if other != axis))
        result.append(mask if len(found) == 1 and mask is None and found.all() else simplified(found))
    return None if _is_empty(tuple(result)) or not unknown.any() else tuple(result)


def spread(values: np.ndarray, shape: Sequence[int], axes: Sequence[int]) -> np.ndarray:
    """Returns an array with its full size along some axes, and what it had along the others."""
    sizes = [shape[axis] if axis in axes else values.shape[axis] for axis in range(values.ndim)]
    return np.broadcast_to(values, sizes)


def compressed(values: np.ndarray) -> np.ndarray:
    """Returns an array with size 1 along each axis over which it does not change."""
    for axis, size in enumerate(values.shape):
        if size > 1:
            first = values.take([0], axis)
            if (values == first).all():
                values = first
    return values


def compute(bind: Any, *operands: np.ndarray) -> list[np.ndarray]:
    """Returns the results of a primitive on given values."""
    return [np.asarray(result) for result in bind(*(jnp.asarray(operand) for operand in operands))]


def _storable(dtype: Any) -> Any:
    return np.float32 if jnp.issubdtype(dtype, jax.dtypes.extended) else dtype


def _is_empty(box: Box) -> bool:
    return any(mask is not None and not mask.any() for mask in box)
