"""The direction near the mean gradient along which the loss that improves least improves most."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.balancing.base import GradientBalancing

_MOST_SWEEPS = 100
_TOLERANCE = 1e-6
_TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class CAGrad(GradientBalancing):
    """`d = K (g₀ + c ‖g₀‖ g_w / ‖g_w‖)`, g₀ being the mean of the K gradients and g_w their sum with weights w of the
    simplex that minimise `g_w·g₀ + c ‖g₀‖ ‖g_w‖`: Liu et al., "Conflict-averse gradient descent for multi-task
    learning", NeurIPS 2021. The factor K makes it the sum of the gradients at c = 0.

    Attributes:
      radius: c, below 1: how far d may be from the mean, relative to its length.
    """

    radius: float = 0.4

    def weights(self, gram: jax.Array, present: jax.Array, key: jax.Array) -> jax.Array:
        """See `GradientBalancing.weights`."""
        del key
        number = jnp.maximum(jnp.sum(present), 1)
        mean = present / number
        scale = jnp.maximum(jnp.max(jnp.diagonal(gram)), jnp.finfo(gram.dtype).tiny)
        gram = gram / scale
        length = jnp.sqrt(jnp.maximum(mean @ gram @ mean, 0.0))
        found = _minimize(gram, gram @ mean, self.radius * length, present)
        norm = jnp.sqrt(jnp.maximum(found @ gram @ found, 0.0))
        return number * (mean + self.radius * length / jnp.maximum(norm, jnp.sqrt(_TINY)) * found)


def _minimize(gram: jax.Array, slope: jax.Array, radius: jax.Array, present: jax.Array) -> jax.Array:
    """Returns the weights of the simplex over the present tasks that minimise `slope·w + radius sqrt(w·gram w)`.

    Weight is moved from one task to another, each time as far as is best for these two, in sweeps over all pairs.
    """
    ones, others = (jnp.array(indices, jnp.int32) for indices in np.triu_indices(len(gram), 1))

    def move(pair: jax.Array, weights: jax.Array) -> jax.Array:
        one, other = ones[pair], others[pair]
        rise = slope[one] - slope[other]
        products = gram @ weights
        # The root is sqrt(a t² + 2 b t + c) where t is moved.
        a = gram[one, one] - 2 * gram[one, other] + gram[other, other]
        b, c = products[one] - products[other], weights @ products
        room = radius**2 * a - rise**2
        best = -rise * jnp.sqrt(jnp.maximum(a * c - b * b, 0.0) / jnp.maximum(room, _TINY)) - b
        best = jnp.where(room > 0, best / jnp.maximum(a, _TINY), jnp.where(rise > 0, -1.0, 1.0))
        moved = jnp.where(present[one] & present[other], jnp.clip(best, -weights[one], weights[other]), 0.0)
        return weights.at[one].add(moved).at[other].add(-moved)

    def sweep(carry: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array, jax.Array]:
        weights, count, _ = carry
        moved = jax.lax.fori_loop(0, len(ones), move, weights)
        return moved, count + 1, jnp.max(jnp.abs(moved - weights))

    first = present / jnp.maximum(jnp.sum(present), 1)
    start = (first, jnp.int32(0), jnp.float32(jnp.inf))
    return jax.lax.while_loop(lambda carry: (carry[1] < _MOST_SWEEPS) & (carry[2] > _TOLERANCE), sweep, start)[0]
