"""Sums over groups, several at once in one pass over the arrays: what the proximal operators spend their time on.

A group is entry `c` along some axes of an array, its `Axes`; all other axes are inside the group. What there is one of
per group has the shape of those axes. How an array is summed over its groups is a form (`ops.Forms.sum_groups`).
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from lim_jax.ops.forms import SumGroups
from lim_jax.ops.reference import Axes


def inside(array: jax.Array, group_axes: Axes) -> Axes:
    """Returns the axes of `array` that lie inside its groups."""
    return tuple(axis for axis in range(array.ndim) if axis not in group_axes)


def spread(per_group: jax.Array, array: jax.Array, group_axes: Axes) -> jax.Array:
    """Shapes one value per group so that it broadcasts against `array`."""
    return jnp.expand_dims(per_group, inside(array, group_axes))


def totals(
    terms: Callable[..., tuple[jax.Array, ...]],
    arrays: Sequence[tuple[jax.Array, ...]],
    axes: Sequence[Axes],
    *per_group: jax.Array,
    sum_groups: SumGroups,
) -> tuple[jax.Array, ...]:
    """Sums the quantities `terms(*arrays, *per_group)` over each group that may span several arrays.

    Args:
      terms: elementwise; gets one tuple of `arrays` and `per_group` shaped to broadcast against them.
      arrays: for each array that the groups lie in, what is in its place: arrays of the same shape.
      axes: for each of them, the axes that index the groups.
      *per_group: arrays of one value per group.
      sum_groups: how.

    Returns:
      One array of a value per group for each quantity.
    """
    parts = []
    for together, group_axes in zip(arrays, axes, strict=True):
        quantities = terms(*together, *(spread(value, together[0], group_axes) for value in per_group))
        parts.append(sum_groups(quantities, group_axes))
    return functools.reduce(add, parts)


def unit(arrays: Sequence[jax.Array], axes: Sequence[Axes]) -> jax.Array:
    """Returns the power of two next below the largest entry of each group of arrays ≥ 0 (1 for zeros).

    Dividing by it is exact.
    """
    maxima = [jnp.max(x, axis=inside(x, group_axes), initial=0.0) for x, group_axes in zip(arrays, axes, strict=True)]
    largest = functools.reduce(jnp.maximum, maxima)
    limits = jnp.finfo(largest.dtype)
    # Infinity has the bits of the exponent set and no others.
    exponent = jnp.array(jnp.inf, largest.dtype).view(f"uint{limits.bits}")
    power = (largest.view(exponent.dtype) & exponent).view(largest.dtype)
    power = jnp.clip(power, 2.0 ** (limits.minexp + 2), 2.0 ** (limits.maxexp - 2))
    return jnp.where(largest > 0, power, 1.0)


def add(left: tuple[jax.Array, ...], right: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
    """Adds several sums at once."""
    return tuple(x + y for x, y in zip(left, right, strict=True))
