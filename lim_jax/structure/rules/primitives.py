"""The primitives that treat axes in parallel, and what of them is linked."""

from collections.abc import Sequence
from typing import Any

from lim_jax.structure.arithmetic import ARITHMETIC
from lim_jax.structure.program import Equation
from lim_jax.structure.rules.base import Rule, register
from lim_jax.structure.rules.custom_gradient import CustomGradient
from lim_jax.structure.rules.parallel import Broadcast, Elementwise, Links, Parallel, Sum

REDUCTIONS = ["reduce_max", "reduce_min", "reduce_prod", "reduce_and", "reduce_or", "reduce_xor", "argmax", "argmin"]
ALONG_ONE_AXIS = {"axis": ["cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"], "dimension": ["sort"]}
WINDOWS = ["reduce_window", "reduce_window_max", "reduce_window_min", "reduce_window_sum"]


def elementwise_links(eqn: Equation) -> Links:
    """Axes at the same place, unless one has size 1 and is broadcast."""
    shape = eqn.outs[0].shape
    return [
        tuple(axis if size == shape[axis] else None for axis, size in enumerate(operand.shape)) for operand in eqn.ins
    ]


def broadcast_links(eqn: Equation) -> Links:
    """Axes that keep their size."""
    shape, places = eqn.outs[0].shape, eqn.params["broadcast_dimensions"]
    links = tuple(axis if size == shape[axis] else None for axis, size in zip(places, eqn.ins[0].shape, strict=True))
    return [links, *((None,) * operand.ndim for operand in eqn.ins[1:])]


def transpose_links(eqn: Equation) -> Links:
    """Axes that change their places."""
    permutation = list(eqn.params["permutation"])
    return [tuple(permutation.index(axis) for axis in range(eqn.ins[0].ndim))]


def reduction_links(eqn: Equation) -> Links:
    """Axes that are not reduced."""
    return [_without(eqn.ins[0].ndim, eqn.params["axes"])]


def squeeze_links(eqn: Equation) -> Links:
    """Axes that stay."""
    return [_without(eqn.ins[0].ndim, eqn.params["dimensions"])]


def links_but(parameter: str) -> Any:
    """Returns the links of operations along the one axis that a parameter names."""

    def links(eqn: Equation) -> Links:
        mixed = eqn.params[parameter]
        return [tuple(None if axis == mixed else axis for axis in range(operand.ndim)) for operand in eqn.ins]

    return links


def window_links(eqn: Equation) -> Links:
    """Axes along which windows have size 1 and lie side by side."""
    of_axes = zip(
        eqn.params["window_dimensions"],
        eqn.params["window_strides"],
        eqn.params["padding"],
        eqn.params.get("base_dilation") or (1,) * eqn.outs[0].ndim,
        strict=True,
    )
    links = tuple(
        axis if size == stride == dilation == 1 and tuple(padding) == (0, 0) else None
        for axis, (size, stride, padding, dilation) in enumerate(of_axes)
    )
    return [links if operand.ndim else () for operand in eqn.ins]


def dynamic_slice_links(eqn: Equation) -> Links:
    """Axes that are taken as a whole: there the start is always 0."""
    first, *starts = eqn.ins
    links = tuple(axis if size == eqn.outs[0].shape[axis] else None for axis, size in enumerate(first.shape))
    return [links, *((None,) * start.ndim for start in starts)]


def dynamic_update_slice_links(eqn: Equation) -> Links:
    """Axes that are updated as a whole."""
    operand, update, *starts = eqn.ins
    links = tuple(
        axis if new == old else None for axis, (old, new) in enumerate(zip(operand.shape, update.shape, strict=True))
    )
    return [links, links, *((None,) * start.ndim for start in starts)]


def gather_links(eqn: Equation) -> Links:
    """Axes that are taken as a whole, such as the features of an embedding."""
    numbers = eqn.params["dimension_numbers"]
    gone = (*numbers.collapsed_slice_dims, *numbers.operand_batching_dims)
    links: list[int | None] = [None] * eqn.ins[0].ndim
    kept = [axis for axis in range(eqn.ins[0].ndim) if axis not in gone]
    for axis, place in zip(kept, numbers.offset_dims, strict=True):
        if eqn.params["slice_sizes"][axis] == eqn.ins[0].shape[axis]:
            links[axis] = place
    return [tuple(links), (None,) * eqn.ins[1].ndim]


def no_links(eqn: Equation) -> Links:
    """Nothing is known: all is read."""
    return [(None,) * operand.ndim for operand in eqn.ins]


def _without(ndim: int, gone: Sequence[int]) -> tuple[int | None, ...]:
    kept = [axis for axis in range(ndim) if axis not in gone]
    return tuple(kept.index(axis) if axis in kept else None for axis in range(ndim))


def _new_shape(eqn: Equation, ins: Sequence[Sequence[int]], out: Sequence[int]) -> dict[str, Any]:
    return {"shape": tuple(out)}


def _new_slice_sizes(eqn: Equation, ins: Sequence[Sequence[int]], out: Sequence[int]) -> dict[str, Any]:
    old = zip(eqn.params["slice_sizes"], eqn.ins[0].shape, ins[0], strict=True)
    return {"slice_sizes": tuple(new if size == full else size for size, full, new in old)}


UNKNOWN: Rule = Parallel(no_links)

register(Elementwise(elementwise_links, mixes=False), *ARITHMETIC)
register(CustomGradient(elementwise_links, mixes=False), "custom_jvp_call", "custom_vjp_call")
register(Broadcast(broadcast_links, _new_shape, mixes=False), "broadcast_in_dim")
register(Parallel(transpose_links, mixes=False), "transpose")
register(Parallel(squeeze_links, mixes=False), "squeeze")
register(Sum(reduction_links, mixes=False), "reduce_sum")
register(Parallel(reduction_links, mixes=False), *REDUCTIONS)
for _parameter, _names in ALONG_ONE_AXIS.items():
    register(Parallel(links_but(_parameter)), *_names)
register(Parallel(window_links), *WINDOWS)
register(Parallel(dynamic_slice_links, _new_slice_sizes), "dynamic_slice")
register(Parallel(dynamic_update_slice_links), "dynamic_update_slice")
register(Parallel(gather_links, _new_slice_sizes), "gather")
