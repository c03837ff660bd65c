"""The loss of choosing among classes: cross entropy, smoothed or focal if asked for."""

import jax
import jax.numpy as jnp

_NEARLY_SURE = -1e-7  # log p from which on the focal factor stays: at p = 1 its gradient is infinite for γ < 1


def losses(logits: jax.Array, labels: jax.Array, *, smoothing: float = 0.0, focal: float = 0.0) -> jax.Array:
    """Returns the cross entropy against `(1 - ε) onehot + ε / classes`, times `(1 - p)^γ`, p being the label's share.

    Args:
      logits: (..., classes).
      labels: class indices (...); what is none of them has a loss that means nothing.
      smoothing: ε, the share of a label's probability that is spread over all classes.
      focal: γ of the focal loss (Lin et al. 2017); 0: no such factor.

    Returns:
      float32 (...).
    """
    logits = logits.astype(jnp.float32)
    true_logit = jnp.sum(logits * jax.nn.one_hot(labels, logits.shape[-1]), axis=-1)
    expected_logit = true_logit
    if smoothing:
        expected_logit = (1 - smoothing) * true_logit + smoothing * jnp.mean(logits, axis=-1)
    normalizer = jax.nn.logsumexp(logits, axis=-1)
    found = normalizer - expected_logit
    if focal:
        found = found * (-jnp.expm1(jnp.minimum(true_logit - normalizer, _NEARLY_SURE))) ** focal
    return found
