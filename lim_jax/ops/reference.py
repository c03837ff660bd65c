"""The operations of networks and proximal steps in plain JAX: what they compute. Start reading here.

Arrays are NHWC, kernels HWIO: an input channel is `kernel[:, :, c, :]`. Padding is that of torch's `padding=dilation *
(kernel_size // 2)`: output cell i of a convolution of stride 2 is centred on input cell 2i. JAX derives the gradients.
The one of batch norm is written out, because the moments that it needs are there already (on several devices they
are sums over all); the tests compare it with what JAX derives.
"""

import jax
import jax.numpy as jnp
from jax import lax

BATCH_NORM_EPSILON = 1e-5

Axes = tuple[int, ...]


def convolve(x: jax.Array, kernel: jax.Array, stride: int = 1, dilation: int = 1) -> jax.Array:
    """Convolves `x` (N, H, W, C) with `kernel` (k, k, C, O), k odd, padded by `dilation * (k // 2)` zeros.

    Returns:
      (N, ceil(H / stride), ceil(W / stride), O), in the dtype of both.
    """
    padding = dilation * (kernel.shape[0] // 2)
    return lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=[(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def max_pool(x: jax.Array, window: int, stride: int, padding: int = 0) -> jax.Array:
    """Returns the maximum over `window`×`window` cells of `x` (N, H, W, C), every `stride` cells, as torch does."""
    shape, strides = (1, window, window, 1), (1, stride, stride, 1)
    margins = [(0, 0), (padding, padding), (padding, padding), (0, 0)]
    return lax.reduce_window(x, -jnp.inf, lax.max, shape, strides, margins)


def relu(x: jax.Array) -> jax.Array:
    """Returns `max(x, 0)`, any shape and floating dtype; its derivative at 0 is 0."""
    return jax.nn.relu(x)


def moments(x: jax.Array, axis_name: str | None = None) -> tuple[jax.Array, jax.Array]:
    """Returns mean and (biased) variance over all axes of `x` (..., C) but the last, (C,), in float32 at least.

    They are those of the global batch if `axis_name`, the axis over which it is distributed, is given. mean(x²) -
    mean(x)² would cancel where values hardly differ, as after the pooling of a small batch.
    """
    axes = tuple(range(x.ndim - 1))
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))

    def global_mean(values: jax.Array) -> jax.Array:
        local = jnp.mean(values, axes)
        return local if axis_name is None else lax.pmean(local, axis_name)

    mean = global_mean(x)
    return mean, global_mean(jnp.square(x - mean))


def scale_and_shift(x: jax.Array, scale: jax.Array, bias: jax.Array, mean: jax.Array, variance: jax.Array) -> jax.Array:
    """Normalises `x` (..., C) by moments, then scales and shifts it; in the dtype of `x`, all others are (C,)."""
    return ((x - mean) * (lax.rsqrt(variance + BATCH_NORM_EPSILON) * scale) + bias).astype(x.dtype)


def normalize_batch(
    x: jax.Array, scale: jax.Array, bias: jax.Array, axis_name: str | None = None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises `x` (..., C) by its own moments; returns the result and these, mean and variance."""
    mean, variance = moments(x, axis_name)
    return scale_and_shift(x, scale, bias, mean, variance), mean, variance


def normalize_batch_gradients(
    x: jax.Array, scale: jax.Array, mean: jax.Array, variance: jax.Array, gradient: jax.Array, axis_name: str | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the gradients of `normalize_batch` with respect to `x`, `scale` and `bias`, given that of its result."""
    gradient = gradient.astype(mean.dtype)
    axes = tuple(range(x.ndim - 1))
    rate = lax.rsqrt(variance + BATCH_NORM_EPSILON)
    standard = (x - mean) * rate
    sums = jnp.sum(gradient * standard, axes), jnp.sum(gradient, axes)
    return without_sums(gradient, standard, scale * rate, sums, axis_name).astype(x.dtype), *sums


def without_sums(
    gradient: jax.Array, standard: jax.Array, factor: jax.Array, sums: tuple[jax.Array, ...], axis_name: str | None
) -> jax.Array:
    """Returns the gradient of batch norm's input: what `gradient` has beside its `sums` along `standard` and along 1.

    `standard` are the normalised values before `factor`, their scale over their deviation, is applied.
    """
    cells = standard.size // standard.shape[-1]
    means = tuple(value / cells for value in sums)
    along_scale, along_bias = means if axis_name is None else lax.pmean(means, axis_name)
    return (gradient - along_bias - standard * along_scale) * factor


def sum_groups(quantities: tuple[jax.Array, ...], group_axes: Axes) -> tuple[jax.Array, ...]:
    """Sums arrays of one shape over all axes but `group_axes`, which index their groups; see `ops.group_sums`."""
    axes = tuple(axis for axis in range(quantities[0].ndim) if axis not in group_axes)
    return tuple(jnp.sum(array, axes) for array in quantities)
