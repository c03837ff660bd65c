"""Optimizers whose steps make groups of parameters exactly zero.

`proximal` follows any optax optimizer with a proximal step: with `p` the parameters and `Δ` the optimizer's update,
it returns `prox(p + Δ) - p` on the parameters that have groups and `Δ` on all others. `apply_updates` then adds that
to `p`, and since `p + (0 - p) == 0` in floating point, zero groups are exactly zero as long as parameters are kept in
float32.

The metric of the proximal step is `sqrt(v) + eps` with the second moment `v` of the optimizer, found in its state, or
the identity. The strengths of the paper (λ from 1e-6) mean something only in the former: there a zero group stays
zero while the root mean square of its momentum is below λ, whatever the scale of the learning rate.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from absl import logging

from lim_jax.errors import UserError
from lim_jax.runtime import platforms
from lim_jax.sparsity import groups as groups_lib
from lim_jax.sparsity import penalties, solving
from lim_jax.sparsity.holding import Counting, with_zeros_held
from lim_jax.sparsity.strength import TargetSparsity, TargetState

PyTree = Any

Strength = optax.ScalarOrSchedule | TargetSparsity

METRICS = ("adam", "identity")

# Where optax's optimizers keep what they divide the step by: amsgrad; adam and its kin, rmsprop, adabelief;
# adafactor; adagrad.
_SECOND_MOMENTS = ("nu_max", "nu", "v", "sum_of_squares")


class ProximalState(NamedTuple):
    """State of `proximal`.

    Attributes:
      count: int32 scalar, updates so far.
      strength: float32 scalar, the strength λ of the last update, for logging (of the first one before it).
      target: state of a `TargetSparsity`, or () if the strength is given.
      inner: state of the optimizer inside.
    """

    count: jax.Array
    strength: jax.Array
    target: TargetState | tuple[()]
    inner: optax.OptState


def proximal(
    inner: optax.GradientTransformation,
    learning_rate: optax.ScalarOrSchedule,
    strength: Strength,
    groups: groups_lib.Groups,
    *,
    penalty: str | penalties.Penalty | None = "group_lasso",
    metric: str = "adam",
    eps: jax.Array | float = 1e-8,
    bias_correction: jax.Array | float | None = None,
    original: groups_lib.Sizes | None = None,
    platform: str | None = None,
    healing_from: int | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Follows each step of an optimizer with the proximal step of a penalty.

    Args:
      inner: a complete optimizer, learning rate and weight decay included, e.g. `optax.adamw(1e-3)`.
      learning_rate: the same learning rate as `inner` uses: the threshold scales with it. A number, a traced scalar or
        a schedule.
      strength: the λ of the penalty. A number, a traced scalar or a schedule.
      groups: which axis of which parameter forms groups: a tree, a callable or rules; see `lim_jax.sparsity.groups`.
      penalty: a name of `penalties.PENALTIES`, an object such as `penalties.GroupMCP(gamma=30.0)`, or "none".
      metric: "adam" for `sqrt(v) + eps`, "identity" for the Euclidean proximal operator.
      eps: added to the square root of the second moment.
      bias_correction: the decay b2 of the second moment, to divide it by `1 - b2^count` as Adam does for its own step.
      original: `groups.layer_sizes` of the parameters before groups were removed from the network, if they were: the
        penalty's sqrt(n) goes by them, and in the share of zero groups removed ones count as zero.
      platform: what updates are compiled for, "cpu" or "gpu": how they are computed, not what. None: JAX's default
        when the transformation is made.
      healing_from: after so many updates the penalty is off, and what is zero in parameters with groups stays zero:
        the rest can make up for what is gone. None: never.

    Returns:
      A transformation whose `update` needs `params`; its state is a `ProximalState`.

    Raises:
      UserError: for unknown names; in `init`, if groups and parameters do not fit; in `update`, if a metric is wanted
        that `inner` does not keep.
    """
    if metric not in METRICS:
        raise UserError(f"sparsity.metric is {metric!r}; choose one of {', '.join(METRICS)}")
    inner = optax.with_extra_args_support(inner)
    computed_on = platforms.default() if platform is None else platforms.named(platform)
    chosen = penalties.get(penalty)
    step = _Step(
        learning_rate, strength, groups, chosen, metric, eps, bias_correction, original, computed_on, healing_from
    )

    def init(params: PyTree) -> ProximalState:
        logging.info("Groups:\n%s", groups_lib.describe(groups_lib.layers(groups, params)))
        return step.first(inner.init(params))

    def update(
        updates: PyTree, state: Any, params: PyTree | None = None, **extra_args: Any
    ) -> tuple[PyTree, ProximalState]:
        if params is None:
            raise ValueError("the proximal step needs the parameters: call update(updates, state, params)")
        updates, inner_state = inner.update(updates, state.inner, params, **extra_args)
        return step.taken(updates, inner_state, state, params)

    return optax.GradientTransformationExtraArgs(init, update)


