"""Weights that go by how fast each loss fell in the last two epochs."""

import dataclasses

import jax
import jax.numpy as jnp

from lim_jax.balancing.base import LossBalancing, State, epoch_means, epoch_sums, weighted_sum, with_losses


@dataclasses.dataclass(frozen=True)
class DynamicWeightAverage(LossBalancing):
    """`Σ_t w_t L_t` with `w_t = K softmax(r / T)_t`, r_t being the loss of the last epoch over that of the one before:
    Liu, Johns and Davison, "End-to-end multi-task learning with attention", CVPR 2019.

    In the first two epochs all weights are 1. A task that had no label in one of the epochs counts as r_t = 1.

    Attributes:
      temperature: T; the larger, the more equal are the weights.
    """

    temperature: float = 2.0

    def init(self, number: int) -> State:
        """Returns weights of 1, the mean losses of the last two epochs (0: unknown), and sums of the present one."""
        losses = {"last": jnp.zeros(number), "before": jnp.zeros(number)}
        return {"weights": jnp.ones(number), **losses, **epoch_sums(number)}

    def begin_epoch(self, state: State) -> State:
        """Makes weights of the losses that `after_step` added up; see `Balancing.begin_epoch`."""
        last, before = epoch_means(state), state["last"]
        known = (last > 0) & (before > 0)
        ratio = jnp.where(known, last / jnp.where(known, before, 1), 1.0)
        weights = len(ratio) * jax.nn.softmax(ratio / self.temperature)
        weights = jnp.where(jnp.any(known), weights, 1.0)
        return {"weights": weights, "last": last, "before": before, **epoch_sums(len(last))}

    def after_step(self, state: State, losses: jax.Array, present: jax.Array) -> State:
        """See `Balancing.after_step`."""
        return with_losses(state, losses, present)

    def total(self, losses, valid_counts, log_variances, state, key) -> jax.Array:
        """See `LossBalancing.total`."""
        del log_variances, key
        weights = dict(zip(sorted(losses), state["weights"], strict=True))
        return weighted_sum(losses, valid_counts, lambda task, loss: weights[task] * loss)
