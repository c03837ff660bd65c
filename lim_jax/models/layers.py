"""The layers that all networks here are made of: convolution, batch normalisation, max pooling, dropout.

Arrays are NHWC, kernels HWIO and named `kernel`, so that a group (an input channel) is `kernel[:, :, c, :]`.
Padding is that of torch's `padding=dilation * (kernel_size // 2)`: output cell i of a stride-2 layer is
centred on input cell 2i. A convolution is computed in whichever of three forms is cheapest (`convolve`); its
parameters never depend on that.

`dtype` is the type of the computation. Parameters and the statistics of batch normalisation stay float32.

What a network has many of is jitted by itself (`convolve`, `normalize_batch`, `kernel_init`): JAX then traces it, its
gradient and its transpose once for each shape, and a network in three quarters of the time. XLA sees no difference.

What compaction needs is here too: a convolution may read some of its input's channels only, or none, may see in
addition a channel that is one everywhere, and may have no channels left. Parameters without elements do not exist.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

# The convolution op computes a dilated convolution and its input's gradient where at least this share of the products
# falls on the image, not on padding. Milliseconds of the op / of the sum of taps, float32, 2 CPU cores:
#                                             forward     input's gradient  kernel's gradient
#   share 0.96: 1×64×64, rate  2,  256→256    37 / 41      38 / 43           80 / 56
#   share 0.92: 1×64×64, rate  4,  512→512   149 / 159    159 / 168         797 / 182
#               4×16×16, rate  1,  256→256    12 / 11      12 / 11           22 / 15
#   share 0.84: 4×32×32, rate  4,  512→512   142 / 116    142 / 123         479 / 143
#               4×16×16, rate  2,  256→256    11 / 10      12 / 9            22 / 13
#   share 0.77: 1×64×64, rate 12, 2048→256   336 / 234    320 / 236         657 / 427
#   share 0.69: 4×16×16, rate  4,  512→512    44 / 27      49 / 27           79 / 37
# The kernel's gradient is a sum of taps at all shares, therefore. In small layers (64→64) that hardly matters. At a
# share of 0.84 the op's time buys memory: XLA keeps the pieces that taps read.
TAPS_BELOW = 0.78

BATCH_NORM_EPSILON = 1e-5
BATCH_NORM_MOMENTUM = 0.9  # what the running moments keep of themselves at a step

kernel_init = jax.jit(nn.initializers.he_normal(), static_argnums=(1, 2))


def visible_share(size: int, dilation: int, kernel_size: int) -> float:
    """Returns the share of (output cell, tap) pairs along one axis whose tap lies on the image."""
    reach = range(-(kernel_size // 2), kernel_size // 2 + 1)
    return sum(max(size - abs(tap) * dilation, 0) for tap in reach) / (kernel_size * size)


@functools.partial(jax.jit, static_argnames=("stride", "dilation"))
def convolve(x: jax.Array, kernel: jax.Array, *, stride: int = 1, dilation: int = 1) -> jax.Array:
    """Convolves `x` (N, H, W, C) with `kernel` (k, k, C, O), k odd, padded by `dilation * (k // 2)` zeros.

    A 1×1 kernel is a matrix product (up to 2× faster than the convolution op on a CPU, gradients included). A
    dilated kernel whose taps often see padding, as in ASPP, is a sum of matrix products over what each tap sees.
    Everything else is the convolution op, with a gradient of its own where the stride is 1.

    Returns:
      (N, ceil(H / stride), ceil(W / stride), O), in the dtype of `x` and `kernel`.
    """
    kernel_size = kernel.shape[0]
    if kernel_size == 1:
        return convolve_by_taps(x[:, ::stride, ::stride], kernel, 1)
    height, width = x.shape[1:3]
    share = visible_share(height, dilation, kernel_size) * visible_share(width, dilation, kernel_size)
    if stride == 1 and dilation > 1 and share < TAPS_BELOW:
        return convolve_by_taps(x, kernel, dilation)
    if stride == 1:
        return convolve_on_image(x, kernel, dilation)
    return convolve_by_op(x, kernel, stride=stride, dilation=dilation)


def convolve_by_op(x: jax.Array, kernel: jax.Array, *, stride: int = 1, dilation: int = 1) -> jax.Array:
    """`convolve` as one call of XLA's convolution."""
    padding = dilation * (kernel.shape[0] // 2)
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        window_strides=(stride, stride),
        padding=[(padding, padding)] * 2,
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve_by_taps(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    """`convolve` with stride 1 as a sum of matrix products, one per tap that sees the image."""
    total = jnp.zeros((), x.dtype)
    for tap in _taps((x.shape[1], x.shape[2]), kernel.shape[0], dilation):
        total = total + _place(jnp.einsum("nhwc,co->nhwo", x[tap.read], kernel[tap.place]), tap.write, x.shape)
    return total


def _taps_forward(x: jax.Array, kernel: jax.Array, dilation: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve_by_taps(x, kernel, dilation), (x, kernel)


def _taps_backward(
    dilation: int, inputs: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The gradients of `convolve_by_taps`.

    JAX would derive the kernel's as (g^T x)^T, for which XLA makes a transposed copy of g on a CPU. As x^T g, the
    whole training step of a bottleneck takes 40 instead of 46 ms (16×16, 1024 channels, batch 4), 130 instead of 152
    (2048 channels, rate 4), 19 instead of 23 (32×32, 256 channels).
    """
    x, kernel = inputs
    taps = _taps((x.shape[1], x.shape[2]), kernel.shape[0], dilation)
    seen = {tap.place: gradient[tap.write] for tap in taps}
    x_gradient = _sum_in_place(
        (tap.read, jnp.einsum("nhwo,co->nhwc", seen[tap.place], kernel[tap.place])) for tap in taps
    )
    by_tap = {tap.place: jnp.einsum("nhwc,nhwo->co", x[tap.read], seen[tap.place]) for tap in taps}
    return x_gradient, _kernel_of(by_tap, kernel)


convolve_by_taps.defvjp(_taps_forward, _taps_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def convolve_on_image(x: jax.Array, kernel: jax.Array, dilation: int) -> jax.Array:
    """`convolve_by_op` with stride 1, for kernels most of whose products fall on the image.

    The gradient of its kernel is a matrix product per tap (times are at `TAPS_BELOW`), with which a training step's
    gradients take 0.97 of the time.
    """
    return convolve_by_op(x, kernel, dilation=dilation)


def _on_image_forward(x: jax.Array, kernel: jax.Array, dilation: int) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolve_on_image(x, kernel, dilation), (x, kernel)


def _on_image_backward(
    dilation: int, inputs: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The gradients of `convolve_on_image`.

    The output's gradient is moved to where each tap reads, not the input to where it writes: XLA would cut the latter's
    pieces in the forward pass already, and keep them until here (146 MB of resnet50d, batch 4, 128×128).
    """
    x, kernel = inputs
    by_tap = {
        tap.place: jnp.einsum("nhwc,nhwo->co", x, _place(gradient[tap.write], tap.read, x.shape))
        for tap in _taps((x.shape[1], x.shape[2]), kernel.shape[0], dilation)
    }
    (x_gradient,) = jax.linear_transpose(lambda x: convolve_by_op(x, kernel, dilation=dilation), x)(gradient)
    return x_gradient, _kernel_of(by_tap, kernel)


convolve_on_image.defvjp(_on_image_forward, _on_image_backward)


def _kernel_of(by_tap: Mapping[tuple[int, int], jax.Array], like: jax.Array) -> jax.Array:
    """Returns a kernel shaped as `like` with the given matrices, and zeros in its other places."""
    unseen = jnp.zeros(like.shape[2:], like.dtype)
    return jnp.stack([by_tap.get(place, unseen) for place in np.ndindex(*like.shape[:2])]).reshape(like.shape)


class _Tap(NamedTuple):
    """One position of a kernel.

    Attributes:
      place: its row and column in the kernel.
      read: the part of the input (N, H, W, C) that it sees.
      write: the part of the output that this contributes to, of the same size.
    """

    place: tuple[int, int]
    read: tuple[slice, ...]
    write: tuple[slice, ...]


def _taps(size: tuple[int, int], kernel_size: int, dilation: int) -> list[_Tap]:
    """Returns the taps that see something of an image of (height, width), that in the middle, which sees all, first.

    Output cell p reads cell p + offset.
    """
    found, middle = [], kernel_size // 2
    for place in np.ndindex(kernel_size, kernel_size):
        offset = [(position - middle) * dilation for position in place]
        if all(abs(o) < n for o, n in zip(offset, size, strict=True)):
            read, write = (
                (slice(None), *(slice(max(o, 0), n + min(o, 0)) for o, n in zip(signed, size, strict=True)))
                for signed in (offset, [-o for o in offset])
            )
            found.append(_Tap(place, read, write))
    return sorted(found, key=lambda tap: tap.place != (middle, middle))


def _sum_in_place(parts: Iterable[tuple[tuple[slice, ...], jax.Array]]) -> jax.Array:
    """Adds up parts of an image at their places, of which the first is all of it.

    A sum of parts that are padded with zeros would be one operation for XLA, which needs them all at once: gradients of
    resnet50d with three heads, batch 16, 256×256, take 5 % less memory this way, and a few percent less time.
    In the forward pass, whose parts are an eighth as large, it is no gain (0.99 of the time of inference).
    """
    (_, total), *others = parts
    for where, part in others:
        total = jax.lax.dynamic_update_slice(total, total[where] + part, [axis.start or 0 for axis in where] + [0])
    return total


def _place(part: jax.Array, where: tuple[slice, ...], shape: Sequence[int]) -> jax.Array:
    """Returns `part` (N, h, w, C) at its place in an image of zeros of the height and width in `shape`."""
    margins = [(w.start, n - w.stop) for w, n in zip(where[1:], shape[1:3], strict=True)]
    return jnp.pad(part, [(0, 0), *margins, (0, 0)])


def max_pool(x: jax.Array, *, window: int, stride: int, padding: int = 0) -> jax.Array:
    """Returns the maximum over `window`×`window` cells, every `stride` cells, as torch does.

    Written as a maximum of strided slices: its gradient takes a quarter of the time of reduce_window's on a
    CPU, and it exports to ONNX. Where cells tie, the gradient is shared among them.
    """
    margin = (padding, padding)
    padded = jnp.pad(x, [(0, 0), margin, margin, (0, 0)], constant_values=-jnp.inf)
    height, width = ((size - window) // stride * stride + 1 for size in padded.shape[1:3])
    pooled = padded[:, :height:stride, :width:stride]
    for i in range(window):
        for j in range(window):
            pooled = jnp.maximum(pooled, padded[:, i : i + height : stride, j : j + width : stride])
    return pooled


def relu(x: jax.Array, train: bool) -> jax.Array:
    """Returns `max(x, 0)`, any shape and floating dtype; in training by `stored_relu`."""
    return stored_relu(x) if train else nn.relu(x)


@jax.custom_vjp
def stored_relu(x: jax.Array) -> jax.Array:
    """ReLU of finite `x`, any shape and floating dtype, that XLA computes once and stores.

    XLA for CPUs computes an activation again wherever it is read, unless that takes an "expensive" operation, as the
    division here. In training each is read several times, and blocks add theirs to what the block before gave, so that
    each reader at the end of a stage would go through all blocks of the stage again. With resnet50d, batch 4, 128×128,
    a training step takes 1.46 s if all are stored, 1.6 s if only those of whole blocks are, and 1.77 s without.
    """
    return x / jnp.where(x > 0, 1, jnp.inf).astype(x.dtype)


def _relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    activation = stored_relu(x)
    return activation, activation


def _relu_backward(activation: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    return (jnp.where(activation > 0, gradient, 0),)


stored_relu.defvjp(_relu_forward, _relu_backward)


def select(x: jax.Array, channels: Sequence[int] | None) -> jax.Array:
    """Returns the given channels of `x` (N, H, W, C), known when compiling; all for None."""
    if channels is None:
        return x
    first, number = (channels[0], len(channels)) if channels else (0, 0)
    if tuple(channels) == tuple(range(first, first + number)):
        return x[..., first : first + number]
    return jnp.take(x, np.array(channels), axis=-1)


class Conv(nn.Module):
    """A convolution with a bias.

    Attributes:
      features: output channels.
      kernel_size, stride, dilation: of both axes; `kernel_size` is odd.
      dtype: dtype of the computation.
      inputs: the channels that it reads; None = all. Without any, it has no `kernel`.
      constant: whether it also sees a channel of ones, padded with zeros as the others are, through its
        `constant_kernel` (k, k, 1, features): the sum of all channels that are constant, exact at the borders.
    """

    features: int
    kernel_size: int = 1
    stride: int = 1
    dilation: int = 1
    dtype: str = "float32"
    inputs: tuple[int, ...] | None = None
    constant: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps (N, H, W, C) to (N, ceil(H / stride), ceil(W / stride), features)."""
        return _add_bias(self, _products(self, x))


class ConvNorm(nn.Module):
    """A convolution without bias and the batch normalisation of its output, `bn`; a field more than `Conv` has.

    Attributes:
      folded: the normalisation is folded into the kernels and a `bias`, for inference only.
    """

    features: int
    kernel_size: int = 1
    stride: int = 1
    dilation: int = 1
    dtype: str = "float32"
    inputs: tuple[int, ...] | None = None
    constant: bool = False
    folded: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, axis_name: str | None = None) -> jax.Array:
        """Maps (N, H, W, C) to (N, ceil(H / stride), ceil(W / stride), features).

        Args:
          x: the input.
          train: normalise by the moments of this batch, and update the running ones (in `batch_stats`).
          axis_name: the axis over which the batch is distributed, if it is; the moments are the global
          batch's.
        """
        x = _products(self, x)
        if self.folded or not self.features:
            return _add_bias(self, x)
        return BatchNorm(name="bn")(x, train, axis_name)


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last; parameters and statistics have the names of `nn.BatchNorm`.

    The computation is float32's, the result has the dtype of the input.
    """

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, axis_name: str | None = None) -> jax.Array:
        """Normalises `x` (..., C); arguments as of `ConvNorm`."""
        shape = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_variance = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        if not train:
            return _scale_and_shift(x, scale, bias, running_mean.value, running_variance.value)
        normalized, mean, variance = normalize_batch(x, scale, bias, axis_name)
        if not self.is_initializing():
            for running, new in ((running_mean, mean), (running_variance, variance)):
                running.value = BATCH_NORM_MOMENTUM * running.value + (1 - BATCH_NORM_MOMENTUM) * new
        return normalized


@functools.partial(jax.jit, static_argnums=3)
def normalize_batch(
    x: jax.Array, scale: jax.Array, bias: jax.Array, axis_name: str | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises `x` (..., C) by its own moments, in float32 at least.

    Returns:
      The normalised values, in the dtype of `x`, and the mean and the (biased) variance, (C,), which are those of the
      global batch if `axis_name` is given. Nothing is differentiated through the last two.
    """
    return cast(Any, _normalize_batch(x, scale, bias, axis_name))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _normalize_batch(
    x: jax.Array, scale: jax.Array, bias: jax.Array, axis_name: str | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    mean, variance = _moments(x, axis_name)
    return _scale_and_shift(x, scale, bias, mean, variance), mean, variance


def _normalize_forward(x: jax.Array, scale: jax.Array, bias: jax.Array, axis_name: str | None):
    outputs = cast(Any, _normalize_batch(x, scale, bias, axis_name))
    return outputs, (x, scale, *outputs[1:])


def _normalize_backward(axis_name: str | None, residuals: tuple[jax.Array, ...], gradients: tuple[jax.Array, ...]):
    """Two sums over the batch, and one pass for the gradient of `x`; all else that was needed is `x` itself.

    The gradient of the scale is Σ g (x - mean) rate. As (Σ g x - mean Σ g) rate it is no less exact: both are off by
    the rounding of the mean. XLA for CPUs stores the terms of a sum that have more than two factors, and did so for
    all layers in the forward pass already (152 of 716 MB of temporary arrays of resnet50d, batch 4, 128×128).
    """
    x, scale, mean, variance = residuals
    gradient = gradients[0].astype(mean.dtype)
    rate = jax.lax.rsqrt(variance + BATCH_NORM_EPSILON)
    standard = (x - mean) * rate
    axes = tuple(range(x.ndim - 1))
    bias_gradient = jnp.sum(gradient, axes)
    scale_gradient = (jnp.sum(gradient * x, axes) - mean * bias_gradient) * rate
    means = (scale_gradient / (x.size // x.shape[-1]), bias_gradient / (x.size // x.shape[-1]))
    along_scale, along_bias = means if axis_name is None else jax.lax.pmean(means, axis_name)
    x_gradient = (gradient - along_bias - standard * along_scale) * (scale * rate)
    return x_gradient.astype(x.dtype), scale_gradient, bias_gradient


_normalize_batch.defvjp(_normalize_forward, _normalize_backward)


def _moments(x: jax.Array, axis_name: str | None) -> tuple[jax.Array, jax.Array]:
    """Returns mean and variance of all axes but the last.

    mean(x²) - mean(x)² would cancel where values hardly differ, as after the pooling of a small batch.
    """
    axes = tuple(range(x.ndim - 1))
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))

    def global_mean(values: jax.Array) -> jax.Array:
        local = jnp.mean(values, axes)
        return local if axis_name is None else jax.lax.pmean(local, axis_name)

    mean = global_mean(x)
    return mean, global_mean(jnp.square(x - mean))


def _scale_and_shift(
    x: jax.Array, scale: jax.Array, bias: jax.Array, mean: jax.Array, variance: jax.Array
) -> jax.Array:
    return ((x - mean) * (jax.lax.rsqrt(variance + BATCH_NORM_EPSILON) * scale) + bias).astype(x.dtype)


def _products(layer: Conv | ConvNorm, x: jax.Array) -> jax.Array:
    """The convolution of `layer` on what it reads, without bias."""
    x = select(x.astype(layer.dtype), layer.inputs)
    size, stride = layer.kernel_size, layer.stride
    examples, height, width, channels = x.shape
    sums = jnp.zeros((examples, -(-height // stride), -(-width // stride), layer.features), x.dtype)
    if not layer.features:
        return sums
    if channels:
        kernel = layer.param("kernel", kernel_init, (size, size, channels, layer.features), jnp.float32)
        sums = convolve(x, kernel.astype(x.dtype), stride=stride, dilation=layer.dilation)
    if layer.constant:
        shape = (size, size, 1, layer.features)
        kernel = layer.param("constant_kernel", nn.initializers.zeros, shape, jnp.float32)
        ones = jnp.ones((1, height, width, 1), x.dtype)
        sums = sums + convolve(ones, kernel.astype(x.dtype), stride=stride, dilation=layer.dilation)
    return sums


def _add_bias(layer: Conv | ConvNorm, x: jax.Array) -> jax.Array:
    if not layer.features:
        return x
    return x + layer.param("bias", nn.initializers.zeros, (layer.features,), jnp.float32).astype(x.dtype)


class Dropout(nn.Module):
    """Inverted dropout whose noise belongs to an example's place in the global batch.

    With the same `dropout` key on every device, the result does not depend on the number of devices.

    Attributes:
      rate: probability of a zero.
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, axis_name: str | None = None) -> jax.Array:
        """Zeroes entries of `x` (N, ...) and scales the others up; the identity unless `train`."""
        if not train or self.rate == 0:
            return x
        first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * x.shape[0]
        places = first + jnp.arange(x.shape[0])
        keys = jax.vmap(jax.random.fold_in, (None, 0))(self.make_rng("dropout"), places)
        kept = jax.vmap(lambda key: jax.random.bernoulli(key, 1 - self.rate, x.shape[1:]))(keys)
        return jnp.where(kept, x / (1 - self.rate), 0)
