"""One loss from the tasks' losses: uncertainty weighting (equation 2 of the paper), or a plain sum.

The s_t are learned like the network's parameters. What moves or stores all that is learned, the optimizer and the
checkpoints, sees one tree: the parameters with one more branch.
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


def combine(
    losses: Mapping[str, jax.typing.ArrayLike],
    valid_counts: Mapping[str, jax.typing.ArrayLike],
    log_variances: Mapping[str, jax.Array] | None = None,
) -> jax.Array:
    """Returns the loss that training minimises, a float32 scalar.

    `Σ_t exp(-s_t) L_t + s_t` over the tasks that the batch has labels for: Kendall, Gal and Cipolla,
    "Multi-task learning using uncertainty to weigh losses for scene geometry and semantics", CVPR 2018. A task
    without labels in the batch contributes nothing, neither to the value nor to any gradient, that of its `s_t`
    included.

    Args:
      losses: L_t per task, scalars: the mean over the whole batch (over all devices). Ignored, even if NaN,
        where the count is 0.
      valid_counts: number of valid pixels or examples per task in that batch, scalars.
      log_variances: s_t per task, scalars; None for the plain sum `Σ_t L_t`.
    """
    total = jnp.float32(0)
    for task, loss in losses.items():
        present = jnp.greater(valid_counts[task], 0)
        term = jnp.where(present, loss, 0)  # before the product, where a NaN would reach the gradient of s_t
        if log_variances is not None:
            term = jnp.exp(-log_variances[task]) * term + log_variances[task]
        total += jnp.where(present, term, 0)
    return total
