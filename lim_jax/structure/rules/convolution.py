"""Convolutions: strided, dilated, transposed, grouped, depthwise.

Channels are what is looked at; along the spatial axes all is read and made. In a grouped convolution, whole groups
leave.
"""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from lim_jax.structure import boxes, known
from lim_jax.structure.boxes import Box, Mask
from lim_jax.structure.coupling import PLACE, Axes, Coupling, Units
from lim_jax.structure.known import Known
from lim_jax.structure.program import Equation
from lim_jax.structure.rules.base import Step, register


class Convolution:
    """The rule of `conv_general_dilated` without batch groups."""

    def known(self, eqn: Equation, ins: Sequence[Known]) -> list[Known]:
        """A channel is known if all that it reads through kernels that are not zero is; next to borders, too."""
        image, kernel = ins
        static = image.static and kernel.static
        image_open, kernel_open = _of_channels(eqn, ~image.mask, ~kernel.mask)
        image_nonzero, kernel_nonzero = _of_channels(eqn, image.nonzero, kernel.nonzero)
        open_products = (image_open & kernel_nonzero) | (image_nonzero & kernel_open)
        mask = ~open_products.any(axis=2).reshape(-1)
        if not mask.any():
            return [known.nothing(eqn.outs[0], static)]
        feature = eqn.params["dimension_numbers"].out_spec[1]
        mask = boxes.along(mask, feature, eqn.outs[0].ndim)
        value = _value(eqn, _or_zero(image), _or_zero(kernel))
        return [known.partly(eqn.outs[0], mask, value, static)]

    def demand(self, eqn: Equation, wants: Sequence[Box | None], ins: Sequence[Known], round_to: int) -> Step:
        """Needs the channels that may be something else than zero and meet a kernel of which one can say the same."""
        (want,) = wants
        assert want is not None
        image_spec, _, out_spec = eqn.params["dimension_numbers"]
        batch, features = want[out_spec[0]], want[out_spec[1]]
        if eqn.params["feature_group_count"] > 1:
            return _demand_groups(eqn, want, batch, features)
        chosen = boxes.as_mask(features, eqn.outs[0].shape[out_spec[1]])
        image_open, kernel_open = (part[0] for part in _of_channels(eqn, *(~operand.mask for operand in ins)))
        image_nonzero, kernel_nonzero = (part[0] for part in _of_channels(eqn, *(operand.nonzero for operand in ins)))
        nonzero = image_nonzero[0] & kernel_nonzero[chosen].any(axis=0)
        unknown = image_open[0] | kernel_open[chosen].any(axis=0)
        if ins[0].static and ins[1].static:
            unknown[:] = True
        around = boxes.rounded(boxes.simplified(nonzero & unknown), round_to)
        folded = nonzero & ~boxes.as_mask(around, len(nonzero))
        constant = None
        if folded.any():
            image = np.where(boxes.along(folded, image_spec[1], eqn.ins[0].ndim), _or_zero(ins[0]), 0)
            constant = _value(eqn, image.astype(eqn.ins[0].dtype), _or_zero(ins[1]))
            constant = boxes.restrict(constant, _box(eqn.outs[0].ndim, out_spec, batch, features))
        return Step((want,), _uses(eqn, batch, around, features, around), constant)

    def evaluate(self, eqn: Equation, step: Step, operands: Sequence[Any]) -> list[tuple[Any, Box]]:
        """Convolves with fewer channels."""
        image_spec, kernel_spec, out_spec = eqn.params["dimension_numbers"]
        image, kernel = operands
        use = step.uses[1]
        assert use is not None
        have = _box(eqn.outs[0].ndim, out_spec, step.uses[0][image_spec[0]], use[kernel_spec[0]])  # pyright: ignore
        if image.shape[image_spec[1]] == 0:
            result = jnp.zeros(boxes.cut_shape(have, eqn.outs[0].shape), eqn.outs[0].dtype)
        else:
            groups = image.shape[image_spec[1]] // kernel.shape[kernel_spec[1]]
            (result,) = eqn.bind(image, kernel, feature_group_count=groups)
        return [(result if step.constant is None else result + step.constant, have)]

    def couple(self, eqn: Equation, ins: Sequence[Units], coupling: Coupling) -> list[Axes]:
        """What is read goes with the kernel's input axis, what is made with its output axis, groups as a whole."""
        image_spec, kernel_spec, out_spec = eqn.params["dimension_numbers"]
        if eqn.ins[1].shape[kernel_spec[1]] > 1 or eqn.params["feature_group_count"] == 1:
            coupling.read(ins, ((image_spec[1],), (kernel_spec[1],)))
        image, kernel = (factor.axes for factor in ins)
        read, made = image[image_spec[1]], kernel[kernel_spec[0]]
        groups = eqn.params["feature_group_count"]
        if groups == 1:
            coupling.join(read, kernel[kernel_spec[1]])
        else:
            together = np.concatenate([read.reshape(groups, -1), made.reshape(groups, -1)], axis=1)
            coupling.join(together[:, 0], *(column for column in together[:, 1:].T))
        result = [coupling.fresh(size) for size in eqn.outs[0].shape]
        result[out_spec[0]], result[out_spec[1]] = image[image_spec[0]], made
        for units, spec in ((image, image_spec), (kernel, kernel_spec), (result, out_spec)):
            for axis in spec[2:]:
                coupling.block(units[axis], PLACE)
        if groups > 1:
            coupling.block(kernel[kernel_spec[1]], f"relative to the group in {eqn.name} at {eqn.source}")
        return [tuple(result)]


