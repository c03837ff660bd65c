"""Gradients projected to where no loss rises."""

import dataclasses

import jax
import jax.numpy as jnp

from lim_jax.balancing.base import GradientBalancing

_MOST_SWEEPS = 200
_TOLERANCE = 1e-6


@dataclasses.dataclass(frozen=True)
class UPGrad(GradientBalancing):
    """Each gradient is projected onto the cone of directions that have a negative inner product with none of them, and
    the results are added up: Quinton and Rey, "Jacobian descent for multi-objective optimization", 2024 (who take the
    mean). To first order no loss rises along the result, and each gradient counts in proportion to its length.

    The projection of gradient i is the sum of all with weights v that minimise `v·gram v` under `v_i >= 1` and
    `v_j >= 0` for the others.
    """

    def weights(self, gram: jax.Array, present: jax.Array, key: jax.Array) -> jax.Array:
        """See `GradientBalancing.weights`."""
        del present, key  # the gradient of an absent task bounds nothing
        scale = jnp.maximum(jnp.max(jnp.diagonal(gram)), jnp.finfo(gram.dtype).tiny)
        return jnp.sum(jax.vmap(_projected, (None, 0))(gram / scale, jnp.eye(len(gram))), axis=0)


def _projected(gram: jax.Array, least: jax.Array) -> jax.Array:
    """Returns the weights v >= `least` that minimise `v·gram v`, found one at a time, in sweeps."""
    squares = jnp.diagonal(gram)

    def improve(index: int, weights: jax.Array) -> jax.Array:
        slope = gram[index] @ weights
        best = weights[index] - slope / jnp.where(squares[index] > 0, squares[index], 1.0)
        return weights.at[index].set(jnp.maximum(best, least[index]))

    def sweep(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        weights, count, _ = carry
        moved = jax.lax.fori_loop(0, len(least), improve, weights)
        return moved, count + 1, jnp.max(jnp.abs(moved - weights))

    start = (least, jnp.int32(0), jnp.float32(jnp.inf))
    return jax.lax.while_loop(lambda carry: (carry[1] < _MOST_SWEEPS) & (carry[2] > _TOLERANCE), sweep, start)[0]
