"""The forms for GPUs: those of the reference but where a measurement won. Figures: docs/performance.md, "On a GPU".

Only convolutions were measured, in bfloat16: a 1×1 kernel as a matrix product takes 0.6 to 0.9 of the op's time
(forward and both gradients); a dilated convolution whose kernel's gradient is a sum of taps, 0.6; all by taps, where
hardly a product sees the image, 0.1.
"""

import dataclasses

import jax
import jax.numpy as jnp

from lim_jax.ops.forms import REFERENCE, Form, bilinear
from lim_jax.ops.taps import BY_TAPS, OP_WITH_TAPS, Shape, choosing, visible_share

TAPS_BELOW = 0.2  # a dilated convolution is a sum of taps where less than this share of its products sees the image


def _product(x: jax.Array, kernel: jax.Array, stride: int, dilation: int) -> jax.Array:
    del stride, dilation  # 1
    return jnp.einsum("nhwc,co->nhwo", x, kernel[0, 0])


MATRIX_PRODUCT = bilinear(_product)


def form_of_convolution(x: Shape, kernel: Shape, stride: int, dilation: int) -> Form:
    """Returns the form of the convolution of arrays of these shapes."""
    if kernel[0] == 1:
        return MATRIX_PRODUCT
    if stride > 1 or dilation == 1:
        return REFERENCE.convolve
    return BY_TAPS if visible_share(x, kernel, dilation) < TAPS_BELOW else OP_WITH_TAPS


GPU = dataclasses.replace(REFERENCE, name="gpu", convolve=choosing(form_of_convolution))
