"""One rule for each class of primitives: what is known of results, what is needed of operands, how less is computed.

A primitive without a rule reads everything and mixes everything: nothing of its operands can leave, and its results
are a new source. That is never wrong.
"""

from lim_jax.structure.program import Equation
from lim_jax.structure.rules import concatenation, convolution, matrix_product, reshaping, selection
from lim_jax.structure.rules.base import RULES, Rule, Step
from lim_jax.structure.rules.primitives import UNKNOWN

__all__ = [
    "Rule",
    "Step",
    "concatenation",
    "convolution",
    "is_opaque",
    "matrix_product",
    "reshaping",
    "rule_of",
    "selection",
]


def rule_of(eqn: Equation) -> Rule:
    """Returns the rule of an equation."""
    if is_opaque(eqn):
        return UNKNOWN
    return selection.TAKE if eqn.name == "gather" and selection.is_take(eqn) else RULES[eqn.name]


def is_opaque(eqn: Equation) -> bool:
    """Says whether nothing is known of an equation but that it reads and mixes everything."""
    if eqn.name == "conv_general_dilated":
        return eqn.params["batch_group_count"] > 1
    if eqn.name == "reshape":
        return eqn.params["dimensions"] is not None
    return eqn.name not in RULES