@dataclasses.dataclass(frozen=True)
class _Step:
    """What `proximal` does after the step of the optimizer inside; all attributes are arguments of its."""

    learning_rate: optax.ScalarOrSchedule
    strength: Strength
    groups: groups_lib.Groups
    penalty: penalties.Penalty | None
    metric: str
    eps: jax.Array | float
    bias_correction: jax.Array | float | None
    original: groups_lib.Sizes | None
    platform: platforms.Platform
    healing_from: int | None

    def first(self, inner: optax.OptState) -> ProximalState:
        """Returns the state before the first step."""
        count = jnp.zeros((), jnp.int32)
        target = self.strength.init() if isinstance(self.strength, TargetSparsity) else ()
        return ProximalState(count, self._current(target, count).astype(jnp.float32), target, inner)

    def taken(
        self, updates: PyTree, inner: optax.OptState, state: ProximalState, params: PyTree
    ) -> tuple[PyTree, ProximalState]:
        """Returns the updates with the proximal step, given the inner optimizer's updates and state; and the state."""
        rate, now = _value(self.learning_rate, state.count), self._current(state.target, state.count)
        after = ProximalState(
            jnp.asarray(optax.safe_increment(state.count)), now.astype(jnp.float32), state.target, inner
        )
        if self.penalty is None:
            return updates, after
        found = groups_lib.layers(self.groups, params)
        moments = second_moments(inner, found) if self.metric == "adam" else None
        prox = functools.partial(solving.prox_of(self.penalty), rate, now)
        root = functools.partial(self._root, count=after.count)
        penalized, arrays = solving.updates_of(
            prox, found, updates, params, moments, root, original=self.original, platform=self.platform
        )
        new = self._steered(penalized, arrays, params, found, state.target, after.count)
        if self.healing_from is not None:
            everywhere = dict.fromkeys((index for layer in found for index in layer.leaves), True)
            healed = with_zeros_held(updates, params, everywhere), state.target
            new = jax.tree.map(functools.partial(jnp.where, state.count < self.healing_from), new, healed)
        updates, target = new
        return updates, after._replace(target=target)

    def _current(self, target: Any, count: jax.Array) -> jax.Array:
        """Returns the strength λ of the update after `count` others."""
        strength, healing_from = self.strength, self.healing_from
        now = strength.strength(target, count) if isinstance(strength, TargetSparsity) else _value(strength, count)
        return now if healing_from is None else jnp.where(count < healing_from, now, 0.0)

    def _root(self, second_moment: jax.Array, count: jax.Array) -> jax.Array:
        """Returns the metric."""
        if self.bias_correction is not None:
            second_moment = second_moment / (1.0 - self.bias_correction ** count.astype(jnp.float32))
        return jnp.sqrt(second_moment) + self.eps

    def _steered(
        self,
        updates: PyTree,
        arrays: dict[int, jax.Array],
        params: PyTree,
        found: list[groups_lib.Layer],
        target: TargetState | tuple[()],
        count: jax.Array,
    ) -> tuple[PyTree, Any]:
        """Returns the updates, which leave as many zeros as the target asks for, and the target's state after them.

        `target` is the state before them, and `count` the number of updates, these included.
        """
        if not isinstance(self.strength, TargetSparsity) or not isinstance(target, TargetState):
            return updates, target
        least = self.strength.least(target, count)
        held, reached = self._counting(found, self.strength.measure).held(jax.tree.leaves(params), arrays, least)
        updates = with_zeros_held(updates, params, held)
        return updates, self.strength.update(target, reached, jnp.asarray(optax.safe_increment(count)))

    def _counting(self, found: list[groups_lib.Layer], measure: Any) -> Counting:
        """Returns how the zeros that a target steers are counted."""
        singly = measure is None and isinstance(self.penalty, penalties.L1)
        total = None
        if self.original is not None:
            total = sum(size.groups * (size.group_size if singly else 1) for size in self.original.values())
        return Counting(found, singly, measure or functools.partial(_share, total=total))


