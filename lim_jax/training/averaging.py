"""A moving average of the network's variables, which is then what is evaluated and stored as the network.

With θ the variables after a step, `a ← d a + (1 - d) θ`, where the first steps count for more (`decay`). A parameter
that is exactly zero is zero in the average, too, from the same step on: both have the same zero groups, which the
average alone would approach but never reach.
"""

from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any


def decay(step: jax.Array, limit: float) -> jax.Array:
    """Returns d at the `step`-th step, counted from 1: `limit`, or `(1 + step) / (10 + step)` where that is less."""
    return jnp.minimum(limit, (1.0 + step) / (10.0 + step))


def moved(average: PyTree, variables: PyTree, step: jax.Array, limit: float) -> dict[str, PyTree]:
    """Returns the average after a step.

    Args:
      average: `{"params", "batch_stats"}` before it.
      variables: the network's after it.
      step: its number, counted from 1.
      limit: the decay d, which the first steps stay below.
    """
    d = decay(step, limit)

    def mean(old: jax.Array, new: jax.Array) -> jax.Array:
        return (d * old + (1 - d) * new).astype(old.dtype)

    def with_zeros(old: jax.Array, new: jax.Array) -> jax.Array:
        return jnp.where(new == 0, new, mean(old, new))

    return {
        "params": jax.tree.map(with_zeros, average["params"], variables["params"]),
        "batch_stats": jax.tree.map(mean, average["batch_stats"], variables["batch_stats"]),
    }
