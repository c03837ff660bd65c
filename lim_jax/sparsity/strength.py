"""The strength λ over a training run: a warm-up, or a controller that reaches a wanted sparsity by itself.

The paper leaves the choice of λ open. `TargetSparsity` turns it around: say which share of the groups shall be zero
at the end, and λ follows from what the groups do. With M steps from the first with a λ to the last, and s the share
of zero groups after a step, it goes through three phases:

*Search.* `log λ` rises by 40 / M a step from `initial_strength`, until s, smoothed over 0.005 M steps, reaches a
twentieth of the target: the onset is the step after that.

*Ramp.* From the onset to 70 % of M, s follows a reference that rises fast first and slowly later, as in gradual
pruning (Zhu & Gupta, arXiv 1710.01878), so that the network can make up for what it loses:

    r(k) = target · (1 - (1 - x)³),  x = (k - onset) / (0.7 M - onset) within 0..1, after k steps

*Rest.* For the last 30 %, r is the target and the network settles. No step leaves less than the target at zero: of the
groups that it would bring back only as many return as may, the largest first (`lim_jax.sparsity.holding`). And once no
less than the target is zero, and no more than 0.01 above it, λ is 0 and zeros stay: the rest makes up for what is gone.
Without all that sparsity falls in the end, since under a rate near zero groups still come back, by next to nothing,
and those that have come far no longer get to zero.

In ramp and rest λ obeys proportional and integral control of its logarithm, since the right λ is known only to
orders of magnitude. With φ the error r - s (s smoothed as above), shrunk towards 0 by 0.005 and clipped to ±0.25, and
after k steps:

    i(k) = i(k-1) + gain / M · φ(r(k+1) - s(k))        (gain: 150)
    log λ = i(k) + 5 φ(r(k) - s(k))

The integral aims at what the next step is to leave, the proportional part answers what the last one left.

Groups give way slowly, so that an integral alone would go on raising λ while s is already on its way, and swing. The
proportional part answers a change of s at once, and takes it back as soon as s turns: it supplies the damping.
Shrinking e leaves λ alone while s is as near as the coming and going of single groups allows. Clipping it bounds what
a disturbance does: the proportional part stays within a factor of 3.4. And i never falls below where the search began:
where groups died for good (a channel that nothing feeds has no gradient) a lower λ gives none back. Everything scales
with M, so that a run of twice the length moves λ half as fast.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lim_jax.errors import UserError

_SEARCH = 40.0  # change of log λ over M steps of search
_SMOOTHING = 0.005  # of M
_ONSET = 0.05  # of the target
_SHORTEST_RAMP = 0.05  # of M
_PROPORTIONAL = 5.0
_DEAD_BAND = 0.005
_LARGEST_ERROR = 0.25
_SETTLED = 0.01  # above the target


class TargetState(NamedTuple):
    """State of `TargetSparsity`; float32 scalars.

    Attributes:
      log_strength: i in the law: natural logarithm of λ without the proportional part.
      sparsity: share of zero groups, smoothed.
      reached: share of zero groups after the last update.
      onset: steps from the first with a λ to the onset, which is the step after a twentieth of the target is reached;
        negative before.
    """

    log_strength: jax.Array
    sparsity: jax.Array
    reached: jax.Array
    onset: jax.Array


@dataclasses.dataclass(frozen=True)
class TargetSparsity:
    """Stands for a strength: λ is adjusted until the wanted share of groups is zero (the module's docstring has the
    law).

    Give it to `proximal` or `proximal_adam` as `strength`; its state lives in theirs.

    Attributes:
      target: the share of groups (under l1, of single parameters) that shall be zero in the end, within 0..1.
      num_steps: the number of steps of the whole training.
      start_step: before this step λ is zero.
      initial_strength: the first λ, and the lowest; far below what is needed is fine.
      ramp: share of the steps after `start_step` until the reference is at the target.
      measure: what is steered instead of the share of zero groups, within 0..1 and growing with it, such as the share
        of the multiply-accumulates that are saved: a function of which groups are zero, by layer.
      gain: how fast λ moves: an error of 0.1 that lasts for 1 % of the steps changes it by a factor of
        exp(0.001 · gain).
    """

    target: float
    num_steps: int
    start_step: int = 0
    initial_strength: float = 1e-7
    ramp: float = 0.7
    gain: float = 150.0
    measure: Callable[[Mapping[str, jax.Array]], jax.Array] | None = None

    def __post_init__(self):
        if not 0 <= self.target < 1:
            raise UserError(f"sparsity.target is {self.target}; it is a share of the groups: 0 or more, below 1")
        if not 0 <= self.start_step < self.num_steps:
            raise UserError(f"sparsity starts at step {self.start_step}, but training has {self.num_steps}")
        if self.initial_strength <= 0:
            raise UserError(f"the first strength is {self.initial_strength}; to reach a target it must be above 0")

    @property
    def _length(self) -> int:
        return self.num_steps - self.start_step

    def init(self) -> TargetState:
        """Returns the state before the first update."""
        first = jnp.log(jnp.float32(self.initial_strength))
        # Arrays of their own each, so that the state can be donated.
        return TargetState(first, *(jnp.full((), value, jnp.float32) for value in (0.0, 0.0, -1.0)))

    def strength(self, state: TargetState, count: jax.Array) -> jax.Array:
        """Returns λ for the update after `count` updates."""
        proportional = jnp.where(state.onset < 0, 0.0, _PROPORTIONAL * self._error(state, count))
        acts = (count >= self.start_step) & ~self.is_settled(state, count)
        return jnp.where(acts, jnp.exp(state.log_strength + proportional), 0.0)

    def reference(self, state: TargetState, count: jax.Array) -> jax.Array:
        """Returns the share of zero groups that ought to be reached after `count` updates."""
        rising = jnp.maximum(self.ramp * self._length - state.onset, _SHORTEST_RAMP * self._length)
        progress = jnp.clip((count - self.start_step - state.onset) / rising, 0.0, 1.0)
        return jnp.where(state.onset < 0, 0.0, self.target * (1.0 - (1.0 - progress) ** 3))

    def is_settled(self, state: TargetState, count: jax.Array) -> jax.Array:
        """Returns whether zeros are left as they are after `count` updates: at the target and at rest."""
        above = state.reached - self.target
        return self._at_rest(state, count) & (above >= 0) & (above <= _SETTLED)

    def least(self, state: TargetState, count: jax.Array) -> jax.Array:
        """Returns the least share that the last of `count` updates may leave at zero; infinity: no zero ends.

        Args:
          state: the state before that update.
          count: the number of updates, that one included.
        """
        target = jnp.where(self._at_rest(state, count), self.target, 0.0)
        return jnp.where(self.is_settled(state, count), jnp.inf, target)

    def _at_rest(self, state: TargetState, count: jax.Array) -> jax.Array:
        return self.reference(state, count) >= self.target

    def update(self, state: TargetState, sparsity: jax.Array, count: jax.Array) -> TargetState:
        """Returns the state after an update.

        Args:
          state: the state before it.
          sparsity: float32 scalar, the share of zero groups after it.
          count: the number of updates when the next one is made, too: λ aims at what that shall leave.
        """
        smoothed = state.sparsity + (sparsity - state.sparsity) / max(_SMOOTHING * self._length, 1.0)
        steps = (count - self.start_step).astype(jnp.float32)
        arrives = (state.onset < 0) & (steps >= 0) & (smoothed >= _ONSET * self.target)
        state = state._replace(sparsity=smoothed, reached=sparsity, onset=jnp.where(arrives, steps, state.onset))
        change = jnp.where(state.onset < 0, _SEARCH, self.gain * self._error(state, count)) / self._length
        lowest = jnp.log(jnp.float32(self.initial_strength))
        moved = jnp.maximum(state.log_strength + change, lowest)
        return state._replace(log_strength=jnp.where(steps >= 0, moved, state.log_strength))

    def _error(self, state: TargetState, count: jax.Array) -> jax.Array:
        error = self.reference(state, count) - state.sparsity
        return jnp.clip(error - jnp.clip(error, -_DEAD_BAND, _DEAD_BAND), -_LARGEST_ERROR, _LARGEST_ERROR)


def warm_up(strength: float, num_steps: int, start_step: int = 0) -> optax.Schedule:
    """Returns a schedule for the strength: zero before `start_step`, then rising linearly over `num_steps` to
    `strength`.

    Adam's second moment starts at zero, so that a metric without bias correction is small in the first steps and
    groups give way too easily; a start after some hundred steps avoids it too.
    """
    return optax.join_schedules(
        [optax.constant_schedule(0.0), optax.linear_schedule(0.0, strength, max(num_steps, 1))], [start_step]
    )