def proximal_adam(
    learning_rate: optax.ScalarOrSchedule,
    strength: Strength,
    groups: groups_lib.Groups,
    *,
    b1: jax.Array | float = 0.9,
    b2: jax.Array | float = 0.999,
    eps: jax.Array | float = 1e-8,
    weight_decay: jax.Array | float = 0.0,
    weight_decay_mask: Any = None,
    penalty: str | penalties.Penalty | None = "group_lasso",
    metric: str = "adam",
    bias_corrected: bool = False,
    original: groups_lib.Sizes | None = None,
    platform: str | None = None,
    healing_from: int | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Adam with decoupled weight decay, followed by the proximal step of a penalty (what the paper trains with).

    `u = p - η (m̂ / (sqrt(v̂) + eps) + weight_decay · p)`, then `p ← prox(u)` in the metric `sqrt(v) + eps` with
    threshold `η λ sqrt(n)` on the parameters that have groups.

    Learning rate and strength can be edited in the state without recompiling through optax's usual means:

        inject = optax.inject_hyperparams(proximal_adam, static_args=("b1", "b2", "weight_decay_mask"))
        tx = inject(learning_rate=1e-4, strength=1e-5, groups=groups)
        opt_state.hyperparams["learning_rate"] = jnp.asarray(1e-5, jnp.float32)

    (`inject_hyperparams` takes callables for schedules: give `groups` as a tree or rules there, and keep b1 and b2
    static, since `1 - 0.999` in float32 is off by 1e-5.)

    Args:
      learning_rate: η; a number, a traced scalar or a schedule, which then scales the threshold too.
      strength: the paper's λ; likewise, or a `TargetSparsity` that finds it.
      groups: which axis of which parameter forms groups; see `lim_jax.sparsity.groups`.
      b1: decay of the first moment.
      b2: decay of the second moment.
      eps: added to the root of the second moment, in Adam's step and in the metric.
      weight_decay: decoupled weight decay, times the learning rate.
      weight_decay_mask: tree of booleans like the parameters, or a callable that returns it: where weight decay
        applies.
      penalty: a name of `penalties.PENALTIES`, an object such as `penalties.GroupMCP(gamma=30.0)`, or "none".
      metric: "adam" for `sqrt(v) + eps`, "identity" for the Euclidean proximal operator.
      bias_corrected: use `sqrt(v̂) + eps` as metric, the one that Adam's step really has. The published method uses
        v, which starts at zero: a group then gives way as if λ were `1/sqrt(1 - b2^count)` times as large, 32 times
        at the first step, 10 times at the tenth, 1.3 times at the thousandth (b2 = 0.999). Corrected, the early steps
        prune no more than later ones: what to choose unless the published method is to be repeated.
      original: sizes of the layers before groups were removed from the network; see `proximal`.
      platform: what updates are compiled for; see `proximal`.
      healing_from: after so many updates, no penalty, and zeros stay; see `proximal`.

    Returns:
      A transformation whose `update` needs `params`; its state is a `ProximalState`.
    """
    inner = optax.adamw(learning_rate, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay, mask=weight_decay_mask)
    return proximal(
        inner,
        learning_rate,
        strength,
        groups,
        penalty=penalty,
        metric=metric,
        eps=eps,
        bias_correction=b2 if bias_corrected else None,
        original=original,
        platform=platform,
        healing_from=healing_from,
    )


def current_strength(opt_state: optax.OptState) -> jax.Array:
    """Returns the strength λ that the last update used, a float32 scalar on the device, wherever in the state it is.

    Raises:
      ValueError: if the state holds no `ProximalState`.
    """
    nodes = jax.tree.leaves(opt_state, is_leaf=lambda node: isinstance(node, ProximalState))
    for node in nodes:
        if isinstance(node, ProximalState):
            return node.strength
    raise ValueError("the optimizer state holds no ProximalState: was it made by proximal or proximal_adam?")


def second_moments(inner_state: optax.OptState, found: list[groups_lib.Layer]) -> dict[str, jax.Array]:
    """Returns the second moment of each parameter with groups, by path, as the state of an optax optimizer holds it.

    Args:
      inner_state: state of adam, adamw, nadam, amsgrad, adabelief, rmsprop, adagrad, adafactor (of parameters that it
        does not factor), or of a combination that contains one of them.
      found: the layers whose parameters are wanted.

    Raises:
      UserError: if there is none in the parameter's shape.
    """
    shapes = {path: shape for layer in found for path, shape in zip(layer.paths, layer.shapes, strict=True)}
    result: dict[str, jax.Array] = {}
    for node in jax.tree.leaves(inner_state, is_leaf=lambda node: _moment_field(node) is not None):
        field = _moment_field(node)
        if field is None:
            continue
        for path, moment in groups_lib.leaves_by_path(getattr(node, field)).items():
            if shapes.get(path) == moment.shape:
                result[path] = moment
    missing = [path for path in shapes if path not in result]
    if missing:
        raise UserError(
            f"the optimizer keeps no second moment of {missing[0]} in its shape; "
            "use metric='identity', or one that does"
        )
    return result


def _moment_field(node: Any) -> str | None:
    fields = getattr(node, "_fields", ())
    return next((field for field in _SECOND_MOMENTS if field in fields), None)


def _share(zeros: Mapping[Any, jax.Array], total: int | None) -> jax.Array:
    """Returns the share of zeros; of a `total` before some were removed, these count as zero."""
    left = sum(units.size for units in zeros.values())
    total = left if total is None else total
    counts = [jnp.sum(units) for units in zeros.values()]
    return (jnp.sum(jnp.stack(counts)) + (total - left)).astype(jnp.float32) / total


def _value(scalar: optax.ScalarOrSchedule, count: jax.Array) -> jax.Array:
    return jnp.asarray(scalar(count) if callable(scalar) else scalar)
