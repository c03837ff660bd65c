"""Weights that are learned with the network, the inverse variances of the tasks (equation 2 of the paper)."""

import dataclasses

import jax
import jax.numpy as jnp

from lim_jax.balancing.base import LossBalancing, weighted_sum


@dataclasses.dataclass(frozen=True)
class Uncertainty(LossBalancing):
    """`Σ_t exp(-s_t) L_t + s_t`: Kendall, Gal and Cipolla, "Multi-task learning using uncertainty to weigh losses for
    scene geometry and semantics", CVPR 2018.

    The s_t are moved by the optimizer. A task without labels in the batch contributes nothing, neither to the value nor
    to any gradient, that of its `s_t` included.
    """

    def total(self, losses, valid_counts, log_variances, state, key) -> jax.Array:
        """See `LossBalancing.total`."""
        del state, key
        return self.judged(losses, valid_counts, log_variances)

    def judged(self, losses, valid_counts, log_variances) -> jax.Array:
        """Returns the same sum, with the present s_t; see `Balancing.judged`."""
        return weighted_sum(
            losses, valid_counts, lambda task, loss: jnp.exp(-log_variances[task]) * loss + log_variances[task]
        )