def _demand_groups(eqn: Equation, want: Box, batch: Mask, features: Mask) -> Step:
    groups = eqn.params["feature_group_count"]
    if features is None:
        return Step((want,), _uses(eqn, batch, None, None, None))
    image_spec, kernel_spec, _ = eqn.params["dimension_numbers"]
    kept = features.reshape(groups, -1).any(axis=1)
    read = np.repeat(kept, eqn.ins[0].shape[image_spec[1]] // groups)
    made = np.repeat(kept, eqn.ins[1].shape[kernel_spec[0]] // groups)
    return Step((want,), _uses(eqn, batch, boxes.simplified(read), boxes.simplified(made), None))


def _uses(eqn: Equation, batch: Mask, read: Mask, made: Mask, kernel_read: Mask) -> tuple[Box, Box]:
    """Returns the parts of image and kernel, given those of their axes (batch, features) and (made, read)."""
    image_spec, kernel_spec, _ = eqn.params["dimension_numbers"]
    return (
        _box(eqn.ins[0].ndim, image_spec, batch, read),
        _box(eqn.ins[1].ndim, kernel_spec, made, kernel_read),
    )


def _box(ndim: int, spec: Sequence[int], first: Mask, second: Mask) -> Box:
    box: list[Mask] = [None] * ndim
    box[spec[0]], box[spec[1]] = first, second
    return tuple(box)


def _of_channels(eqn: Equation, image: np.ndarray, kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns for which channels something is true anywhere: (groups, 1, channels) and (groups, made, channels)."""
    image_spec, kernel_spec, _ = eqn.params["dimension_numbers"]
    groups = eqn.params["feature_group_count"]
    of_image = image.any(axis=tuple(axis for axis in range(image.ndim) if axis != image_spec[1]))
    of_kernel = kernel.transpose(kernel_spec).any(axis=tuple(range(2, kernel.ndim)))
    read = np.broadcast_to(of_image, eqn.ins[0].shape[image_spec[1]]).reshape(groups, 1, -1)
    sizes = [eqn.ins[1].shape[axis] for axis in kernel_spec[:2]]
    made = np.broadcast_to(of_kernel, sizes).reshape(groups, -1, sizes[1])
    return read, made


def _or_zero(operand: Known) -> np.ndarray:
    return np.where(operand.mask, operand.value, 0).astype(operand.value.dtype)


def _value(eqn: Equation, image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Returns the convolution of given values; its batch is as large as that of `image`."""
    image_spec, kernel_spec, _ = eqn.params["dimension_numbers"]
    if not image.any() or not kernel.any():
        return np.zeros((1,) * eqn.outs[0].ndim, eqn.outs[0].dtype)
    image = known.spread(image, eqn.ins[0].shape, image_spec[1:])
    kernel = known.spread(kernel, eqn.ins[1].shape, kernel_spec)
    (value,) = known.compute(eqn.bind, image, kernel)
    return known.compressed(value)


register(Convolution(), "conv_general_dilated")
