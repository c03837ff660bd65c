"""The geometric mean of the losses."""

import dataclasses

import jax
import jax.numpy as jnp

from lim_jax.balancing.base import LossBalancing, logarithms, stacked


@dataclasses.dataclass(frozen=True)
class GeometricMean(LossBalancing):
    """`(Π_t L_t)^(1/K)` over the tasks that are present: Chennupati et al., "MultiNet++: Multi-stream feature
    aggregation and geometric loss strategy for multi-task learning", CVPR workshops 2019."""

    def total(self, losses, valid_counts, log_variances, state, key) -> jax.Array:
        """See `LossBalancing.total`."""
        del log_variances, state, key
        values, present = stacked(losses, valid_counts)
        number = jnp.sum(present)
        mean = jnp.exp(jnp.sum(logarithms(values, present)) / jnp.maximum(number, 1))
        return jnp.where(number > 0, mean, 0.0)
