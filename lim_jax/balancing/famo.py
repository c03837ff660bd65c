"""Weights under which all losses fall at the same rate, learned from how much each step lowers each loss."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax

from lim_jax.balancing.base import LossBalancing, State, logarithms, stacked


@dataclasses.dataclass(frozen=True)
class FAMO(LossBalancing):
    """`Σ_t z_t log L_t / c` with `z = softmax(ξ)` and `c = Σ_t z_t / L_t`, both constants for the gradient: Liu et al.,
    "FAMO: Fast adaptive multitask optimization", NeurIPS 2023.

    The gradient is that of a weighted sum of the losses with weights `z_t / (c L_t)`, which add up to 1. After a step
    ξ moves, by Adam with a coupled decay, along the gradient of `Σ_t z_t (log L_t(before) - log L_t(after))`: what
    improved less gets more weight. This takes the losses of the same batch once more, a forward pass.

    Attributes:
      learning_rate: of ξ.
      decay: of ξ, towards equal z.
    """

    learning_rate: float = 0.025
    decay: float = 0.01
    measures_again: ClassVar[bool] = True

    def init(self, number: int) -> State:
        """Returns ξ, its optimizer's state, the logarithms of the losses before a step, and whether there was one."""
        logits = jnp.zeros(number)
        return {
            "logits": logits,
            "optimizer": self._optimizer.init(logits),
            "before": jnp.zeros(number),
            "stepped": jnp.zeros((), bool),
        }

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        return optax.chain(optax.add_decayed_weights(self.decay), optax.adam(self.learning_rate))

    def total(self, losses, valid_counts, log_variances, state, key) -> jax.Array:
        """See `LossBalancing.total`."""
        del log_variances, key
        values, present = stacked(losses, valid_counts)
        logs = logarithms(values, present)
        shares = jnp.where(present, jax.nn.softmax(state["logits"]), 0.0)
        constant = jnp.sum(shares * jnp.exp(-logs))
        weights = jax.lax.stop_gradient(shares / jnp.where(constant > 0, constant, 1.0))
        return jnp.sum(weights * logs)

    def after_step(self, state: State, losses: jax.Array, present: jax.Array) -> State:
        """See `Balancing.after_step`."""
        return state | {"before": logarithms(losses, present), "stepped": jnp.ones((), bool)}

    def after_measuring(self, state: State, losses: jax.Array, present: jax.Array) -> State:
        """Moves ξ if a step was taken since the last time; see `Balancing.after_measuring`."""
        fall = jnp.where(present, state["before"] - logarithms(losses, present), 0.0)
        gradient = jax.vjp(jax.nn.softmax, state["logits"])[1](fall)[0]
        updates, optimizer = self._optimizer.update(gradient, state["optimizer"], state["logits"])
        moved = state | {"logits": optax.apply_updates(state["logits"], updates), "optimizer": optimizer}
        chosen = jax.tree.map(lambda new, old: jnp.where(state["stepped"], new, old), moved, state)
        return chosen | {"stepped": jnp.zeros((), bool)}
