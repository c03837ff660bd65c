"""The forms that XLA for CPUs runs fastest. Every figure is in docs/performance.md, "Forms of operations".

* Convolutions: a 1×1 kernel is a matrix product, up to 2 times faster than the op; a dilated kernel whose taps often
  see padding is a sum of taps, up to 30 times; the gradient of every other kernel of stride 1 is one, 1.3 to 4 times.
* Max pooling by slices: its gradient takes a quarter of the time of `reduce_window`'s. jax2onnx translates it right.
* The ReLU by a division: XLA stores it instead of computing it again for each reader, a tenth to a fifth of a step.
* Batch norm's gradient as sums of two factors: XLA would store the products of three, 152 of 716 MB.
* Sums over groups in rows of 16 lanes: XLA makes vector instructions of them, 0.2 instead of 2 ns an element.
"""

import jax
import jax.numpy as jnp
from jax import lax

from lim_jax.ops import reference
from lim_jax.ops.forms import REFERENCE, Form, Forms
from lim_jax.ops.group_sums import add, inside
from lim_jax.ops.taps import BY_TAPS, OP_WITH_TAPS, Shape, choosing, visible_share

TAPS_BELOW = 0.78  # the op takes a dilated convolution where at least this share of its products sees the image

# Sums over a group first add up at most `ROWS` rows of `LANES` neighbours, one row to the other.
LANES = 16
ROWS = 16


def form_of_convolution(x: Shape, kernel: Shape, stride: int, dilation: int) -> Form:
    """Returns the form of the convolution of arrays of these shapes."""
    if kernel[0] == 1:
        return BY_TAPS
    if stride == 1 and dilation > 1 and visible_share(x, kernel, dilation) < TAPS_BELOW:
        return BY_TAPS
    return OP_WITH_TAPS if stride == 1 else REFERENCE.convolve


def max_pool_by_slices(x: jax.Array, window: int, stride: int, padding: int = 0) -> jax.Array:
    """`reference.max_pool` as a maximum of strided slices. Where cells tie, the gradient is shared among them."""
    margin = (padding, padding)
    padded = jnp.pad(x, [(0, 0), margin, margin, (0, 0)], constant_values=-jnp.inf)
    height, width = ((size - window) // stride * stride + 1 for size in padded.shape[1:3])
    pooled = padded[:, :height:stride, :width:stride]
    for i in range(window):
        for j in range(window):
            pooled = jnp.maximum(pooled, padded[:, i : i + height : stride, j : j + width : stride])
    return pooled


def relu_computed_once(x: jax.Array) -> jax.Array:
    """ReLU of finite `x` by a division, which counts as expensive: XLA computes it once and stores it.

    Cheap chains are computed again wherever they are read. In training each activation is read several times, and
    blocks add theirs to what the block before gave, so that each reader at the end of a stage would go through all
    blocks of the stage again.
    """
    return x / jnp.where(x > 0, 1, jnp.inf).astype(x.dtype)


def normalize_batch_gradients(
    x: jax.Array, scale: jax.Array, mean: jax.Array, variance: jax.Array, gradient: jax.Array, axis_name: str | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """`reference.normalize_batch_gradients` with the scale's, Σ g (x - mean) rate, as (Σ g x - mean Σ g) rate.

    It is no less exact: both are off by the rounding of the mean. XLA stores the terms of a sum that have more than
    two factors, and did so for all layers in the forward pass already.
    """
    gradient = gradient.astype(mean.dtype)
    rate = lax.rsqrt(variance + reference.BATCH_NORM_EPSILON)
    standard = (x - mean) * rate
    axes = tuple(range(x.ndim - 1))
    bias_gradient = jnp.sum(gradient, axes)
    scale_gradient = (jnp.sum(gradient * x, axes) - mean * bias_gradient) * rate
    sums = scale_gradient, bias_gradient
    return reference.without_sums(gradient, standard, scale * rate, sums, axis_name).astype(x.dtype), *sums


def sum_groups_in_lanes(quantities: tuple[jax.Array, ...], group_axes: reference.Axes) -> tuple[jax.Array, ...]:
    """`reference.sum_groups`, all quantities in one pass, in rows of neighbours.

    Of all forms of several sums in one pass that were tried, XLA makes vector instructions of this one only, and for
    products of few factors.
    """
    shape = quantities[0].shape
    axes = inside(quantities[0], group_axes)
    lanes = LANES if axes and axes[-1] == len(shape) - 1 else 1  # otherwise the groups themselves are neighbours
    units = shape[axes[-1]] // lanes if axes else 0
    if units < 2:
        return _reduce(quantities, axes)
    axis, blocks = axes[-1], -(-units // ROWS)
    rows = units // blocks
    whole = blocks * rows * lanes

    def folded(array: jax.Array) -> jax.Array:
        return array.reshape(*shape[:axis], blocks, rows, *([lanes] * (lanes > 1)), *shape[axis + 1 :])

    parts = _reduce(tuple(folded(lax.slice_in_dim(array, 0, whole, axis=axis)) for array in quantities), (axis + 1,))
    left = (*axes[:-1], axis, *([axis + 1] * (lanes > 1)))
    sums = _sum_each(parts, left)
    if whole == shape[axis]:
        return sums
    rest = tuple(lax.slice_in_dim(array, whole, shape[axis], axis=axis) for array in quantities)
    return add(sums, _reduce(rest, axes))


def _sum_each(parts: tuple[jax.Array, ...], axes: reference.Axes) -> tuple[jax.Array, ...]:
    """Sums arrays of one shape over `axes`, stacked: XLA would merge a sum of several with the one that gave them."""
    return tuple(jnp.unstack(jnp.sum(jnp.stack(parts), tuple(axis + 1 for axis in axes))))


def _reduce(quantities: tuple[jax.Array, ...], axes: reference.Axes) -> tuple[jax.Array, ...]:
    """Sums arrays of one shape over `axes`, all at once."""
    return tuple(lax.reduce(quantities, tuple(jnp.zeros((), x.dtype) for x in quantities), add, axes))


CPU = Forms(
    "cpu",
    convolve=choosing(form_of_convolution),
    max_pool=max_pool_by_slices,
    relu=relu_computed_once,
    normalize_batch=Form(reference.normalize_batch, normalize_batch_gradients),
    sum_groups=sum_groups_in_lanes,
)
