"""The rule of `scan`: its body is a program of its own, whose carry must be the same after each step.

What is known of a carry is what is known of it at the start and after every step; what is needed of it is what is
needed of the result and, again, by the body. Both are reached by repeating the walk over the body until nothing
changes.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

from jax import lax

from lim_jax.structure import boxes, known
from lim_jax.structure.analysis import Plan, backwards, forwards, walk_units
from lim_jax.structure.boxes import Box
from lim_jax.structure.coupling import Axes, Coupling, Units
from lim_jax.structure.evaluation import run
from lim_jax.structure.known import Known
from lim_jax.structure.program import Array, Equation, Program, flatten
from lim_jax.structure.rules.base import Step, register


@dataclasses.dataclass(frozen=True)
class _Body:
    """The body's plan, and for each carry which part of it goes from step to step."""

    plan: Plan
    carried: tuple[Box | None, ...]
    made: tuple[Box | None, ...]


class Scan:
    """The rule of `scan`."""

    def known(self, eqn: Equation, ins: Sequence[Known]) -> list[Known]:
        """What does not change from step to step."""
        found, results = _steady(eqn, ins)
        _, carries, _ = _roles(eqn, found)
        made = [
            Known(out, result.mask[None], result.value[None], result.static)
            for out, result in zip(eqn.outs[len(carries) :], results[len(carries) :], strict=True)
        ]
        static = all(operand.static for operand in ins)
        return [dataclasses.replace(result, static=static) for result in (*carries, *made)]

    def demand(self, eqn: Equation, wants: Sequence[Box | None], ins: Sequence[Known], round_to: int) -> Step:
        """What the results need, and what the next step needs for that."""
        body = _program(eqn)
        inputs, _ = _steady(eqn, ins)
        knowns = forwards(body, inputs)
        _, number = _counts(eqn)
        carried = list(wants[:number])
        made = [None if want is None else want[1:] for want in wants[number:]]
        while True:
            plan = backwards(body, knowns, [*carried, *made], round_to)
            consts, again, rows = _roles(eqn, [plan.parts.get(place) for place in body.inputs])
            wider = [boxes.union(old, new) for old, new in zip(carried, again, strict=True)]
            if all(_same(old, new) for old, new in zip(carried, wider, strict=True)):
                break
            carried = wider
        uses = (*consts, *carried, *(None if row is None else (None, *row) for row in rows))
        return Step(tuple(wants), uses, inner=_Body(plan, tuple(carried), tuple(made)))

    def evaluate(self, eqn: Equation, step: Step, operands: Sequence[Any]) -> list[tuple[Any, Box]]:
        """Runs the body as planned."""
        body: _Body = step.inner
        consts, starts, rows = _roles(eqn, operands)
        const_places, carry_places, row_places = _roles(eqn, body.plan.program.inputs)
        _, _, row_parts = _roles(eqn, step.uses)
        fixed = {
            place: (const, part)
            for place, const, part in zip(const_places, consts, step.uses, strict=False)
            if const is not None and part is not None
        }

        def one_step(carry: Any, row: Any) -> tuple[Any, Any]:
            arrays = dict(fixed)
            for place, value, part in zip(carry_places, carry, body.carried, strict=True):
                if part is not None:
                    arrays[place] = (value, part)
            for place, value, part in zip(row_places, row, row_parts, strict=True):
                if part is not None:
                    arrays[place] = (value, part[1:])
            results = run(body.plan, arrays, (*body.carried, *body.made))
            return results[: len(carry)], results[len(carry) :]

        settings = {name: eqn.params[name] for name in ("length", "reverse", "unroll")}
        last, made = lax.scan(one_step, list(starts), list(rows), **settings)
        parts = (*body.carried, *(None if part is None else (None, *part) for part in body.made))
        return [(result, () if part is None else part) for result, part in zip([*last, *made], parts, strict=True)]

    def couple(self, eqn: Equation, ins: Sequence[Units], coupling: Coupling) -> list[Axes]:
        """The units of a carry are the same before and after each step."""
        leaves = frozenset().union(*(operand.leaves for operand in ins))
        data = any(operand.data for operand in ins)
        consts, carries, rows = _roles(eqn, ins)
        starts = [Units(carry.axes, leaves, data) for carry in carries]
        slices = [Units(row.axes[1:], row.leaves, row.data) for row in rows]
        results = walk_units(_program(eqn), [*consts, *starts, *slices], coupling)
        for before, after in zip(starts, results, strict=False):
            for old, new in zip(before.axes, after.axes, strict=True):
                coupling.join(old, new)
        steps = coupling.block(coupling.fresh(eqn.params["length"]), f"a step of scan at {eqn.source}")
        for row in rows:
            coupling.join(steps, row.axes[0])
        made = results[len(starts) :]
        return [*(carry.axes for carry in starts), *((steps, *result.axes) for result in made)]


def _program(eqn: Equation) -> Program:
    return _flattened(eqn.params["jaxpr"])


_flattened = functools.lru_cache(maxsize=128)(flatten)


def _roles(eqn: Equation, each: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any]]:
    """Splits what there is for each operand into that of constants, carries and rows."""
    constants, carries = _counts(eqn)
    return each[:constants], each[constants : constants + carries], each[constants + carries :]


def _counts(eqn: Equation) -> tuple[int, int]:
    """Returns the numbers of constants and of carries of a loop."""
    if "num_consts" in eqn.params:
        return eqn.params["num_consts"], eqn.params["num_carry"]
    constants, carries, _ = eqn.params["ft_in"].unpack()  # since JAX 0.12
    return len(list(constants)), len(list(carries))


def _steady(eqn: Equation, ins: Sequence[Known]) -> tuple[list[Known], list[Known]]:
    """Returns what is known of the body's inputs and outputs in every step."""
    body = _program(eqn)
    consts, carries, rows = _roles(eqn, ins)
    slices = [_of_every_row(row) for row in rows]
    while True:
        inputs = [*consts, *carries, *slices]
        knowns = forwards(body, inputs)
        results = [knowns[number] for number in body.outputs]
        agreed = [_agreed(old, new) for old, new in zip(carries, results, strict=False)]
        if all(_equal(old, new) for old, new in zip(carries, agreed, strict=True)):
            return inputs, results
        carries = agreed


def _of_every_row(row: Known) -> Known:
    """Returns what is known of all slices along the first axis alike."""
    array = Array(row.array.shape[1:], row.array.dtype)
    if not row.array.shape[0]:
        return known.nothing(array, row.static)
    mask = row.mask.all(axis=0) & (row.value == row.value[:1]).all(axis=0)
    return known.partly(array, mask, row.value[0], row.static)


def _agreed(old: Known, new: Known) -> Known:
    """Returns what is known alike of both; neither is replaced by its value unless the other may be."""
    mask = old.mask & new.mask & (old.value == new.value)
    return known.partly(old.array, mask, old.value, old.static and new.static)


def _equal(a: Known, b: Known) -> bool:
    return a.static == b.static and bool((a.mask == b.mask).all())


def _same(a: Box | None, b: Box | None) -> bool:
    if a is None or b is None:
        return a is b
    return boxes.contains(a, b)


register(Scan(), "scan")
