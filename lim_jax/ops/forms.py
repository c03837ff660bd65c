"""How the operations are computed: a form for each, chosen once for a whole program.

All forms of an operation compute the same, to rounding, and keep the same for its gradients; they differ in what a
compiler makes of them.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from lim_jax.ops import reference

SumGroups = Callable[[tuple[jax.Array, ...], reference.Axes], tuple[jax.Array, ...]]


class Form(NamedTuple):
    """One way to compute an operation and its gradients.

    Attributes:
      value: the operation itself, with the arguments of its namesake in `ops.reference`.
      gradients: of what `ops.operations` keeps of its arguments and results, the gradient of its result, and the
        arguments that are no arrays.
    """

    value: Callable[..., Any]
    gradients: Callable[..., tuple[jax.Array, ...]]


@dataclasses.dataclass(frozen=True)
class Forms:
    """A form for each operation, named as the function of `ops` is; hashable, so that it can be static in a jit.

    Attributes:
      name: for people.
      convolve, normalize_batch: see `Form`.
      max_pool: the operation; JAX derives its gradient.
      relu: the operation in training; all share the gradient.
      sum_groups: the operation; nothing is differentiated through it.
    """

    name: str
    convolve: Form = dataclasses.field(repr=False)
    max_pool: Callable[..., jax.Array] = dataclasses.field(repr=False)
    relu: Callable[[jax.Array], jax.Array] = dataclasses.field(repr=False)
    normalize_batch: Form = dataclasses.field(repr=False)
    sum_groups: SumGroups = dataclasses.field(repr=False)


def bilinear(value: Callable[..., jax.Array]) -> Form:
    """Returns the form of a convolution whose gradients are those that JAX derives: it is linear in each argument."""

    def gradients(
        x: jax.Array, kernel: jax.Array, gradient: jax.Array, stride: int, dilation: int
    ) -> tuple[jax.Array, jax.Array]:
        (x_gradient,) = jax.linear_transpose(lambda x: value(x, kernel, stride, dilation), x)(gradient)
        (kernel_gradient,) = jax.linear_transpose(lambda kernel: value(x, kernel, stride, dilation), kernel)(gradient)
        return x_gradient, kernel_gradient

    return Form(value, gradients)


REFERENCE = Forms(
    "reference",
    convolve=bilinear(reference.convolve),
    max_pool=reference.max_pool,
    relu=reference.relu,
    normalize_batch=Form(reference.normalize_batch, reference.normalize_batch_gradients),
    sum_groups=reference.sum_groups,
)
