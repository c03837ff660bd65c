"""The layers that all networks here are made of: convolution, batch normalisation, dropout.

Arrays are NHWC, kernels HWIO and named `kernel`, so that a group (an input channel) is `kernel[:, :, c, :]`. What the
layers compute is in `ops.reference`; their attribute `forms` says how. Parameters never depend on that, nor does the
description of a model.

`dtype` is the type of the computation. Parameters and the statistics of batch normalisation stay float32.

What compaction needs is here too: a convolution may read some of its input's channels only, or none, may see in
addition a channel that is one everywhere, and may have no channels left. Parameters without elements do not exist.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from lim_jax import ops

BATCH_NORM_MOMENTUM = 0.9  # what the running moments keep of themselves at a step

kernel_init = jax.jit(nn.initializers.he_normal(), static_argnums=(1, 2))  # traced once for each shape


def select(x: jax.Array, channels: Sequence[int] | None) -> jax.Array:
    """Returns the given channels of `x` (N, H, W, C), known when compiling; all for None."""
    if channels is None:
        return x
    first, number = (channels[0], len(channels)) if channels else (0, 0)
    if tuple(channels) == tuple(range(first, first + number)):
        return x[..., first : first + number]
    return jnp.take(x, np.array(channels), axis=-1)


def doubled(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Returns `x` (N, h, w, C) at twice its resolution: cell 2i is cell i, between two cells lies their mean.

    Args:
      x: a map.
      size: (rows, columns) of the result, 2h or 2h - 1 and 2w or 2w - 1; beyond the last cell is that cell.
    """
    cut = jax.lax.slice_in_dim
    for axis, cells in zip((1, 2), size, strict=True):
        last = x.shape[axis] - 1
        following = jnp.concatenate([cut(x, 1, last + 1, axis=axis), cut(x, last, last + 1, axis=axis)], axis)
        shape = (*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])
        pairs = jnp.stack([x, (x + following) / 2], axis + 1)
        x = cut(pairs.reshape(shape), 0, cells, axis=axis)
    return x


class Conv(nn.Module):
    """A convolution with a bias.

    Attributes:
      features: output channels.
      kernel_size, stride, dilation: of both axes; `kernel_size` is odd.
      dtype: dtype of the computation.
      inputs: the channels that it reads; None = all. Without any, it has no `kernel`.
      constant: whether it also sees a channel of ones, padded with zeros as the others are, through its
        `constant_kernel` (k, k, 1, features): the sum of all channels that are constant, exact at the borders.
      forms: how it is computed.
    """

    features: int
    kernel_size: int = 1
    stride: int = 1
    dilation: int = 1
    dtype: str = "float32"
    inputs: tuple[int, ...] | None = None
    constant: bool = False
    forms: ops.Forms = ops.REFERENCE

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
    forms: ops.Forms = ops.REFERENCE

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, axis_name: str | None = None) -> jax.Array:
        """Maps (N, H, W, C) to (N, ceil(H / stride), ceil(W / stride), features).

        Args:
          x: the input.
          train: normalise by the moments of this batch, and update the running ones (in `batch_stats`).
          axis_name: the axis over which the batch is distributed, if it is; the moments are the global batch's.
        """
        x = _products(self, x)
        if self.folded or not self.features:
            return _add_bias(self, x)
        return BatchNorm(self.forms, name="bn")(x, train, axis_name)


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last; parameters and statistics have the names of `nn.BatchNorm`.

    The computation is float32's, the result has the dtype of the input. One value per channel, as behind the pooling of
    a single example, has no moments: the running ones stand for them, in training as afterwards, and stay as they are.

    Attributes:
      forms: how it is computed.
    """

    forms: ops.Forms = ops.REFERENCE

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, axis_name: str | None = None) -> jax.Array:
        """Normalises `x` (..., C); arguments as of `ConvNorm`."""
        shape = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_variance = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        devices = 1 if axis_name is None else jax.lax.axis_size(axis_name)
        if not train or devices * x.size <= x.shape[-1]:
            return ops.scale_and_shift(x, scale, bias, running_mean.value, running_variance.value)
        normalized, mean, variance = ops.normalize_batch(x, scale, bias, axis_name=axis_name, forms=self.forms)
        if not self.is_initializing():
            for running, new in ((running_mean, mean), (running_variance, variance)):
                running.value = BATCH_NORM_MOMENTUM * running.value + (1 - BATCH_NORM_MOMENTUM) * new
        return normalized


def _products(layer: Conv | ConvNorm, x: jax.Array) -> jax.Array:
    """The convolution of `layer` on what it reads, without bias."""
    x = select(x.astype(layer.dtype), layer.inputs)
    size, stride = layer.kernel_size, layer.stride
    examples, height, width, channels = x.shape

    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return ops.convolve(x, kernel.astype(x.dtype), stride=stride, dilation=layer.dilation, forms=layer.forms)

    sums = jnp.zeros((examples, -(-height // stride), -(-width // stride), layer.features), x.dtype)
    if not layer.features:
        return sums
    if channels:
        kernel = layer.param("kernel", kernel_init, (size, size, channels, layer.features), jnp.float32)
        sums = convolve(x, kernel)
    if layer.constant:
        shape = (size, size, 1, layer.features)
        kernel = layer.param("constant_kernel", nn.initializers.zeros, shape, jnp.float32)
        sums = sums + convolve(jnp.ones((1, height, width, 1), x.dtype), kernel)
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
