"""Proximal operators: the step that makes whole groups of parameters exactly zero.

Every operator here solves `argmin_w ½ Σ_j d_j (w_j - u_j)² + penalty(w)`, group by group, where `u` is what the
optimizer's step would give and the metric `d` is the diagonal that the optimizer scales its step with
(`sqrt(v) + eps` for Adam; all ones for plain gradient descent, the Euclidean case).

The group lasso in a metric has no closed form, but only one unknown per group. With `a = d ⊙ u` the group is zero
if `‖a‖ ≤ t`; else `w = u · dθ / (dθ + t)` where `θ = ‖w‖` is the only root of `g(θ) = 1`,

    g(θ) = ‖a / (dθ + t)‖^-1      (the secular form known from trust-region methods).

`g` is increasing and concave (it is the power mean of exponent -2 of functions linear in θ, up to a factor), so a
Newton step from anywhere lands on the root or left of it, and from there converges monotonically. Two starts are
available for free: `(‖a‖ - t) / (Σ a²d / Σ a²)` is the Newton step from θ = 0, and ‖u‖ bounds the root from above.
The better of the two needs fewer iterations than the bound `(‖a‖ - t) / max d`, and a small fixed number of them
serves any metric: no data-dependent loop, nothing for the host to read.

Each iteration is Halley's: it uses the curvature of g too, which costs no further pass over the arrays and halves
the number of iterations. Left of the root it goes further than Newton's, so its factor is bounded; right of it, less
far. That the numbers of steps below suffice is measured, not proven.

A group is scaled by powers of two near its largest |u| and its largest d first, so that squares neither overflow nor
vanish: entries of 1e-30 are as good as entries of 1. Inside one group, values more than 1e18 below the largest count
as zero (float32).

References:
  Yuan & Lin, Model selection and estimation in regression with grouped variables, 2006 (group lasso).
  Deleu & Bengio, Structured sparsity inducing adaptive optimizers for deep learning, arXiv 2102.03869 (the metric).
  Conn, Gould & Toint, Trust-region methods, 2000, section 7.3 (the secular equation).
  Zhang, Nearly unbiased variable selection under minimax concave penalty, 2010; Huang, Breheny & Ma, A selective
  review of group selection in high-dimensional models, 2012 (group MCP).
  Simon, Friedman, Hastie & Tibshirani, A sparse-group lasso, 2013.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lim_jax import ops
from lim_jax.ops import group_sums
from lim_jax.ops.reference import Axes
from lim_jax.runtime import platforms

# Steps after the start that reach the root to rounding, measured with metrics spread over 1e-8 .. 1e-2 and points over
# 1e-4 .. 1 inside a group. Few elements can be arranged badly (two that are decades apart), many average out.
HALLEY_STEPS = 3
HALLEY_STEPS_SMALL_GROUPS = 8
LONGEST_HALLEY_STEP = 4.0  # times Newton's
NEWTON_STEPS = 9  # where ‖u‖ is no start (group MCP)
NEWTON_STEPS_SMALL_GROUPS = 15
SMALL_GROUP = 64


class Block(NamedTuple):
    """Groups that may span several arrays: group `c` is entry `c` along `axes` of every array.

    Attributes:
      arrays: the arrays that the groups lie in.
      metrics: their metrics, arrays of the same shapes, or None for the Euclidean metric.
      axes: for each array, the axes (not negative, increasing) that index the groups; all other axes are inside a
        group.
      original_size: the number of elements that a group had before some were removed from the network, if they were.
      forms: how sums over groups are computed.
    """

    arrays: Sequence[jax.Array]
    metrics: Sequence[jax.Array] | None
    axes: Sequence[Axes]
    original_size: int | None = None
    forms: ops.Forms = ops.REFERENCE

    @property
    def group_size(self) -> int:
        """The number of elements of one group, over all arrays."""
        parts = zip(self.arrays, self.axes, strict=True)
        return sum(
            math.prod(array.shape[axis] for axis in group_sums.inside(array, group_axes)) for array, group_axes in parts
        )

    @property
    def penalized_size(self) -> int:
        """The n of the penalty's sqrt(n).

        It stays when elements are removed because nobody reads what they compute. Without a gradient they would have
        become zero, and a group of n elements some of which are zero has the threshold of n elements.
        """
        return self.group_size if self.original_size is None else self.original_size


def normalize_axes(group_axis: int | tuple[int, ...], ndim: int) -> Axes:
    """Returns the group axes as increasing, non-negative integers.

    Raises:
      ValueError: if an axis is out of range or named twice.
    """
    axes = (group_axis,) if isinstance(group_axis, int) else tuple(group_axis)
    for axis in axes:
        if not -ndim <= axis < ndim:
            raise ValueError(f"group axis {axis} is out of range for an array with {ndim} axes")
    normalized = tuple(sorted(axis % ndim for axis in axes))
    if len(set(normalized)) != len(normalized):
        raise ValueError(f"group axes {axes} name an axis twice")
    return normalized


def prox_group_lasso(
    u: jax.Array,
    threshold: jax.Array | float,
    metric: jax.Array | None = None,
    *,
    group_axis: int | tuple[int, ...] = -2,
    forms: ops.Forms | None = None,
) -> jax.Array:
    """Solves `argmin_w ½ Σ_j d_j (w_j - u_j)² + t Σ_g ‖w_g‖₂` (paper, eq. 4 and 5).

    Args:
      u: the point after the optimizer's step, any shape, floating.
      threshold: the scalar t ≥ 0, already `learning rate · strength · sqrt(group size)`; may be traced.
      metric: the diagonal d ≥ 0 in u's shape, or None for ones: the Euclidean operator.
      group_axis: the axis that indexes the groups (-2: input channels of a kernel in HWIO layout, rows of a dense
        kernel), several such axes, or () for one group made of the whole array.
      forms: how sums over groups are computed; None: as suits JAX's default platform.

    Returns:
      w, in u's shape and dtype; groups below the threshold are exactly zero. A threshold of zero returns u.
    """
    return _solve(group_lasso, u, metric, group_axis, forms, threshold)


@jax.jit
def prox_l1(u: jax.Array, threshold: jax.Array | float, metric: jax.Array | None = None) -> jax.Array:
    """Solves `argmin_w ½ Σ_j d_j (w_j - u_j)² + t ‖w‖₁`: `sign(u) max(|u| - t/d, 0)` (paper, table 3).

    Args:
      u: the point after the optimizer's step, any shape, floating.
      threshold: the scalar t ≥ 0, already `learning rate · strength`; may be traced.
      metric: the diagonal d ≥ 0 in u's shape, or None for ones. Where it is zero, so is w (unless t = 0).

    Returns:
      w, in u's shape and dtype. A threshold of zero returns u.
    """
    return _soft_threshold(_wide(u), threshold, None if metric is None else _wide(metric)).astype(u.dtype)


def prox_sparse_group_lasso(
    u: jax.Array,
    threshold: jax.Array | float,
    l1_threshold: jax.Array | float,
    metric: jax.Array | None = None,
    *,
    group_axis: int | tuple[int, ...] = -2,
    forms: ops.Forms | None = None,
) -> jax.Array:
    """Solves `argmin_w ½ Σ_j d_j (w_j - u_j)² + t Σ_g ‖w_g‖₂ + s ‖w‖₁`.

    It is the group lasso's operator after the l1 operator, in any diagonal metric: with `ũ = sign(u) max(|u| - s/d,
    0)`, the solution w̃ of the group lasso at ũ has ũ's signs and zeros, so adding s times a subgradient of ‖·‖₁ to
    its optimality condition `d(w̃ - ũ) + t w̃/‖w̃‖ = 0` gives that of the sum.

    Args:
      u: the point after the optimizer's step, any shape, floating.
      threshold: the scalar t ≥ 0 of the groups' norms.
      l1_threshold: the scalar s ≥ 0 of the elements.
      metric: the diagonal d ≥ 0 in u's shape, or None for ones.
      group_axis, forms: as in `prox_group_lasso`.

    Returns:
      w, in u's shape and dtype.
    """
    return _solve(sparse_group_lasso, u, metric, group_axis, forms, threshold, l1_threshold)


def prox_group_mcp(
    u: jax.Array,
    learning_rate: jax.Array | float,
    strength: jax.Array | float,
    gamma: jax.Array | float,
    metric: jax.Array | None = None,
    *,
    group_axis: int | tuple[int, ...] = -2,
    forms: ops.Forms | None = None,
) -> jax.Array:
    """Solves `argmin_w ½ Σ_j d_j (w_j - u_j)² + η Σ_g p(‖w_g‖₂)` with the minimax concave penalty p.

    `p(x) = λx - x²/(2γ)` up to `x = γλ` and constant from there: small groups are thresholded as by the group lasso,
    large ones are not shrunk at all. Where the metric exceeds η/γ throughout a group the problem is convex and its
    solution unique; elsewhere this returns the global minimum too, which can be 0 or u where the stationary point
    between them is a maximum.

    Args:
      u: the point after the optimizer's step, any shape, floating.
      learning_rate: the scalar η > 0; may be traced.
      strength: the scalar λ ≥ 0, already times `sqrt(group size)`.
      gamma: the scalar γ > 0; the larger, the nearer to the group lasso.
      metric: the diagonal d ≥ 0 in u's shape, or None for ones.
      group_axis, forms: as in `prox_group_lasso`.

    Returns:
      w, in u's shape and dtype. A strength of zero returns u.
    """
    return _solve(group_mcp, u, metric, group_axis, forms, learning_rate, strength, gamma)


def group_lasso(block: Block, threshold: jax.Array | float) -> list[jax.Array]:
    """`prox_group_lasso` of groups that may span several arrays."""
    problem = _scale(block, threshold)
    axes, t = problem.axes, problem.threshold
    survives = problem.gradient_norm > t
    t = jnp.where(survives & (t > 0), jnp.maximum(t, jnp.finfo(t.dtype).tiny), 1.0)
    if block.metrics is None:
        theta = problem.gradient_norm - t
    else:
        norm = jnp.where(survives, problem.gradient_norm, 2.0)
        theta = _secular_root(problem, problem.metrics, t, norm, problem.moment, problem.array_norm, from_above=True)
    theta = jnp.where(survives, theta, 0.0)
    solution = []
    for u, d, group_axes in zip(problem.arrays, problem.metrics, axes, strict=True):
        force = d * group_sums.spread(theta, u, group_axes)
        solution.append(u * (force / (force + group_sums.spread(t, u, group_axes))))
    return _finish(block, problem, solution)


def sparse_group_lasso(block: Block, threshold: jax.Array | float, l1_threshold: jax.Array | float) -> list[jax.Array]:
    """`prox_sparse_group_lasso` of groups that may span several arrays."""
    metrics = block.metrics or [None] * len(block.arrays)
    soft = [
        _soft_threshold(_wide(u), l1_threshold, None if d is None else _wide(d))
        for u, d in zip(block.arrays, metrics, strict=True)
    ]
    solution = group_lasso(block._replace(arrays=soft), threshold)
    return [w.astype(u.dtype) for w, u in zip(solution, block.arrays, strict=True)]


def group_mcp(
    block: Block, learning_rate: jax.Array | float, strength: jax.Array | float, gamma: jax.Array | float
) -> list[jax.Array]:
    """`prox_group_mcp` of groups that may span several arrays.

    Stationary points between 0 and the flat part solve the group lasso's equation with `e = d - η/γ` in place of the
    d that multiplies θ. Then `g` is still concave, `g(0) ≥ 1` if and only if `‖a‖ ≤ t`, and `g(γλ) ≤ 1` if and only
    if `‖u‖ ≥ γλ`. So 0 is a candidate in the first case, u in the second, and the first root of g = 1 where `g(0) <
    1`; there are never more than two, and the objective decides between them.
    """
    problem = _scale(block, learning_rate * strength)
    axes, t = problem.axes, problem.threshold
    curvature = jnp.asarray(learning_rate / gamma, t.dtype) / problem.metric_scale
    flat_from = jnp.asarray(gamma * strength, t.dtype) / problem.array_scale
    to_zero = problem.gradient_norm <= t
    safe = jnp.where(to_zero | (t <= 0), 1.0, t)
    norm = jnp.where(to_zero, 2.0, problem.gradient_norm)
    triples = zip(problem.arrays, problem.metrics, axes, strict=True)
    slopes = [d - group_sums.spread(curvature, u, group_axes) for u, d, group_axes in triples]
    upper = jnp.minimum(jnp.where(to_zero, 1.0, flat_from), problem.array_norm)
    moment = problem.moment - curvature * problem.gradient_norm**2
    theta = _secular_root(problem, slopes, safe, norm, moment, upper, from_above=False)
    between = []
    for u, d, e, group_axes in zip(problem.arrays, problem.metrics, slopes, axes, strict=True):
        root = group_sums.spread(theta, u, group_axes)
        between.append(u * _ratio(d * root, e * root + group_sums.spread(safe, u, group_axes)))

    def objective(arrays: Sequence[jax.Array]) -> jax.Array:
        parts = list(zip(arrays, problem.arrays, problem.metrics, strict=True))
        distance, squares = problem.totals(lambda w, u, d: (d * (w - u) ** 2, w * w), parts)
        size = jnp.minimum(jnp.sqrt(squares), flat_from)
        return 0.5 * distance + t * size - 0.5 * curvature * size**2

    zero = [jnp.zeros_like(u) for u in problem.arrays]
    other = jnp.where(to_zero, objective(zero), objective(between))
    flat = (problem.array_norm >= flat_from) & (0.5 * t * flat_from <= other)
    solution = []
    for u, w, group_axes in zip(problem.arrays, between, axes, strict=True):
        w = jnp.where(group_sums.spread(to_zero, u, group_axes), 0.0, w)
        solution.append(jnp.where(group_sums.spread(flat, u, group_axes), u, w))
    return _finish(block, problem, solution)


class _Problem(NamedTuple):
    """A block in units of about each group's largest |u| and largest metric entry. Arrays per group have the groups'
    shape."""

    forms: ops.Forms
    arrays: list[jax.Array]
    metrics: list[jax.Array]
    axes: Sequence[Axes]
    group_size: int
    threshold: jax.Array
    gradient_norm: jax.Array  # ‖d ⊙ u‖
    moment: jax.Array  # Σ (d u)² d
    array_norm: jax.Array  # ‖u‖
    array_scale: jax.Array
    metric_scale: jax.Array

    def totals(self, terms: Any, arrays: Sequence[tuple[jax.Array, ...]], *per_group: jax.Array) -> Any:
        """`group_sums.totals` over the block's groups."""
        return group_sums.totals(terms, arrays, self.axes, *per_group, sum_groups=self.forms.sum_groups)


def _scale(block: Block, threshold: jax.Array | float) -> _Problem:
    arrays, axes = [_wide(u) for u in block.arrays], block.axes
    array_scale = group_sums.unit([jnp.abs(u) for u in arrays], axes)
    # Multiplying by the inverse of a power of two is exact, and cheap enough to be repeated in every pass instead of
    # stored.
    arrays = [
        u * group_sums.spread(1.0 / array_scale, u, group_axes) for u, group_axes in zip(arrays, axes, strict=True)
    ]
    if block.metrics is None:
        metrics = [jnp.ones((), u.dtype) for u in arrays]
        metric_scale = jnp.ones_like(array_scale)
    else:
        metrics = [_wide(d) for d in block.metrics]
        metric_scale = group_sums.unit(metrics, axes)
        metrics = [
            d * group_sums.spread(1.0 / metric_scale, d, group_axes)
            for d, group_axes in zip(metrics, axes, strict=True)
        ]
    gradient, moment, array = group_sums.totals(
        lambda u, d: ((u * d) ** 2, (u * d) ** 2 * d, u * u),
        list(zip(arrays, metrics, strict=True)),
        axes,
        sum_groups=block.forms.sum_groups,
    )
    scaled = jnp.asarray(threshold, array_scale.dtype) / array_scale / metric_scale
    norms = jnp.sqrt(gradient), moment, jnp.sqrt(array)
    return _Problem(block.forms, arrays, metrics, axes, block.group_size, scaled, *norms, array_scale, metric_scale)


def _finish(block: Block, problem: _Problem, solution: Sequence[jax.Array]) -> list[jax.Array]:
    """Returns to the caller's units and dtypes, and to u itself where nothing is penalised."""
    result = []
    for w, u, group_axes in zip(solution, block.arrays, problem.axes, strict=True):
        w = (w * group_sums.spread(problem.array_scale, w, group_axes)).astype(u.dtype)
        result.append(jnp.where(group_sums.spread(problem.threshold > 0, u, group_axes), w, u))
    return result


def _secular_root(
    problem: _Problem,
    slopes: Sequence[jax.Array],
    t: jax.Array,
    norm: jax.Array,
    moment: jax.Array,
    upper: jax.Array,
    *,
    from_above: bool,
) -> jax.Array:
    """Returns, per group, the first root in [0, upper] of `g(θ) = ‖a / (slope·θ + t)‖^-1 = 1`.

    It holds that `norm = ‖a‖ > t > 0`.
    """
    inputs = list(zip(problem.arrays, problem.metrics, slopes, strict=True))

    def iterate(theta: jax.Array, curved: bool) -> jax.Array:
        def terms(u: jax.Array, d: jax.Array, e: jax.Array, theta: jax.Array, t: jax.Array) -> tuple[jax.Array, ...]:
            bottom = e * theta + t
            inverse = 1.0 / bottom if from_above else _ratio(1.0, bottom)
            # Products of few factors: `ops.cpu.sum_groups_in_lanes`.
            square, slope = (u * d * inverse) ** 2, e * inverse
            return square, square * slope, square * slope * slope

        square, slope, curvature = problem.totals(terms, inputs, theta, t)
        step = _ratio(square * (jnp.sqrt(square) - 1.0), slope)
        if curved:
            # f g'' / (2 g'²) of f = g - 1, from the three sums.
            bend = 1.5 * (jnp.sqrt(square) - 1.0) * (_ratio(square * curvature, slope**2) - 1.0)
            step *= 1.0 / (1.0 - jnp.minimum(bend, 1.0 - 1.0 / LONGEST_HALLEY_STEP))
        return jnp.where(slope > 0, theta + step, upper)

    lower = jnp.where(moment > 0, jnp.minimum(_ratio((norm - t) * norm**2, moment), upper), upper)
    theta = jnp.maximum(lower, iterate(upper, curved=False)) if from_above else lower
    small = problem.group_size < SMALL_GROUP
    if from_above:
        steps = HALLEY_STEPS_SMALL_GROUPS if small else HALLEY_STEPS
    else:
        steps = NEWTON_STEPS_SMALL_GROUPS if small else NEWTON_STEPS
    # Unrolled: a loop would keep copies of the scaled arrays.
    for _ in range(steps):
        theta = jnp.clip(iterate(theta, curved=from_above), lower, upper)
    return theta


def _soft_threshold(u: jax.Array, threshold: jax.Array | float, metric: jax.Array | None) -> jax.Array:
    threshold = jnp.asarray(threshold, u.dtype)
    if metric is not None:
        threshold = jnp.where(threshold > 0, threshold / metric, 0.0)
    return jnp.sign(u) * jnp.maximum(jnp.abs(u) - threshold, 0.0)


def _solve(
    operator: Callable[..., list[jax.Array]],
    u: jax.Array,
    metric: jax.Array | None,
    group_axis: int | tuple[int, ...],
    forms: ops.Forms | None,
    *scalars: jax.Array | float,
) -> jax.Array:
    """Applies an operator to the groups of one array, in forms that are chosen here, outside of what is compiled."""
    if metric is not None and metric.shape != u.shape:
        raise ValueError(f"the metric's shape {metric.shape} is not that of u, {u.shape}")
    axes = normalize_axes(group_axis, u.ndim)
    return _solve_in_forms(operator, u, metric, axes, forms or platforms.default().forms, *scalars)


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def _solve_in_forms(
    operator: Callable[..., list[jax.Array]],
    u: jax.Array,
    metric: jax.Array | None,
    axes: Axes,
    forms: ops.Forms,
    *scalars: jax.Array | float,
) -> jax.Array:
    return operator(Block([u], None if metric is None else [metric], [axes], forms=forms), *scalars)[0]


def _wide(array: jax.Array) -> jax.Array:
    """Computes in float32 what comes in less, since a threshold is often below bfloat16's resolution of u."""
    return array.astype(jnp.promote_types(array.dtype, jnp.float32))


def _ratio(numerator: jax.Array | float, denominator: jax.Array) -> jax.Array:
    """Divides where the denominator is positive, and returns zero elsewhere."""
    positive = denominator > 0
    return jnp.where(positive, numerator / jnp.where(positive, denominator, 1.0), 0.0)
