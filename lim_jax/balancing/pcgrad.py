"""Gradients without what conflicts with others."""

import dataclasses

import jax
import jax.numpy as jnp

from lim_jax.balancing.base import GradientBalancing


@dataclasses.dataclass(frozen=True)
class PCGrad(GradientBalancing):
    """From each gradient, its part along any other that it has a negative inner product with is taken out, one after
    the other in random order, and the results are added up: Yu et al., "Gradient surgery for multi-task learning",
    NeurIPS 2020.
    """

    def weights(self, gram: jax.Array, present: jax.Array, key: jax.Array) -> jax.Array:
        """See `GradientBalancing.weights`."""
        del present  # the gradient of an absent task conflicts with nothing
        number = len(gram)
        squares = jnp.diagonal(gram)

        def of_one(task: jax.Array, key: jax.Array) -> jax.Array:
            """Returns the weights of all gradients in what is left of one task's."""
            order = jax.random.permutation(key, number)

            def project(position: int, weights: jax.Array) -> jax.Array:
                other = order[position]
                product = weights @ gram[other]
                conflicts = (product < 0) & (other != task)
                removed = jnp.where(conflicts, product / jnp.where(conflicts, squares[other], 1.0), 0.0)
                return weights.at[other].add(-removed)

            return jax.lax.fori_loop(0, number, project, jnp.zeros(number).at[task].set(1.0))

        return jnp.sum(jax.vmap(of_one)(jnp.arange(number), jax.random.split(key, number)), axis=0)
