"""What is left of each convolution of a network; trees of arrays (parameters, moments, statistics) cut accordingly."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lim_jax.compaction import graph as graph_lib

PyTree = Any


@dataclasses.dataclass(frozen=True)
class Cut:
    """What is left of one convolution.

    Attributes:
      rows: positions of what stays along the kernel's input axis, in their new order.
      columns: of what stays along its output axis.
      inputs: the channels of the compact source that it reads, or None for all.
      has_border_kernel: whether it has a kernel on a channel of ones (a parameter called `constant_kernel`).
    """

    rows: np.ndarray
    columns: np.ndarray
    inputs: tuple[int, ...] | None
    has_border_kernel: bool


def take(tree: PyTree, cuts: Mapping[str, Cut]) -> dict[str, Any]:
    """Returns what is left of a tree shaped like the parameters or the batch statistics, such as Adam's moments.

    Constants are not folded: a `constant_kernel` has what it had, or zeros where it is new.
    """
    taken = _copied(tree)
    for path, cut in cuts.items():
        old = graph_lib.branch_of(tree, path)
        _put(taken, path.split("/"), _cut_branch(old, cut) if len(cut.columns) else {})
    return taken


def _cut_branch(old: Mapping[str, Any], cut: Cut) -> dict[str, Any]:
    branch: dict[str, Any] = {}
    for name, array in old.items():
        if isinstance(array, Mapping):
            branch[name] = {inner: vector[cut.columns] for inner, vector in array.items()}
        elif name == "kernel":
            if len(cut.rows):
                branch[name] = array[:, :, cut.rows][..., cut.columns]
        elif name == "bias":
            branch[name] = array[cut.columns]
    if cut.has_border_kernel and graph_lib.BORDER_KERNEL in old:
        branch[graph_lib.BORDER_KERNEL] = old[graph_lib.BORDER_KERNEL][..., cut.columns]
    elif cut.has_border_kernel and "kernel" in old:
        size = old["kernel"].shape[0]
        branch[graph_lib.BORDER_KERNEL] = np.zeros((size, size, 1, len(cut.columns)), np.float32)
    return branch


def _copied(tree: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _copied(branch) if isinstance(branch, Mapping) else branch for name, branch in tree.items()}


def _put(tree: dict[str, Any], path: Sequence[str], branch: Mapping[str, Any]) -> None:
    """Replaces the branch at a path in place; one without leaves goes, and what becomes empty above it."""
    name, *others = path
    if others:
        inner = tree.get(name, {})
        _put(inner, others, branch)
        branch = inner
    if branch:
        tree[name] = branch
    else:
        tree.pop(name, None)
