"""A trained network as a file that runs without lim_jax: what it computes, its formats, its check and its card.

A program is made once, for any of the formats:

    program = build_program(network, weights, image_size)
    FORMATS["stablehlo"].serialize(program) -> bytes
"""

from lim_jax.exporting.card import describe
from lim_jax.exporting.formats import FORMATS, Format
from lim_jax.exporting.program import Program, build_program
from lim_jax.exporting.verification import differences

__all__ = ["FORMATS", "Format", "Program", "build_program", "describe", "differences"]
