"""Concatenation: the parts keep their indices, one after the other."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from lim_jax.structure import boxes, known
from lim_jax.structure.boxes import Box
from lim_jax.structure.coupling import Axes, Coupling, Units
from lim_jax.structure.known import Known
from lim_jax.structure.program import Equation
from lim_jax.structure.rules.base import Step, register


class Concatenation:
    """The rule of `concatenate`."""

    def known(self, eqn: Equation, ins: Sequence[Known]) -> list[Known]:
        """As known as the parts."""
        axis, static = eqn.params["dimension"], all(operand.static for operand in ins)
        masks, values = ([getattr(operand, name) for operand in ins] for name in ("mask", "value"))
        joined = [_joined(parts, eqn, axis) for parts in (masks, values)]
        return [known.partly(eqn.outs[0], joined[0], joined[1], static)]

    def demand(self, eqn: Equation, wants: Sequence[Box | None], ins: Sequence[Known], round_to: int) -> Step:
        """Needs of each part what is wanted of it."""
        (want,) = wants
        assert want is not None
        axis = eqn.params["dimension"]
        ends = np.cumsum([operand.shape[axis] for operand in eqn.ins])
        whole = boxes.as_mask(want[axis], eqn.outs[0].shape[axis])
        uses = []
        for mask in np.split(whole, ends[:-1]):
            box = (*want[:axis], boxes.simplified(mask), *want[axis + 1 :])
            uses.append(box if mask.any() else None)
        return Step((want,), tuple(uses))

    def evaluate(self, eqn: Equation, step: Step, operands: Sequence[Any]) -> list[tuple[Any, Box]]:
        """Concatenates what is needed."""
        (want,) = step.wants
        assert want is not None
        parts = [operand for operand in operands if operand is not None]
        return [(jnp.concatenate(parts, eqn.params["dimension"]) if len(parts) > 1 else parts[0], want)]

    def couple(self, eqn: Equation, ins: Sequence[Units], coupling: Coupling) -> list[Axes]:
        """The parts keep their units; along the other axes they are one."""
        axis = eqn.params["dimension"]
        result = []
        for other, units in enumerate(zip(*(part.axes for part in ins), strict=True)):
            result.append(np.concatenate(units) if other == axis else coupling.join(*units))
        return [tuple(result)]


def _joined(parts: Sequence[np.ndarray], eqn: Equation, axis: int) -> np.ndarray:
    sizes = [max(sizes) for sizes in zip(*(part.shape for part in parts), strict=True)]
    spread = []
    for part, operand in zip(parts, eqn.ins, strict=True):
        sizes[axis] = operand.shape[axis]
        spread.append(np.broadcast_to(part, sizes))
    return np.concatenate(spread, axis)


register(Concatenation(), "concatenate")
