"""The walks over a program: forwards what is known, backwards what is needed, and once for what goes together.

Forwards, each array gets a `Known`: which elements have a value that does not depend on the inputs. Backwards, each
equation is asked which part of its operands it needs for the part of its results that somebody needs (a box, see
`boxes`), and known elements are not needed: whoever reads them takes them from the analysis. So each reader gathers
what it needs, and widths may differ along a residual stream. Since every array is made before it is read, one walk
each way finds the least.

Nothing live can be lost: a rule's part of the operands determines the wanted part of the results on its own, and what
is not in the computed part of an array is either known or not in any part that is read.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax

from lim_jax.structure import boxes, known
from lim_jax.structure.boxes import Box
from lim_jax.structure.coupling import Coupling, Units, fresh_axes
from lim_jax.structure.known import Known
from lim_jax.structure.program import Equation, Program
from lim_jax.structure.rules import Step, rule_of


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a program is computed with less.

    Attributes:
      program: the program.
      knowns: what is known of each array, by number.
      parts: the part of each array that is computed, or passed in, by number; arrays that nobody needs are missing.
      steps: for each equation, how it is computed, or None.
    """

    program: Program
    knowns: Sequence[Known]
    parts: Mapping[int, Box]
    steps: Sequence[Step | None]


def forwards(program: Program, inputs: Sequence[Known]) -> list[Known]:
    """Returns what is known of each array of a program, given what is known of its inputs."""
    found: dict[int, Known] = dict(zip(program.inputs, inputs, strict=True))
    with jax.ensure_compile_time_eval():
        found |= {number: known.exactly(value) for number, value in program.constants.items()}
        for eqn in program.equations:
            results = _known_results(eqn, [found[number] for number in eqn.operands])
            found.update(zip(eqn.results, results, strict=True))
    return [found[number] for number in range(len(program.arrays))]


def backwards(program: Program, knowns: Sequence[Known], outputs: Sequence[Box | None], round_to: int = 1) -> Plan:
    """Finds what must be computed.

    Args:
      program: the program.
      knowns: what is known of each of its arrays.
      outputs: the wanted part of each output.
      round_to: numbers of indices are rounded up to a multiple of this, as far as there are any.
    """
    parts: dict[int, Box] = {}

    def need(number: int, box: Box | None) -> None:
        part = None if box is None else known.needed(knowns[number], box)
        if part is not None:
            joined = boxes.union(parts.get(number), part)
            assert joined is not None
            parts[number] = joined

    for number, box in zip(program.outputs, outputs, strict=True):
        need(number, box)
    steps: list[Step | None] = []
    with jax.ensure_compile_time_eval():
        for eqn in reversed(program.equations):
            for number in eqn.results:
                if number in parts and not knowns[number].static:
                    parts[number] = tuple(boxes.rounded(mask, round_to) for mask in parts[number])
            wants = [parts.get(number) for number in eqn.results]
            if all(want is None for want in wants):
                steps.append(None)
                continue
            step = rule_of(eqn).demand(eqn, wants, [knowns[number] for number in eqn.operands], round_to)
            steps.append(step)
            for number, use in zip(eqn.operands, step.uses, strict=True):
                need(number, use)
    return Plan(program, knowns, parts, steps[::-1])


def _known_results(eqn: Equation, ins: Sequence[Known]) -> list[Known]:
    if ins and eqn.pure and all(operand.static and operand.complete for operand in ins):
        results = eqn.bind(*(operand.full_value() for operand in ins))
        return [known.exactly(result) for result in results]
    return rule_of(eqn).known(eqn, ins)


def walk_units(program: Program, inputs: Sequence[Units], coupling: Coupling) -> list[Units]:
    """Couples all arrays of a program, given the units of its inputs; returns those of its outputs."""
    found = dict(zip(program.inputs, inputs, strict=True))
    for number in program.constants:
        found[number] = Units(fresh_axes(coupling, program.arrays[number].shape))
    for eqn in program.equations:
        operands = [found[number] for number in eqn.operands]
        leaves = frozenset().union(*(operand.leaves for operand in operands))
        data = any(operand.data for operand in operands)
        for number, axes in zip(eqn.results, rule_of(eqn).couple(eqn, operands, coupling), strict=True):
            found[number] = Units(axes, leaves, data)
    return [found[number] for number in program.outputs]
