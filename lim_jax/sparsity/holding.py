"""Which zeros stay zero in a step: all of them, or no more than it takes to leave a wanted share at zero.

What a step brings back comes back in the order of its size: the largest first, as far as the share allows. So a step
that would leave too few at zero is neither refused whole nor taken whole.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from lim_jax.ops.group_sums import inside, spread
from lim_jax.sparsity import groups as groups_lib

PyTree = Any
Leaves = Sequence[jax.Array] | Mapping[int, jax.Array]
Units = Mapping[Any, jax.Array]

_INFINITY = 0x7F800000  # the bits of a float32


def with_zeros_held(updates: PyTree, params: PyTree, held: Mapping[int, jax.Array | bool]) -> PyTree:
    """Returns updates that leave zeros as they are where `held`, by the position of a parameter among the leaves."""
    steps, treedef = jax.tree.flatten(updates)
    leaves = jax.tree.leaves(params)
    for index, stays in held.items():
        steps[index] = jnp.where((leaves[index] == 0) & stays, 0, steps[index])
    return jax.tree.unflatten(treedef, steps)


@dataclasses.dataclass(frozen=True)
class Counting:
    """The units whose zeros count: groups, by the name of their layer, or single parameters, by their leaf's position.

    Attributes:
      layers: the layers with groups.
      singly: whether parameters count one by one.
      share: what is made of the zeros, an array of booleans per layer or leaf: a scalar that grows with them.
    """

    layers: Sequence[groups_lib.Layer]
    singly: bool
    share: Callable[[Units], jax.Array]

    def held(self, before: Leaves, after: Leaves, least: jax.Array) -> tuple[dict[int, jax.Array], jax.Array]:
        """Returns which zeros have to stay so that `least` is left, and what is left then.

        Args:
          before: parameters before the step.
          after: parameters with groups after the step, if none is held.
          least: the least `share` to leave; where not even all zeros together are as much, all stay.

        Returns:
          For each leaf with groups an array of booleans that fits its shape; and the share.
        """
        zero = self._zeros(after)
        unheld = self.share(zero)

        def search() -> tuple[Units, jax.Array]:
            sizes = self._sizes(before, after)

            def left(bound: jax.Array) -> jax.Array:
                stays = {key: (size <= bound) & (size < jnp.inf) for key, size in sizes.items()}
                return self.share({key: zero[key] | stays[key] for key in zero})

            bound = _least_bound(left, least)
            return {key: sizes[key] <= bound for key in zero}, left(bound)

        none = {key: jnp.zeros(units.shape, bool) for key, units in zero.items()}
        stays, left = jax.lax.cond(unheld < least, search, lambda: (none, unheld))
        return self._by_leaf(stays, before), left

    def _zeros(self, leaves: Leaves) -> Units:
        if self.singly:
            return {index: leaves[index] == 0 for layer in self.layers for index in layer.leaves}
        return {layer.name: groups_lib.zero_groups(layer, leaves) for layer in self.layers}

    def _sizes(self, before: Leaves, after: Leaves) -> Units:
        """Returns the mean absolute value that zero units have after the step; infinity for those that were not zero,
        whose single zeros stay only with all others.
        """
        zero = self._zeros(before)
        sizes = {}
        for layer in self.layers:
            if self.singly:
                sizes |= {index: jnp.abs(after[index]) for index in layer.leaves}
            else:
                members = zip(layer.leaves, layer.axes, strict=True)
                parts = [jnp.sum(jnp.abs(after[index]), inside(after[index], axes)) for index, axes in members]
                sizes[layer.name] = sum(parts) / layer.group_size
        return {key: jnp.where(zero[key], size.astype(jnp.float32), jnp.inf) for key, size in sizes.items()}

    def _by_leaf(self, units: Units, leaves: Leaves) -> dict[int, jax.Array]:
        if self.singly:
            return dict(units)
        return {
            index: spread(units[layer.name], leaves[index], axes)
            for layer in self.layers
            for index, axes in zip(layer.leaves, layer.axes, strict=True)
        }


def _least_bound(left: Callable[[jax.Array], jax.Array], least: jax.Array) -> jax.Array:
    """Returns the smallest float32 that is not negative and has `left(bound) >= least`, or infinity if none has.

    `left` grows with the bound, and so do floats with their bits: halving them finds the bound exactly, in 31 steps.
    """

    def as_float(bits: jax.Array) -> jax.Array:
        return jax.lax.bitcast_convert_type(bits, jnp.float32)

    def halved(bounds: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        low, high = bounds
        middle = low + (high - low) // 2
        enough = left(as_float(middle)) >= least
        return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

    infinity = jnp.int32(_INFINITY)
    low = jnp.where(left(jnp.float32(jnp.inf)) >= least, jnp.int32(-1), infinity)
    return as_float(jax.lax.while_loop(lambda bounds: bounds[1] - bounds[0] > 1, halved, (low, infinity))[1])
