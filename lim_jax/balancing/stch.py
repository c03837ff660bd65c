"""The smooth maximum of the losses, each relative to what it was when training began."""

import dataclasses

import jax
import jax.numpy as jnp

from lim_jax.balancing.base import LossBalancing, State, epoch_means, epoch_sums, logarithms, stacked, with_losses


@dataclasses.dataclass(frozen=True)
class SmoothTchebycheff(LossBalancing):
    """`K μ log Σ_t exp(log(L_t / N_t) / μ)`: Lin et al., "Smooth Tchebycheff scalarization for multi-objective
    optimization", ICML 2024, of the logarithms of the losses as in their experiments.

    For the first `warm_up_epochs` epochs the loss is `Σ_t log L_t`; N_t is the mean loss of the last one of them.

    Attributes:
      smoothing: μ; towards 0 the method becomes the maximum of the losses.
      warm_up_epochs: at least 1.
    """

    smoothing: float = 1.0
    warm_up_epochs: int = 4

    def init(self, number: int) -> State:
        """Returns the number of the epoch, N_t (0: unknown), and what the losses of the present epoch add up to."""
        return {"epoch": jnp.zeros((), jnp.int32), "nadir": jnp.zeros(number), **epoch_sums(number)}

    def begin_epoch(self, state: State) -> State:
        """See `Balancing.begin_epoch`."""
        nadir = jnp.where(state["epoch"] == self.warm_up_epochs, epoch_means(state), state["nadir"])
        return {"epoch": state["epoch"] + 1, "nadir": nadir, **epoch_sums(len(nadir))}

    def after_step(self, state: State, losses: jax.Array, present: jax.Array) -> State:
        """See `Balancing.after_step`."""
        return with_losses(state, losses, present)

    def total(self, losses, valid_counts, log_variances, state, key) -> jax.Array:
        """See `LossBalancing.total`."""
        del log_variances, key
        values, present = stacked(losses, valid_counts)
        logs = logarithms(values, present)
        relative = logs - logarithms(state["nadir"], state["nadir"] > 0)
        relative = jnp.where(present, relative, jnp.where(jnp.any(present), -jnp.inf, 0.0))
        number = jnp.sum(present)
        smooth = number * self.smoothing * jax.nn.logsumexp(relative / self.smoothing)
        return jnp.where(state["epoch"] > self.warm_up_epochs, smooth, jnp.sum(logs))
