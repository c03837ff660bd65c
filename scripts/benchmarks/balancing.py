"""What methods of loss balancing cost: training steps under each of them in turns, in one process.

Methods that only weigh the losses cost what their sum costs, so they are left out unless they are asked for.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax

from benchmarks import lim_jax_code
from benchmarks.job import job_from, report, spread

_BASELINE = "equal"
_METHODS = (
    "uncertainty",
    "famo",
    *(f"{name}{at}" for name in ("pcgrad", "cagrad", "upgrad") for at in ("", ":features")),
)


def run(arguments: argparse.Namespace) -> None:
    """Prints a line for each method: the times of a step, and the ratio to the plain sum in the same round."""
    job = dataclasses.replace(job_from(arguments, "step"), contender="lim_jax")
    names = tuple(arguments.methods.split(",")) if arguments.methods else _METHODS
    jobs = {name: dataclasses.replace(job, loss_weighting=name) for name in dict.fromkeys((_BASELINE, *names))}
    steps = {name: lim_jax_code.prepare(mine) for name, mine in jobs.items()}
    for step in steps.values():
        _seconds(step)  # compiles
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(arguments.rounds):
        for name, step in steps.items():
            seconds[name].append(_seconds(step))
    for name, mine in jobs.items():
        quotients = [one / base for one, base in zip(seconds[name], seconds[_BASELINE], strict=True)]
        report(mine.sizes() | spread(seconds[name]) | {"times_equal": statistics.median(quotients)})


def _seconds(step: Callable[[], Any]) -> float:
    started = time.perf_counter()
    jax.block_until_ready(step())
    return time.perf_counter() - started
