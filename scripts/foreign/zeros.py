"""Zero groups at random, as a group lasso leaves them."""

from typing import Any

import jax
import numpy as np

from lim_jax.sparsity import groups as groups_lib

PyTree = Any


def with_zero_groups(params: PyTree, groups: groups_lib.Groups, share: float, seed: int) -> PyTree:
    """Returns parameters, on the host, of whose groups about a share is zero, in each layer others."""
    rng = np.random.default_rng(seed)
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(params)]
    for layer in groups_lib.layers(groups, params):
        survives = rng.random(layer.group_shape) >= share
        for index, axes in zip(layer.leaves, layer.axes, strict=True):
            shape = [size if axis in axes else 1 for axis, size in enumerate(leaves[index].shape)]
            leaves[index] = leaves[index] * survives.reshape(shape)
    return jax.tree.unflatten(jax.tree.structure(params), leaves)
