"""Convolutions of stride 1 tap by tap: what the forms for CPUs and for GPUs are made of.

A tap is one position of a kernel. It sees a part of the image, shifted, and contributes the product of that part with
its matrix, (C, O), to a part of the output. Where a kernel is dilated so far that taps see only padding, these are left
out, which is what the op cannot do.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lim_jax.ops import reference
from lim_jax.ops.forms import Form

Shape = tuple[int, ...]


class Tap(NamedTuple):
    """One position of a kernel.

    Attributes:
      place: its row and column in the kernel.
      read: the part of the input (N, H, W, C) that it sees.
      write: the part of the output that this contributes to, of the same size.
    """

    place: tuple[int, int]
    read: tuple[slice, ...]
    write: tuple[slice, ...]


def taps(size: tuple[int, int], kernel_size: int, dilation: int) -> list[Tap]:
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
            found.append(Tap(place, read, write))
    return sorted(found, key=lambda tap: tap.place != (middle, middle))


def visible_share(x: Shape, kernel: Shape, dilation: int) -> float:
    """Returns the share of the products of a convolution of stride 1, of arrays of these shapes, that see the image."""
    reach = range(-(kernel[0] // 2), kernel[0] // 2 + 1)
    seen = [sum(max(size - abs(tap) * dilation, 0) for tap in reach) / (kernel[0] * size) for size in x[1:3]]
    return seen[0] * seen[1]


def _value(x: jax.Array, kernel: jax.Array, stride: int, dilation: int) -> jax.Array:
    del stride  # 1
    total = jnp.zeros((), x.dtype)
    for tap in taps((x.shape[1], x.shape[2]), kernel.shape[0], dilation):
        total = total + _place(jnp.einsum("nhwc,co->nhwo", x[tap.read], kernel[tap.place]), tap.write, x.shape)
    return total


def _gradients(
    x: jax.Array, kernel: jax.Array, gradient: jax.Array, stride: int, dilation: int
) -> tuple[jax.Array, jax.Array]:
    """The kernel's as xᵀg, where JAX would derive (gᵀx)ᵀ, for which XLA for CPUs makes a transposed copy of g.

    Figures: docs/performance.md, "Forms of operations".
    """
    del stride  # 1
    seeing = taps((x.shape[1], x.shape[2]), kernel.shape[0], dilation)
    seen = {tap.place: gradient[tap.write] for tap in seeing}
    x_gradient = _sum_in_place(
        (tap.read, jnp.einsum("nhwo,co->nhwc", seen[tap.place], kernel[tap.place])) for tap in seeing
    )
    by_tap = {tap.place: jnp.einsum("nhwc,nhwo->co", x[tap.read], seen[tap.place]) for tap in seeing}
    return x_gradient, _kernel_of(by_tap, kernel)


def _op_value(x: jax.Array, kernel: jax.Array, stride: int, dilation: int) -> jax.Array:
    return reference.convolve(x, kernel, stride, dilation)


def _op_gradients(
    x: jax.Array, kernel: jax.Array, gradient: jax.Array, stride: int, dilation: int
) -> tuple[jax.Array, jax.Array]:
    """The kernel's is a sum of taps.

    The output's gradient is moved to where each tap reads, not the input to where it writes: XLA for CPUs would cut
    the latter's pieces in the forward pass already, and keep them until here.
    """
    del stride  # 1
    by_tap = {
        tap.place: jnp.einsum("nhwc,nhwo->co", x, _place(gradient[tap.write], tap.read, x.shape))
        for tap in taps((x.shape[1], x.shape[2]), kernel.shape[0], dilation)
    }
    (x_gradient,) = jax.linear_transpose(lambda x: reference.convolve(x, kernel, 1, dilation), x)(gradient)
    return x_gradient, _kernel_of(by_tap, kernel)


BY_TAPS = Form(_value, _gradients)  # matrix products alone, one per tap that sees the image; stride 1
OP_WITH_TAPS = Form(_op_value, _op_gradients)  # the op, but for the gradient of the kernel; stride 1


def choosing(choose: Callable[[Shape, Shape, int, int], Form]) -> Form:
    """Returns the form that takes, for each convolution, the one that `choose` names.

    Args:
      choose: gets the shapes of input and kernel, stride and dilation.
    """

    def value(x: jax.Array, kernel: jax.Array, stride: int, dilation: int) -> jax.Array:
        return choose(x.shape, kernel.shape, stride, dilation).value(x, kernel, stride, dilation)

    def gradients(
        x: jax.Array, kernel: jax.Array, gradient: jax.Array, stride: int, dilation: int
    ) -> tuple[jax.Array, ...]:
        return choose(x.shape, kernel.shape, stride, dilation).gradients(x, kernel, gradient, stride, dilation)

    return Form(value, gradients)


def _kernel_of(by_tap: Mapping[tuple[int, int], jax.Array], like: jax.Array) -> jax.Array:
    """Returns a kernel shaped as `like` with the given matrices, and zeros in its other places."""
    unseen = jnp.zeros(like.shape[2:], like.dtype)
    return jnp.stack([by_tap.get(place, unseen) for place in np.ndindex(*like.shape[:2])]).reshape(like.shape)


def _sum_in_place(parts: Iterable[tuple[tuple[slice, ...], jax.Array]]) -> jax.Array:
    """Adds up parts of an image at their places, of which the first is all of it.

    A sum of parts that are padded with zeros would be one operation for XLA, which needs them all at once. In the
    forward pass, whose parts are an eighth as large, it is no gain. Figures: docs/performance.md.
    """
    (_, total), *others = parts
    for where, part in others:
        total = jax.lax.dynamic_update_slice(total, total[where] + part, [axis.start or 0 for axis in where] + [0])
    return total


def _place(part: jax.Array, where: tuple[slice, ...], shape: Sequence[int]) -> jax.Array:
    """Returns `part` (N, h, w, C) at its place in an image of zeros of the height and width in `shape`."""
    margins = [(w.start, n - w.stop) for w, n in zip(where[1:], shape[1:3], strict=True)]
    return jnp.pad(part, [(0, 0), *margins, (0, 0)])
