"""A sum of the losses with weights that the user gives."""

import dataclasses
from typing import ClassVar

import jax

from lim_jax.balancing.base import LossBalancing, weighted_sum


@dataclasses.dataclass(frozen=True)
class Fixed(LossBalancing):
    """`Σ_t w_t L_t`.

    Attributes:
      loss_weights: w_t by task.
    """

    loss_weights: tuple[tuple[str, float], ...] = ()
    weights_move: ClassVar[bool] = False

    def total(self, losses, valid_counts, log_variances, state, key) -> jax.Array:
        """See `LossBalancing.total`."""
        del state, key
        return self.judged(losses, valid_counts, log_variances)

    def judged(self, losses, valid_counts, log_variances) -> jax.Array:
        """Returns the same sum; see `Balancing.judged`."""
        del log_variances
        weights = dict(self.loss_weights)
        return weighted_sum(losses, valid_counts, lambda task, loss: weights[task] * loss)
