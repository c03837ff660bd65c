"""A trained network as a file that runs without lim_jax: what it computes, its formats, its check and its card.

    program = build_program(trained.network, trained.variables, (height, width))
    content = FORMATS["stablehlo"].serialize(program)
    outputs = FORMATS["stablehlo"].load(content)(images)

What the room offers:

    Program, build_program(network, variables, ...)  what is exported: images in, predictions or logits out
    FORMATS, Format                                  StableHLO and ONNX: how a program becomes a file, how a file runs
    differences(program, run, network, variables)    by how much a file's outputs differ from the network's, per task
    describe(format, content, program, ...)          the model card: what goes in, what comes out, where it is from
    is_card(path)                                    whether a file is one
"""

from lim_jax.exporting.card import describe, is_card
from lim_jax.exporting.formats import FORMATS, Format
from lim_jax.exporting.program import Program, build_program
from lim_jax.exporting.verification import differences

__all__ = ["FORMATS", "Format", "Program", "build_program", "describe", "differences", "is_card"]
