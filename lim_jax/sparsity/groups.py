"""Which parameters form groups: the one description that penalties, optimizer and summaries share.

`groups` is a pytree shaped like the parameters. Each leaf says along which axis the groups of that parameter are
indexed: `INPUT_CHANNELS` (-2) of a convolution kernel in HWIO layout makes one group of every `kernel[:, :, c, :]`;
`None` leaves the parameter alone. Wherever `groups` is expected, a callable `params -> groups` and a list of rules
`(regular expression, axis)` do as well: rules are searched in the path of each parameter ("backbone/conv1/kernel"), the
first that matches wins, and each must match something.

    groups = [(r"Conv_0/kernel", None), (r"Conv_\\d+/kernel", INPUT_CHANNELS), (r"Dense_0/kernel", ROWS)]

Trees of any registered type work (dict, FrozenDict, NNX state, Equinox modules), and so do trees of which optax
masked a part: everything here goes by path.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from lim_jax.errors import UserError
from lim_jax.ops.group_sums import inside
from lim_jax.ops.reference import Axes
from lim_jax.runtime.tables import aligned
from lim_jax.sparsity.proximal import normalize_axes

PyTree = Any


@dataclasses.dataclass(frozen=True)
class GroupAxis:
    """The groups of one parameter.

    Attributes:
      axes: the axis that indexes the groups, several such axes, or () for one group made of the whole parameter.
      joint: a name; parameters with the same one share their groups: group `c` is entry `c` of all of them together.
    """

    axes: int | tuple[int, ...]
    joint: str | None = None


INPUT_CHANNELS = -2
OUTPUT_CHANNELS = -1
ROWS = -2
COLUMNS = -1
WHOLE_LEAF = GroupAxis(())

Axis = int | GroupAxis | None
Rules = Sequence[tuple[str, Axis]]
Groups = PyTree | Callable[[PyTree], PyTree] | Rules


@dataclasses.dataclass(frozen=True)
class Layer:
    """The groups of one parameter, or of several that share them.

    Attributes:
      name: the parameter's path without a last "/kernel", or the shared name.
      paths: the parameters' paths.
      leaves: the parameters' positions among the leaves of the tree.
      axes: for each parameter, the axes that index the groups, increasing and not negative.
      shapes: the parameters' shapes.
    """

    name: str
    paths: tuple[str, ...]
    leaves: tuple[int, ...]
    axes: tuple[Axes, ...]
    shapes: tuple[tuple[int, ...], ...]

    @property
    def group_shape(self) -> tuple[int, ...]:
        """The shape of an array with one entry per group."""
        return tuple(self.shapes[0][axis] for axis in self.axes[0])

    @property
    def num_groups(self) -> int:
        """The number of groups."""
        return math.prod(self.group_shape)

    @property
    def num_parameters(self) -> int:
        """The number of elements of all groups."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def group_size(self) -> int:
        """The number of elements of one group."""
        return self.num_parameters // max(self.num_groups, 1)


class LayerSize(NamedTuple):
    """How large a layer is.

    Attributes:
      groups: number of its groups.
      group_size: number of elements of one of them.
    """

    groups: int
    group_size: int


Sizes = Mapping[str, LayerSize]


def layer_sizes(params: PyTree, groups: Groups) -> dict[str, LayerSize]:
    """Returns the size of each layer with groups, by its name.

    Where groups are removed from a network while it trains, the sizes from before say what the rest is a part of.
    """
    return {layer.name: LayerSize(layer.num_groups, layer.group_size) for layer in layers(groups, params)}


def match_groups(params: PyTree, rules: Rules) -> PyTree:
    """Returns the `groups` tree that the rules describe.

    Args:
      params: the parameters.
      rules: pairs of a regular expression, searched in each parameter's path, and an axis (int, `GroupAxis`, or None
        for "not sparse"). The first that matches a path decides; what none matches is not sparse.

    Raises:
      UserError: if a rule matches no parameter.
    """
    paths, treedef = _paths(params)
    for pattern, _ in rules:
        if not any(re.search(pattern, path) for path in paths):
            shown = ", ".join(paths[:4]) + (", ..." if len(paths) > 4 else "")
            raise UserError(f"groups: {pattern!r} matches no parameter; the paths look like {shown}")
    axes = [next((axis for pattern, axis in rules if re.search(pattern, path)), None) for path in paths]
    return jax.tree.unflatten(treedef, axes)


