"""What the analysis must know of a primitive, and where it finds it: the table of rules by the primitive's name."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from lim_jax.structure.boxes import Box
from lim_jax.structure.coupling import Axes, Coupling, Units
from lim_jax.structure.known import Known
from lim_jax.structure.program import Equation


@dataclasses.dataclass(frozen=True)
class Step:
    """How one equation is computed in the compact program.

    Attributes:
      wants: for each result, the part of it that somebody needs.
      uses: for each operand, the part that is needed for that; None if nothing of it is.
      constant: added to the first result, or None: what was left out of a sum because it is known.
      inner: whatever else the rule has to remember.
    """

    wants: tuple[Box | None, ...]
    uses: tuple[Box | None, ...]
    constant: np.ndarray | None = None
    inner: Any = None


class Rule(Protocol):
    """All that is known of a primitive."""

    def known(self, eqn: Equation, ins: Sequence[Known]) -> list[Known]:
        """Returns what is known of the results, given what is known of the operands."""
        ...

    def demand(self, eqn: Equation, wants: Sequence[Box | None], ins: Sequence[Known], round_to: int) -> Step:
        """Returns which parts of the operands the wanted parts of the results need; at least one is wanted."""
        ...

    def evaluate(self, eqn: Equation, step: Step, operands: Sequence[Any]) -> list[tuple[Any, Box]]:
        """Computes the results from the parts of the operands that `step.uses` says (None where it says None).

        Returns:
          Each result's computed part, which holds at least what is wanted, and which part it is.
        """
        ...

    def couple(self, eqn: Equation, ins: Sequence[Units], coupling: Coupling) -> list[Axes]:
        """Returns the units of the results' axes, and says which units go together."""
        ...


RULES: dict[str, Rule] = {}


def register(rule: Rule, *names: str) -> None:
    """Makes a rule that of some primitives."""
    RULES.update(dict.fromkeys(names, rule))
