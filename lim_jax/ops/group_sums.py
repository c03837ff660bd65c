"""Sums over groups, several at once in one pass over the arrays: what the proximal operators spend their time on.

A group is entry `c` along some axes of an array, its `Axes`; all other axes are inside the group. What there is one of
per group has the shape of those axes.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

# Sums over a group first add up at most `ROWS` rows of `LANES` neighbours, one row to the other. Of all forms of
# several sums in one pass that were tried, XLA makes vector instructions on CPUs of this one only: 0.2 instead of 2 ns
# an element. It does so for products of few factors.
LANES = 16
ROWS = 16

Axes = tuple[int, ...]


def inside(array: jax.Array, kept: Axes) -> Axes:
    """Returns the axes of `array` that lie inside its groups."""
    return tuple(axis for axis in range(array.ndim) if axis not in kept)


def spread(per_group: jax.Array, array: jax.Array, kept: Axes) -> jax.Array:
    """Shapes one value per group so that it broadcasts against `array`."""
    return jnp.expand_dims(per_group, inside(array, kept))


def totals(
    terms: Callable[..., tuple[jax.Array, ...]],
    arrays: Sequence[tuple[jax.Array, ...]],
    axes: Sequence[Axes],
    *per_group: jax.Array,
) -> tuple[jax.Array, ...]:
    """Sums the quantities `terms(*arrays, *per_group)` over each group that may span several arrays.

    Args:
      terms: elementwise; gets one tuple of `arrays` and `per_group` shaped to broadcast against them.
      arrays: for each array that the groups lie in, what is in its place: arrays of the same shape.
      axes: for each of them, the axes that index the groups.
      *per_group: arrays of one value per group.

    Returns:
      One array of a value per group for each quantity.
    """
    parts = []
    for together, kept in zip(arrays, axes, strict=True):
        quantities = terms(*together, *(spread(value, together[0], kept) for value in per_group))
        parts.append(_sum_inside(quantities, kept))
    return functools.reduce(_add, parts)


def unit(arrays: Sequence[jax.Array], axes: Sequence[Axes]) -> jax.Array:
    """Returns the power of two next below the largest entry of each group of arrays ≥ 0 (1 for zeros).

    Dividing by it is exact.
    """
    maxima = [jnp.max(x, axis=inside(x, kept), initial=0.0) for x, kept in zip(arrays, axes, strict=True)]
    largest = functools.reduce(jnp.maximum, maxima)
    limits = jnp.finfo(largest.dtype)
    # Infinity has the bits of the exponent set and no others.
    exponent = jnp.array(jnp.inf, largest.dtype).view(f"uint{limits.bits}")
    power = (largest.view(exponent.dtype) & exponent).view(largest.dtype)
    power = jnp.clip(power, 2.0 ** (limits.minexp + 2), 2.0 ** (limits.maxexp - 2))
    return jnp.where(largest > 0, power, 1.0)


def _add(left: tuple[jax.Array, ...], right: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    return tuple(x + y for x, y in zip(left, right, strict=True))


def _sum_inside(quantities: tuple[jax.Array, ...], kept: Axes) -> tuple[jax.Array, ...]:
    """Sums arrays of one shape over all axes but `kept`."""
    shape, axes = quantities[0].shape, inside(quantities[0], kept)
    lanes = LANES if axes and axes[-1] == len(shape) - 1 else 1  # otherwise the groups themselves are neighbours
    units = shape[axes[-1]] // lanes if axes else 0
    if units < 2:
        return _reduce(quantities, axes)
    axis, blocks = axes[-1], -(-units // ROWS)
    rows = units // blocks
    whole = blocks * rows * lanes

    def folded(array: jax.Array) -> jax.Array:
        return array.reshape(*shape[:axis], blocks, rows, *([lanes] * (lanes > 1)), *shape[axis + 1 :])

    parts = _reduce(
        tuple(folded(jax.lax.slice_in_dim(array, 0, whole, axis=axis)) for array in quantities), (axis + 1,)
    )
    left = (*axes[:-1], axis, *([axis + 1] * (lanes > 1)))
    sums = _sum_each(parts, left)
    if whole == shape[axis]:
        return sums
    rest = tuple(jax.lax.slice_in_dim(array, whole, shape[axis], axis=axis) for array in quantities)
    return _add(sums, _reduce(rest, axes))


def _sum_each(parts: tuple[jax.Array, ...], axes: Axes) -> tuple[jax.Array, ...]:
    """Sums arrays of one shape over `axes`, stacked: XLA would merge a sum of several with the one that gave them."""
    return tuple(jnp.unstack(jnp.sum(jnp.stack(parts), tuple(axis + 1 for axis in axes))))


def _reduce(quantities: tuple[jax.Array, ...], axes: Axes) -> tuple[jax.Array, ...]:
    """Sums arrays of one shape over `axes`, all at once."""
    return tuple(jax.lax.reduce(quantities, tuple(jnp.zeros((), x.dtype) for x in quantities), _add, axes))
