"""What losses and metrics are made of: counts that add up over batches and devices, and what follows from them."""

import jax
import jax.numpy as jnp
import numpy as np


def count(condition: jax.Array) -> jax.Array:
    """Returns the number of true entries as an int32 scalar."""
    return jnp.sum(condition, dtype=jnp.int32)


def ratio(numerator: float | np.ndarray, denominator: float | np.ndarray) -> float | None:
    """Returns the quotient as a Python float, None when the denominator is 0."""
    return float(numerator) / float(denominator) if denominator else None


def root_mean(total: float | np.ndarray, number: float | np.ndarray) -> float | None:
    """Returns the root of the mean of `number` squares that add up to `total`, None for none."""
    mean = ratio(total, number)
    return None if mean is None else mean**0.5


def histogram(values: jax.Array, valid: jax.Array, upper: float, bins: int) -> jax.Array:
    """Counts the valid values in `bins` equal bins of [0, upper], as int32 (bins,)."""
    index = jnp.clip(jnp.floor(values * (bins / upper)).astype(jnp.int32), 0, bins - 1)
    return jnp.zeros(bins, jnp.int32).at[index.ravel()].add(valid.ravel().astype(jnp.int32))


def histogram_median(counts: np.ndarray, upper: float) -> float | None:
    """Returns the median of what `histogram` counted; None if that is nothing.

    Values are taken to lie evenly in their bins. Of an even number of them it is the mean of the two in the middle,
    which may be in bins that are far apart.
    """
    cumulative = np.cumsum(counts, dtype=np.float64)
    number = cumulative[-1]
    if not number:
        return None
    ranks = np.array([(number + 1) // 2, (number + 2) // 2])  # counted from 1
    bins = np.searchsorted(cumulative, ranks)
    before = cumulative[bins] - counts[bins]
    return float(np.mean(bins + (ranks - before - 0.5) / counts[bins]) * upper / len(counts))
