"""Weights drawn anew at each step."""

import dataclasses

import jax
import jax.numpy as jnp

from lim_jax.balancing.base import LossBalancing, stacked


@dataclasses.dataclass(frozen=True)
class RandomWeights(LossBalancing):
    """`Σ_t w_t L_t` with `w = softmax(z)`, z standard normal, over the tasks that are present: Lin et al., "Reasonable
    effectiveness of random weighting: a litmus test for multi-task learning", TMLR 2022."""

    def total(self, losses, valid_counts, log_variances, state, key) -> jax.Array:
        """See `LossBalancing.total`."""
        del log_variances, state
        values, present = stacked(losses, valid_counts)
        drawn = jnp.where(present, jax.random.normal(key, present.shape), -jnp.inf)
        weights = jnp.where(jnp.any(present), jax.nn.softmax(jnp.where(jnp.any(present), drawn, 0.0)), 0.0)
        return jnp.sum(weights * values)
