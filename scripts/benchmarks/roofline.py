"""What a training step costs on paper on an A100: operations, memory traffic, and the time that both allow at best.

Counts come from XLA's cost analysis of the step, lim_jax's and plain Flax's. What they mean:

* "gflops" (of the step before XLA optimises it) has two operations per multiplication and leaves out those that fall
  on padding. A convolution op multiplies them all the same on a GPU: "gflops_with_padding" counts convolution ops in
  full, forward and backward, and is what the time is computed from.
* "gbytes_unfused" is what all operations would read and write one by one, an upper bound. "gbytes" is that after
  XLA's fusion for the CPU that runs this; on a GPU it fuses in another way. The bytes of bfloat16 are those of float32
  times the quotient of the two unfused, since a CPU computes bfloat16 in float32.
* "roofline_ms" is the larger of operations / peak and bytes / bandwidth. No program reaches it.
"""

import argparse
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import optax
from jax.extend import core

from benchmarks import lim_jax_code, networks, plain_flax
from benchmarks.job import Job, job_from, report
from benchmarks.random_batch import batch

# A100 80 GB SXM, without structured sparsity: "NVIDIA A100 Tensor Core GPU" data sheet (nvidia.com, 2021).
TFLOPS = {"float32": 19.5, "tf32": 156.0, "bfloat16": 312.0}
GBYTES_PER_SECOND = 2039.0


def run(arguments: argparse.Namespace) -> None:
    """Counts a step in both formulations and prints a line per formulation and precision."""
    job = job_from(arguments, "roofline")
    for contender, make in {"lim_jax": _lim_jax_step, "flax": _flax_step}.items():
        counts = {dtype: _counts(make, dataclasses.replace(job, dtype=dtype)) for dtype in ("float32", "bfloat16")}
        lowered = make(job)
        compiled = lowered[0].lower(*lowered[1]).compile()
        fused = compiled.cost_analysis()["bytes accessed"] / 1e9
        temporary = compiled.memory_analysis().temp_size_in_bytes / 2**30
        for precision in TFLOPS:
            count = counts["bfloat16" if precision == "bfloat16" else "float32"]
            gbytes = fused * count["gbytes_unfused"] / counts["float32"]["gbytes_unfused"]
            milliseconds = {
                "compute_ms": count["gflops_with_padding"] / TFLOPS[precision],
                "memory_ms": gbytes / GBYTES_PER_SECOND * 1e3,
            }
            sizes = dataclasses.replace(job, contender=contender, dtype=precision).sizes()
            fields = {"gbytes": gbytes, **milliseconds, "roofline_ms": max(milliseconds.values())}
            report(sizes | count | fields | {"temporary_gib_float32": temporary})


def _counts(make: Callable[[Job], tuple[Any, tuple]], job: Job) -> dict[str, float]:
    step, arguments = make(job)
    cost = step.lower(*arguments).cost_analysis()
    padding = sum(multiplied_padding(jax.make_jaxpr(step)(*arguments).jaxpr))
    return {
        "gflops": cost["flops"] / 1e9,
        "gflops_with_padding": (cost["flops"] + padding) / 1e9,
        "gbytes_unfused": cost["bytes accessed"] / 1e9,
    }


def _lim_jax_step(job: Job) -> tuple[Any, tuple]:
    """Returns the jitted training step and the shapes of its arguments."""
    step, state = lim_jax_code.abstract_training(job)
    return step, (state, _shapes(batch(job)))


def _flax_step(job: Job) -> tuple[Any, tuple]:
    model, tx = plain_flax.PlainModel(job), optax.adamw(1e-4, weight_decay=0.1)
    tasks = networks.build(networks.configuration(job)).tasks
    step = functools.partial(plain_flax.train_step, model=model, tx=tx, tasks=tasks)
    state = jax.eval_shape(lambda: plain_flax.initial_state(job, model, tx))
    return jax.jit(step), (state, _shapes(batch(job)))


def _shapes(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def multiplied_padding(jaxpr: Any) -> Iterator[float]:
    """Yields, per convolution op, the floating point operations on padding, which XLA's count leaves out."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield 2 * math.prod(equation.outvars[0].aval.shape) * _channels(equation) * _invisible_taps(equation)
        for inner in core.jaxprs_in_params(equation.params):
            yield from multiplied_padding(inner)


def _channels(equation: Any) -> int:
    """Returns how many products a tap of a kernel adds up."""
    kernel = equation.invars[1].aval.shape
    return kernel[equation.params["dimension_numbers"].rhs_spec[1]]


def _invisible_taps(equation: Any) -> float:
    """Returns how many taps of an output cell fall on padding, on average over the cells.

    Zeros between dilated inputs (of the gradient of a stride) are no padding here: GPUs do not multiply them.
    """
    params = equation.params
    image, kernel = (variable.aval.shape for variable in equation.invars[:2])
    output = equation.outvars[0].aval.shape
    numbers = params["dimension_numbers"]
    seen, all_taps = 1.0, 1.0
    for axis, (low, _) in enumerate(params["padding"]):
        size, taps, cells = (
            shape[spec[axis + 2]] for shape, spec in zip((image, kernel, output), numbers, strict=True)
        )
        stride, dilation = params["window_strides"][axis], params["rhs_dilation"][axis]
        spacing = params["lhs_dilation"][axis]
        last = (size - 1) * spacing
        positions = [cell * stride - low + tap * dilation for cell in range(cells) for tap in range(taps)]
        on_image = [position for position in positions if position % spacing == 0]
        seen *= sum(0 <= position <= last for position in on_image) / cells
        all_taps *= len(on_image) / cells
    return all_taps - seen
