"""What is left of each parameter, and the same cut of whatever is shaped like the parameters."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from lim_jax.sparsity.groups import leaves_by_path
from lim_jax.structure import boxes
from lim_jax.structure.boxes import Box

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Cut:
    """What is left of one parameter.

    Attributes:
      shape: the shape that it had.
      part: for each axis, bool (size,) of the indices that stay, or None if all do. A parameter that nobody reads keeps
        its place in the tree, with size 0 along each axis; scalars stay.
    """

    shape: tuple[int, ...]
    part: Box

    @property
    def compact_shape(self) -> tuple[int, ...]:
        """The shape that it has."""
        return boxes.cut_shape(self.part, self.shape)

    def __call__(self, array: Any) -> Any:
        """Returns what is left of an array of that shape."""
        if all(mask is None for mask in self.part):
            return array
        whole = boxes.full(len(self.shape))
        if not _has_values_here(array):
            return boxes.narrow(array, whole, self.part)
        # By NumPy: a gather by XLA would be a program to compile for each shape and place.
        return jax.device_put(boxes.narrow(np.asarray(array), whole, self.part), array.sharding)


Cuts = Mapping[str, Cut]


def cuts_of(params: PyTree, parts: Sequence[Box | None]) -> dict[str, Cut]:
    """Returns the cuts by the parameters' paths, given the part that is needed of each."""
    cuts = {}
    for (path, leaf), part in zip(leaves_by_path(params).items(), parts, strict=True):
        shape = tuple(np.shape(leaf))
        cuts[path] = Cut(shape, tuple(np.zeros(size, bool) for size in shape) if part is None else part)
    return cuts


def take(tree: PyTree, cuts: Cuts) -> PyTree:
    """Cuts a tree that is shaped like the parameters or holds such trees: optimizer state, batch statistics, gradients.

    A leaf is cut like the parameter whose path its own path ends in, if it has that parameter's shape.

    Args:
      tree: any tree of arrays.
      cuts: from `Compacted.cuts`.

    Returns:
      The tree with smaller leaves; those that belong to no parameter are left as they are.
    """
    flat, treedef = jax.tree_util.tree_flatten_with_path(tree)
    paths = leaves_by_path(tree)
    if len(paths) != len(flat):
        raise ValueError("two leaves have the same path")
    taken = []
    for path, leaf in paths.items():
        cut = cut_for(path, tuple(np.shape(leaf)), cuts)
        taken.append(leaf if cut is None else cut(leaf))
    return jax.tree.unflatten(treedef, taken)


def _has_values_here(array: Any) -> bool:
    """Says whether an array is one of JAX's of which this process has all values, alike on all devices."""
    if not isinstance(array, jax.Array) or isinstance(array, Tracer):
        return False
    numbers = not jax.numpy.issubdtype(array.dtype, jax.dtypes.extended)
    return numbers and array.is_fully_addressable and array.is_fully_replicated


def cut_for(path: str, shape: tuple[int, ...], cuts: Cuts) -> Cut | None:
    """Returns the cut of the parameter whose path a path ends in, if it had that shape."""
    names = path.split("/")
    for start in range(len(names)):
        cut = cuts.get("/".join(names[start:]))
        if cut is not None and cut.shape == shape:
            return cut
    return None
