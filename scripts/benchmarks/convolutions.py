"""The forms of a convolution, per shape of resnet50d and its heads: the table from which lim_jax's rule is made.

Each form is timed forward, and with both gradients. Calls of a few hundredths of a millisecond are bound by launching.
"""

import argparse
import concurrent.futures
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks import in_a_row, lim_jax_code, supervised, worker
from benchmarks.job import keep, spread

_COMPILING = 4
_SECONDS = 8.0  # with less left until the deadline, no more shapes are compiled


class Shape(NamedTuple):
    """A convolution: pixels of the image per cell of its map, channels that it reads, kernel, and channels it emits."""

    stride: int
    inputs: int
    kernel_size: int
    dilation: int
    outputs: int


SHAPES = (
    Shape(8, 2048, 3, 36, 256),
    Shape(8, 2048, 3, 24, 256),
    Shape(8, 2048, 3, 12, 256),
    Shape(8, 512, 3, 4, 512),
    Shape(8, 256, 3, 2, 256),
    Shape(8, 256, 3, 1, 256),
    Shape(8, 128, 3, 1, 128),
    Shape(4, 64, 3, 1, 64),
    Shape(8, 2048, 1, 1, 512),
    Shape(8, 2048, 1, 1, 256),
    Shape(8, 1024, 1, 1, 256),
    Shape(8, 512, 1, 1, 128),
    Shape(4, 64, 1, 1, 256),
)


def run(arguments: argparse.Namespace) -> None:
    """Prints a line per dtype and shape with the milliseconds of each form, until the deadline."""
    deadline = supervised.Deadline.after(arguments.minutes)
    for dtype in arguments.dtype.split(","):
        for shape in SHAPES:
            case = _sizes(shape, arguments) | {"dtype": dtype}
            if deadline.seconds_left < _SECONDS:
                keep(case | {"left_out": f"{deadline.seconds_left:.0f} s left"}, arguments.output)
                continue
            times = {}
            for name, call in _compiled(case).items():
                seconds = spread(in_a_row.timed(call, arguments.steps, arguments.repeats))
                times[f"{name} ms"] = 1e3 * seconds["min_s"]
            keep(case | times | worker.machine(), arguments.output)


def _sizes(shape: Shape, arguments: argparse.Namespace) -> dict[str, Any]:
    cells = arguments.image_size // shape.stride
    inputs, outputs = (max(8, round(n * arguments.width_multiplier)) for n in (shape.inputs, shape.outputs))
    products = arguments.batch_size * cells**2 * inputs * outputs * shape.kernel_size**2
    return {
        "what": "convolutions",
        "batch_size": arguments.batch_size,
        "cells": cells,
        "inputs": inputs,
        "kernel_size": shape.kernel_size,
        "dilation": shape.dilation,
        "outputs": outputs,
        "gflops": 3 * 2 * products / 1e9,  # forward and both gradients, padding included
    }


def _compiled(case: dict[str, Any]) -> dict[str, Any]:
    """Returns functions that run each form, forward and with gradients, compiled side by side."""
    size, cells = case["kernel_size"], (case["batch_size"], case["cells"], case["cells"])
    shapes = ((*cells, case["inputs"]), (size, size, case["inputs"], case["outputs"]), (*cells, case["outputs"]))
    rng = np.random.default_rng(0)
    arrays = [jax.device_put(rng.standard_normal(shape, np.float32)).astype(case["dtype"]) for shape in shapes]
    calls = {}
    for name, form in lim_jax_code.convolution_forms(size, case["dilation"]).items():
        calls[f"{name}, forward"] = (form, arrays[:2])
        calls[f"{name}, all"] = (_with_gradients(form), arrays)

    def compiled(call: tuple[Any, list[jax.Array]]) -> Any:
        program = jax.jit(call[0]).lower(*call[1]).compile()
        return lambda: program(*call[1])

    with concurrent.futures.ThreadPoolExecutor(_COMPILING) as threads:
        return dict(zip(calls, threads.map(compiled, calls.values()), strict=True))


def _with_gradients(form: Any) -> Any:
    def both(x: jax.Array, kernel: jax.Array, gradient: jax.Array) -> tuple[jax.Array, ...]:
        y, pull_back = jax.vjp(form, x, kernel)
        return (y, *pull_back(gradient))

    return both
