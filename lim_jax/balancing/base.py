"""The interface of a method, and what methods share.

In vectors (K,) and matrices (K, K) the tasks of a batch stand in alphabetical order, as JAX has the keys of a dict. A
task without labels in the batch is absent: its loss and gradient count nowhere.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

PyTree = Any
State = dict[str, Any]
Scalars = Mapping[str, jax.typing.ArrayLike]  # by task

_SMALLEST = 1e-12  # a loss that has a logarithm


@dataclasses.dataclass(frozen=True)
class Balancing:
    """A method. Derive new ones from `LossBalancing` or `GradientBalancing`.

    Attributes:
      weights_move: whether the weights change during training, so that the total loss of one epoch says nothing
        beside that of another.
      measures_again: whether `after_measuring` wants the losses of a batch once more, after the step along it.
    """

    weights_move: ClassVar[bool] = True
    measures_again: ClassVar[bool] = False

    def init(self, number: int) -> State:
        """Returns the state before the first step, for a number of tasks."""
        del number
        return {}

    def begin_epoch(self, state: State) -> State:
        """Returns the state with which an epoch begins, given that after the last one."""
        return state

    def after_step(self, state: State, losses: jax.Array, present: jax.Array) -> State:
        """Returns the state after a step along a batch with these losses, float32 (K,); `present` bool (K,)."""
        del losses, present
        return state

    def after_measuring(self, state: State, losses: jax.Array, present: jax.Array) -> State:
        """Returns the state, given the losses of the same batch after the step."""
        del losses, present
        return state

    def judged(self, losses: Scalars, valid_counts: Scalars, log_variances: Mapping[str, jax.Array]) -> jax.Array:
        """Returns one loss of those of a whole split, a float32 scalar; by default their sum."""
        del log_variances
        return weighted_sum(losses, valid_counts, lambda task, loss: loss)


@dataclasses.dataclass(frozen=True)
class LossBalancing(Balancing, abc.ABC):
    """A method that makes one loss of the tasks' losses."""

    @abc.abstractmethod
    def total(
        self,
        losses: Scalars,
        valid_counts: Scalars,
        log_variances: Mapping[str, jax.Array],
        state: State,
        key: jax.Array,
    ) -> jax.Array:
        """Returns the loss that a step minimises, a float32 scalar.

        Args:
          losses: L_t per task: the mean over the whole batch (over all devices). Ignored, even if NaN, where the
            count is 0.
          valid_counts: number of valid pixels or examples per task in that batch.
          log_variances: s_t per task, which are learned as parameters are; for "uncertainty" alone.
          state: of the method.
          key: random, another one at each step.
        """


@dataclasses.dataclass(frozen=True)
class GradientBalancing(Balancing, abc.ABC):
    """A method that weighs the tasks' gradients; the heads, which have one task each, go by their own."""

    @abc.abstractmethod
    def weights(self, gram: jax.Array, present: jax.Array, key: jax.Array) -> jax.Array:
        """Returns float32 (K,): a step goes along the sum of the gradients with these weights; all 1 is their sum.

        Args:
          gram: float32 (K, K), inner products of the tasks' gradients; zeros for absent ones.
          present: bool (K,).
          key: random, another one at each step.
        """


def weighted_sum(losses: Scalars, valid_counts: Scalars, term: Callable[[str, jax.Array], jax.Array]) -> jax.Array:
    """Returns the sum of `term(task, loss)` over the tasks that are present."""
    total = jnp.float32(0)
    for task, loss in losses.items():
        present = jnp.greater(valid_counts[task], 0)
        known = jnp.where(present, loss, 0)  # before any product, where a NaN would reach the gradient of a weight
        total += jnp.where(present, term(task, known), 0)
    return total


def stacked(losses: Scalars, valid_counts: Scalars) -> tuple[jax.Array, jax.Array]:
    """Returns the losses, 0 where absent, as float32 (K,), and who is present, bool (K,)."""
    tasks = sorted(losses)
    present = jnp.stack([jnp.greater(valid_counts[task], 0) for task in tasks])
    return jnp.where(present, jnp.stack([jnp.asarray(losses[task], jnp.float32) for task in tasks]), 0), present


def epoch_sums(number: int) -> State:
    """Returns the part of a state in which `with_losses` adds up the losses of an epoch."""
    return {"sums": jnp.zeros(number), "counts": jnp.zeros(number)}


def with_losses(state: State, losses: jax.Array, present: jax.Array) -> State:
    """Returns a state with the losses of one more step added up."""
    return state | {"sums": state["sums"] + losses, "counts": state["counts"] + present}


def epoch_means(state: State) -> jax.Array:
    """Returns the mean loss over the steps of the epoch, (K,); 0 for tasks that were always absent."""
    return state["sums"] / jnp.maximum(state["counts"], 1)


def logarithms(losses: jax.Array, present: jax.Array) -> jax.Array:
    """Returns log L_t, 0 for absent tasks."""
    return jnp.where(present, jnp.log(jnp.maximum(jnp.where(present, losses, 1.0), _SMALLEST)), 0.0)


def gram(gradients: PyTree) -> jax.Array:
    """Returns the inner products of K gradients, float32 (K, K): a tree whose leaves begin with an axis of K."""

    def of_leaf(leaf: jax.Array) -> jax.Array:
        rows = leaf.reshape(leaf.shape[0], -1).astype(jnp.float32)
        return jnp.matmul(rows, rows.T, precision=jax.lax.Precision.HIGHEST)

    return jnp.sum(jnp.stack([of_leaf(leaf) for leaf in jax.tree.leaves(gradients)]), axis=0)


def cosines(gram: jax.Array) -> jax.Array:
    """Returns the cosines between gradients, given their inner products, (K, K); 0 where one is zero."""
    lengths = jnp.sqrt(jnp.diagonal(gram))
    return gram / jnp.maximum(lengths[:, None] * lengths, jnp.finfo(gram.dtype).tiny)