def layers(groups: Groups, params: PyTree) -> list[Layer]:
    """Resolves `groups` against the parameters: one entry per parameter with groups, or per shared name.

    Args:
      groups: a tree, a callable or rules; see the module's docstring.
      params: the parameters; only shapes and paths are read, so tracers and `jax.ShapeDtypeStruct` do.

    Raises:
      UserError: if `groups` names what is not there, or an axis that a parameter lacks.
    """
    paths, _ = _paths(params)
    shapes = [tuple(leaf.shape) for leaf in jax.tree.leaves(params)]
    axis_of = _by_path(groups, params)
    unknown = sorted(set(axis_of) - set(paths))
    if unknown and not _is_masked(params):
        raise UserError(f"groups: {unknown[0]!r} is not among the parameters; shape groups like them")
    members: dict[str, list[tuple[int, Axes]]] = {}
    for index, (path, shape) in enumerate(zip(paths, shapes, strict=True)):
        axis = axis_of.get(path)
        if axis is None:
            continue
        axis = axis if isinstance(axis, GroupAxis) else GroupAxis(axis)
        try:
            axes = normalize_axes(axis.axes, len(shape))
        except ValueError as error:
            raise UserError(f"groups: {path} has shape {shape}: {error}") from error
        members.setdefault(axis.joint or path.removesuffix("/kernel"), []).append((index, axes))
    return [_layer(name, found, paths, shapes) for name, found in members.items()]


def zero_groups(layer: Layer, leaves: Sequence[jax.Array] | Mapping[int, jax.Array]) -> jax.Array:
    """Returns which groups of a layer are all zero: a boolean array of the layer's `group_shape`.

    Args:
      layer: the layer.
      leaves: the leaves of the parameters, or at least those of the layer, by position.
    """
    parts = []
    for index, axes in zip(layer.leaves, layer.axes, strict=True):
        parts.append(jnp.all(leaves[index] == 0, axis=inside(leaves[index], axes)))
    return functools.reduce(jnp.logical_and, parts)


def leaves_by_path(tree: PyTree) -> dict[str, Any]:
    """Returns the leaves of a tree by their paths, "backbone/conv1/kernel"."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {_path_string(path): leaf for path, leaf in flat}


def describe(found: Sequence[Layer]) -> str:
    """Returns a table, one line per layer: name, number of groups, elements of a group, parameters that it spans."""
    rows = [("layer", "groups", "size", "parameters")]
    rows += [(layer.name, str(layer.num_groups), str(layer.group_size), ", ".join(layer.paths)) for layer in found]
    return aligned(rows, left=(0, 3))


def _layer(name: str, found: Sequence[tuple[int, Axes]], paths: Sequence[str], shapes: Sequence[tuple]) -> Layer:
    layer = Layer(
        name=name,
        paths=tuple(paths[index] for index, _ in found),
        leaves=tuple(index for index, _ in found),
        axes=tuple(axes for _, axes in found),
        shapes=tuple(shapes[index] for index, _ in found),
    )
    for path, shape, axes in zip(layer.paths, layer.shapes, layer.axes, strict=True):
        if tuple(shape[axis] for axis in axes) != layer.group_shape:
            raise UserError(
                f"groups: {path} and {layer.paths[0]} share {name!r} but have {shape} and {layer.shapes[0]} as shapes"
            )
    return layer


def _by_path(groups: Groups, params: PyTree) -> dict[str, int | GroupAxis]:
    if _are_rules(groups):
        groups = match_groups(params, cast(Rules, groups))
    elif callable(groups) and type(groups) is not type(params):  # a module of Equinox is a tree that can be called
        groups = groups(params)
    found = leaves_by_path(groups)
    for path, axis in found.items():
        if not isinstance(axis, int | GroupAxis):
            raise UserError(f"groups: {path!r} is {axis!r}; it must be an axis (int), a GroupAxis or None")
    return found


def _are_rules(groups: Groups) -> bool:
    return isinstance(groups, list | tuple) and all(
        isinstance(rule, list | tuple) and len(rule) == 2 and isinstance(rule[0], str) for rule in groups
    )


def _is_masked(params: PyTree) -> bool:
    nodes = jax.tree.leaves(params, is_leaf=lambda node: isinstance(node, optax.MaskedNode))
    return any(isinstance(node, optax.MaskedNode) for node in nodes)


def _paths(params: PyTree) -> tuple[list[str], Any]:
    flat, treedef = jax.tree_util.tree_flatten_with_path(params)
    return [_path_string(path) for path, _ in flat], treedef


def _path_string(path: tuple) -> str:
    # NNX keeps each array in the field `value` of a variable; its path is that of the variable.
    return jax.tree_util.keystr(path, simple=True, separator="/").removesuffix("/value")
