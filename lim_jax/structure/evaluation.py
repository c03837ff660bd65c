"""Running a program as planned: each equation on the parts of its operands that it needs."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from lim_jax.structure import boxes
from lim_jax.structure.analysis import Plan
from lim_jax.structure.boxes import Box
from lim_jax.structure.known import Known
from lim_jax.structure.rules import rule_of


def run(plan: Plan, inputs: Mapping[int, tuple[Any, Box]], outputs: Sequence[Box | None]) -> list[Any]:
    """Computes outputs of a program.

    Args:
      plan: what is computed.
      inputs: for each of the program's inputs that is needed, an array and which part of the input it is.
      outputs: the wanted part of each output, as they were planned; None for those that nobody wants.
    """
    program = plan.program
    arrays = dict(inputs)
    arrays |= {number: (value, boxes.full(value.ndim)) for number, value in program.constants.items()}
    for eqn, step in zip(program.equations, plan.steps, strict=True):
        if step is None:
            continue
        operands = [
            None if use is None else read(plan.knowns[number], arrays.get(number), use)
            for number, use in zip(eqn.operands, step.uses, strict=True)
        ]
        results = rule_of(eqn).evaluate(eqn, step, operands)
        for number, want, (result, have) in zip(eqn.results, step.wants, results, strict=True):
            if want is not None:
                arrays[number] = (boxes.narrow(result, have, want), want)
    return [
        None if box is None else read(plan.knowns[number], arrays.get(number), box)
        for number, box in zip(program.outputs, outputs, strict=True)
    ]


def read(known: Known, available: tuple[Any, Box] | None, box: Box) -> Any:
    """Returns a part of an array, of which some may have been computed and the rest is known."""
    if available is None:
        return jnp.asarray(_values(known, box))
    array, have = available
    missing = np.zeros((1,) * len(box), bool)
    for axis, (old, new) in enumerate(zip(have, box, strict=True)):
        if old is None and new is None:
            continue
        size = known.array.shape[axis]
        wanted, there = boxes.indices(new, size), boxes.indices(old, size)
        places = np.searchsorted(there, wanted)
        places[places == len(there)] = 0
        absent = there[places] != wanted
        missing = missing | boxes.along(absent, axis, len(box))
        array = boxes.take(array, np.where(absent, 0, places), axis)
    if not missing.any():
        return array
    return jnp.where(missing, _values(known, box), array)


def _values(known: Known, box: Box) -> np.ndarray:
    shape = boxes.cut_shape(box, known.array.shape)
    return np.broadcast_to(boxes.restrict(known.value, box), shape)
