"""What a network's groups look like: how many are zero, layer by layer, and how that changed.

`zero_groups` and `count_zero_groups` stay on the device and can run inside a jitted step; `sparsity_summary` is the
report that people and files get.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.ops.group_sums import inside
from lim_jax.runtime.tables import aligned
from lim_jax.sparsity import groups as groups_lib
from lim_jax.sparsity.groups import Groups, Layer, Sizes

PyTree = Any


@dataclasses.dataclass(frozen=True)
class LayerSparsity:
    """Counts of one layer.

    Attributes:
      groups: number of groups.
      zero_groups: number of groups that are all zero.
      parameters: number of elements of all groups.
      parameters_in_zero_groups: number of elements of zero groups: what compaction can remove.
      zero_parameters: number of elements that are zero, in whatever group.
    """

    groups: int
    zero_groups: int
    parameters: int
    parameters_in_zero_groups: int
    zero_parameters: int


@dataclasses.dataclass(frozen=True)
class SparsitySummary:
    """How sparse a network is. `print` shows it as a table.

    Attributes:
      layers: counts per layer, in the order of the parameters.
    """

    layers: dict[str, LayerSparsity]

    @property
    def total(self) -> LayerSparsity:
        """The sums over all layers."""
        fields = [field.name for field in dataclasses.fields(LayerSparsity)]
        return LayerSparsity(*(sum(getattr(layer, name) for layer in self.layers.values()) for name in fields))

    @property
    def group_percent(self) -> float:
        """Group sparsity: percentage of groups that are all zero."""
        return _percent(self.total.zero_groups, self.total.groups)

    @property
    def parameter_percent(self) -> float:
        """Parameter sparsity: percentage of the parameters with groups that lie in zero groups."""
        return _percent(self.total.parameters_in_zero_groups, self.total.parameters)

    @property
    def zero_parameter_percent(self) -> float:
        """Percentage of the parameters with groups that are zero, in zero groups or not (for unstructured l1)."""
        return _percent(self.total.zero_parameters, self.total.parameters)

    def to_json(self) -> dict[str, Any]:
        """Returns the "sparsity" entry of `results.json`."""
        return {
            "group_percent": self.group_percent,
            "parameter_percent": self.parameter_percent,
            "zero_parameter_percent": self.zero_parameter_percent,
            "layers": {
                name: {"groups": layer.groups, "zero_groups": layer.zero_groups} for name, layer in self.layers.items()
            },
        }

    def __str__(self) -> str:
        rows = [("layer", "groups", "zero", "%", "parameters", "in zero groups", "%")]
        for name, layer in [*self.layers.items(), ("total", self.total)]:
            rows.append(
                (
                    name,
                    f"{layer.groups}",
                    f"{layer.zero_groups}",
                    f"{_percent(layer.zero_groups, layer.groups):.1f}",
                    f"{layer.parameters}",
                    f"{layer.parameters_in_zero_groups}",
                    f"{_percent(layer.parameters_in_zero_groups, layer.parameters):.1f}",
                )
            )
        return aligned(rows)


def sparsity_summary(params: PyTree, groups: Groups, original: Sizes | None = None) -> SparsitySummary:
    """Counts zero groups and the parameters in them.

    Args:
      params: the parameters, on a device or not.
      groups: which axis of which parameter forms groups; see `lim_jax.sparsity.groups`.
      original: `layer_sizes` of the parameters before groups were removed from the network, if they were: the counts
        are then those of that network, in which what was removed is zero.

    Returns:
      The counts, as a dataclass of Python numbers.
    """
    found = tuple(groups_lib.layers(groups, params))
    zeros, nonzero = jax.device_get(_count(params, found))
    result = {}
    for layer in found:
        zero = int(np.sum(zeros[layer.name]))
        result[layer.name] = LayerSparsity(
            groups=layer.num_groups,
            zero_groups=zero,
            parameters=layer.num_parameters,
            parameters_in_zero_groups=zero * layer.group_size,
            zero_parameters=layer.num_parameters - int(nonzero[layer.name]),
        )
    return SparsitySummary(result if original is None else _in_original(result, original))


def _in_original(counts: Mapping[str, LayerSparsity], original: Sizes) -> dict[str, LayerSparsity]:
    """Returns the counts of a network, given those of what is left of it."""
    result = {}
    for name, size in original.items():
        left = counts.get(name, LayerSparsity(0, 0, 0, 0, 0))
        zero = size.groups - (left.groups - left.zero_groups)
        parameters = size.groups * size.group_size
        nonzero = left.parameters - left.zero_parameters
        result[name] = LayerSparsity(size.groups, zero, parameters, zero * size.group_size, parameters - nonzero)
    return result


def zero_groups(params: PyTree, groups: Groups) -> dict[str, jax.Array]:
    """Returns, per layer, a boolean array with one entry per group: whether the group is all zero. Can be jitted."""
    leaves = jax.tree.leaves(params)
    return {layer.name: groups_lib.zero_groups(layer, leaves) for layer in groups_lib.layers(groups, params)}


def count_zero_groups(params: PyTree, groups: Groups) -> tuple[jax.Array, jax.Array]:
    """Counts zero groups on the device, for logging from inside a jitted step.

    Returns:
      Two int32 scalars: the number of zero groups and the number of parameters that lie in them.
    """
    leaves = jax.tree.leaves(params)
    number = parameters = jnp.zeros((), jnp.int32)
    for layer in groups_lib.layers(groups, params):
        zeros = jnp.sum(groups_lib.zero_groups(layer, leaves), dtype=jnp.int32)
        number += zeros
        parameters += zeros * layer.group_size
    return number, parameters


def pattern_changes(
    before: Mapping[str, jax.Array | np.ndarray], after: Mapping[str, jax.Array | np.ndarray]
) -> tuple[int, int]:
    """Compares two results of `zero_groups`, e.g. of successive epochs, to see when the pattern settles.

    Returns:
      The number of groups that died (became zero) and the number that revived.
    """
    died = sum(int(np.sum(~np.asarray(before[name]) & np.asarray(after[name]))) for name in after)
    revived = sum(int(np.sum(np.asarray(before[name]) & ~np.asarray(after[name]))) for name in after)
    return died, revived


def group_norms(params: PyTree, groups: Groups) -> dict[str, jax.Array]:
    """Returns, per layer, the norm of each group over the square root of its size, for histograms. Can be jitted."""
    leaves = jax.tree.leaves(params)
    norms = {}
    for layer in groups_lib.layers(groups, params):
        squares = jnp.zeros(layer.group_shape, jnp.float32)
        for index, axes in zip(layer.leaves, layer.axes, strict=True):
            squares += jnp.sum(jnp.square(leaves[index].astype(jnp.float32)), axis=inside(leaves[index], axes))
        norms[layer.name] = jnp.sqrt(squares * (layer.num_groups / layer.num_parameters))
    return norms


@functools.partial(jax.jit, static_argnums=1)
def _count(params: PyTree, found: tuple[Layer, ...]) -> tuple[dict[str, jax.Array], dict[str, jax.Array]]:
    leaves = jax.tree.leaves(params)
    zeros = {layer.name: groups_lib.zero_groups(layer, leaves) for layer in found}
    nonzero = {
        layer.name: jnp.stack([jnp.count_nonzero(leaves[index]) for index in layer.leaves]).sum() for layer in found
    }
    return zeros, nonzero


def _percent(part: int, whole: int) -> float:
    return 100.0 * part / whole if whole else 0.0
