"""The operations, each a function that computes in whichever form it is given; results do not depend on it.

An operation has one gradient, whatever its form, that keeps the same arrays: kernel and input of a convolution, the
output of a ReLU, input, scale and moments of a batch norm. What a network has many of is jitted by itself: JAX then
traces it, its gradient and its transpose once for each shape, and a network in three quarters of the time. XLA sees no
difference.
"""

import functools
from typing import Any, cast

import jax
import jax.numpy as jnp

from lim_jax.ops import reference
from lim_jax.ops.forms import REFERENCE, Form, Forms


@functools.partial(jax.jit, static_argnames=("stride", "dilation", "forms"))
def convolve(
    x: jax.Array, kernel: jax.Array, *, stride: int = 1, dilation: int = 1, forms: Forms = REFERENCE
) -> jax.Array:
    """Convolves `x` (N, H, W, C) with `kernel` (k, k, C, O), k odd, padded by `dilation * (k // 2)` zeros.

    Returns:
      (N, ceil(H / stride), ceil(W / stride), O), in the dtype of `x` and `kernel`.
    """
    if kernel.shape[0] == 1:  # the only tap sees every stride-th cell
        x, stride, dilation = x[:, ::stride, ::stride], 1, 1
    return _convolve(x, kernel, stride, dilation, forms.convolve)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _convolve(x: jax.Array, kernel: jax.Array, stride: int, dilation: int, form: Form) -> jax.Array:
    return form.value(x, kernel, stride, dilation)


def _convolve_forward(x: jax.Array, kernel: jax.Array, stride: int, dilation: int, form: Form) -> tuple[Any, Any]:
    return _convolve(x, kernel, stride, dilation, form), (x, kernel)


def _convolve_backward(stride: int, dilation: int, form: Form, residuals: Any, gradient: jax.Array) -> tuple:
    return form.gradients(*residuals, gradient, stride, dilation)


_convolve.defvjp(_convolve_forward, _convolve_backward)


def max_pool(x: jax.Array, *, window: int, stride: int, padding: int = 0, forms: Forms = REFERENCE) -> jax.Array:
    """Returns the maximum over `window`×`window` cells of `x` (N, H, W, C), every `stride` cells, as torch does."""
    return forms.max_pool(x, window, stride, padding)


def relu(x: jax.Array, *, train: bool = False, forms: Forms = REFERENCE) -> jax.Array:
    """Returns `max(x, 0)`, any shape and floating dtype; forms differ in training only, where gradients read it too."""
    return cast(Any, _relu(x, forms.relu)) if train else reference.relu(x)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _relu(x: jax.Array, form: Any) -> jax.Array:
    return form(x)


def _relu_forward(x: jax.Array, form: Any) -> tuple[jax.Array, jax.Array]:
    activation = cast(Any, _relu(x, form))
    return activation, activation


def _relu_backward(form: Any, activation: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    del form
    return (jnp.where(activation > 0, gradient, 0),)


_relu.defvjp(_relu_forward, _relu_backward)


@functools.partial(jax.jit, static_argnames=("axis_name", "forms"))
def normalize_batch(
    x: jax.Array, scale: jax.Array, bias: jax.Array, *, axis_name: str | None = None, forms: Forms = REFERENCE
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises `x` (..., C) by its own moments, in float32 at least, then scales and shifts it.

    Returns:
      The normalised values, in the dtype of `x`, and the mean and the (biased) variance, (C,), which are those of the
      global batch if `axis_name` is given. Nothing is differentiated through the last two.
    """
    return cast(Any, _normalize_batch(x, scale, bias, axis_name, forms.normalize_batch))


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4))
def _normalize_batch(x: jax.Array, scale: jax.Array, bias: jax.Array, axis_name: str | None, form: Form) -> Any:
    return form.value(x, scale, bias, axis_name)


def _normalize_forward(x: jax.Array, scale: jax.Array, bias: jax.Array, axis_name: str | None, form: Form):
    outputs = cast(Any, _normalize_batch(x, scale, bias, axis_name, form))
    return outputs, (x, scale, *outputs[1:])


def _normalize_backward(axis_name: str | None, form: Form, residuals: Any, gradients: tuple[jax.Array, ...]):
    return form.gradients(*residuals, gradients[0], axis_name)


_normalize_batch.defvjp(_normalize_forward, _normalize_backward)
