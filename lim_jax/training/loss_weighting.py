"""The weights s_t of uncertainty weighting (equation 2 of the paper), in one tree with all else that is learned.

They are learned like the network's parameters, under whichever method (`lim_jax.balancing`) uses them. What moves or
stores all that is learned, the optimizer and the checkpoints, sees one tree: the parameters with one more branch.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any
_BRANCH = "loss_weighting"  # of the tree of all that is learned; a name in every checkpoint


def initial_log_variances(tasks: Iterable[str]) -> dict[str, jax.Array]:
    """Returns `{task: s_t}`, float32 scalars: zeros, with which uncertainty weighting starts out as the plain sum."""
    return {task: jnp.float32(0) for task in tasks}


def join(params: PyTree, log_variances: PyTree) -> dict[str, Any]:
    """Returns one tree of the network's parameters and the s_t, or of what is shaped like them."""
    return {**params, _BRANCH: log_variances}


def split(learned: Mapping[str, Any]) -> tuple[dict[str, Any], PyTree]:
    """Returns the network's parameters and the s_t of a tree that `join` made."""
    return {name: branch for name, branch in learned.items() if name != _BRANCH}, learned[_BRANCH]
