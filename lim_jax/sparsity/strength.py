"""The strength λ over a training run: a warm-up, or a controller that reaches a wanted sparsity by itself.

The paper leaves the choice of λ open. `TargetSparsity` turns it around: say which share of the groups shall be zero
at the end, and λ follows from what the groups do. Its law, at step k of N, with s the share of zero groups after the
step:

    r(k) = target · (1 - (1 - x)³),  x = (k - start) / (ramp · (N - start)) within 0..1      where s ought to be
    v(k) = v(k-1) + (s(k) - s(k-1) - v(k-1)) / (0.01 N)                                      how fast s moves
    e(k) = r(k + h) - (s(k) + h v(k)),  h = 0.05 N                                           the error h steps from now
    log λ(k+1) = log λ(k) + gain / N · clip(e(k), -0.25, 0.25)

It is an integral controller on log λ, since the right λ is known only to orders of magnitude. Groups give way slowly,
so that s goes on rising for a while at any λ; comparing where s is heading instead of where it is supplies the
damping that keeps λ from overshooting. The reference rises fast first and slowly later, as in gradual pruning (Zhu &
Gupta, arXiv 1710.01878), and rests at the target for the last 30 % of training while the network settles. Since it
starts at zero, a first λ that is too low costs nothing but a later start; one that is too high cannot be taken back.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lim_jax.errors import UserError

_HORIZON = 0.05
_TREND = 0.01
_LARGEST_ERROR = 0.25


class TargetState(NamedTuple):
    """State of `TargetSparsity`; float32 scalars.

    Attributes:
      log_strength: natural logarithm of the strength of the next update.
      sparsity: share of zero groups after the last update.
      trend: smoothed change of `sparsity` per step.
    """

    log_strength: jax.Array
    sparsity: jax.Array
    trend: jax.Array


@dataclasses.dataclass(frozen=True)
class TargetSparsity:
    """Stands for a strength: λ is adjusted until the wanted share of groups is zero (the module's docstring has the
    law).

    Give it to `proximal` or `proximal_adam` as `strength`; its state lives in theirs.

    Attributes:
      target: the share of groups (under l1, of single parameters) that shall be zero in the end, within 0..1.
      num_steps: N, the number of steps of the whole training.
      start_step: before this step λ is zero.
      initial_strength: the first λ; far below what is needed is fine.
      ramp: share of the steps after `start_step` over which the reference rises to the target.
      gain: how fast λ moves: an error of 0.1 that lasts for 0.1 N steps changes it by a factor of exp(0.01 · gain).
    """

    target: float
    num_steps: int
    start_step: int = 0
    initial_strength: float = 1e-8
    ramp: float = 0.7
    gain: float = 230.0

    def __post_init__(self):
        if not 0 <= self.target < 1:
            raise UserError(f"sparsity.target is {self.target}; it is a share of the groups: 0 or more, below 1")
        if not 0 <= self.start_step < self.num_steps:
            raise UserError(f"sparsity starts at step {self.start_step}, but training has {self.num_steps}")
        if self.initial_strength <= 0:
            raise UserError(f"the first strength is {self.initial_strength}; to reach a target it must be above 0")

    def init(self) -> TargetState:
        """Returns the state before the first update."""
        zero = jnp.zeros((), jnp.float32)
        return TargetState(jnp.log(jnp.float32(self.initial_strength)), zero, zero)

    def strength(self, state: TargetState, count: jax.Array) -> jax.Array:
        """Returns λ for the update after `count` updates."""
        return jnp.where(count >= self.start_step, jnp.exp(state.log_strength), 0.0)

    def reference(self, count: jax.Array) -> jax.Array:
        """Returns the share of zero groups that ought to be reached after `count` updates."""
        rising = self.ramp * (self.num_steps - self.start_step)
        progress = jnp.clip((count - self.start_step) / rising, 0.0, 1.0)
        return self.target * (1.0 - (1.0 - progress) ** 3)

    def update(self, state: TargetState, sparsity: jax.Array, count: jax.Array) -> TargetState:
        """Returns the state after an update.

        Args:
          state: the state before it.
          sparsity: float32 scalar, the share of zero groups after it.
          count: the number of updates, this one included.
        """
        horizon = _HORIZON * self.num_steps
        trend = state.trend + (sparsity - state.sparsity - state.trend) / max(_TREND * self.num_steps, 1.0)
        error = self.reference(count + horizon) - (sparsity + horizon * trend)
        change = self.gain / self.num_steps * jnp.clip(error, -_LARGEST_ERROR, _LARGEST_ERROR)
        change = jnp.where(count >= self.start_step, change, 0.0)
        return TargetState(state.log_strength + change, sparsity, trend)


def warm_up(strength: float, num_steps: int, start_step: int = 0) -> optax.Schedule:
    """Returns a schedule for the strength: zero before `start_step`, then rising linearly over `num_steps` to
    `strength`.

    Adam's second moment starts at zero, so that a metric without bias correction is small in the first steps and
    groups give way too easily; a start after some hundred steps avoids it too.
    """
    return optax.join_schedules(
        [optax.constant_schedule(0.0), optax.linear_schedule(0.0, strength, max(num_steps, 1))], [start_step]
    )
