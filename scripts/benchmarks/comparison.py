"""Contenders that do the same job in turns, each in a process of its own: times, memory and their ratios.

Contenders take turns within each round, so that whatever else happens on the machine hits all of them alike. A ratio
is the median over the rounds of one contender's time over lim_jax's in that round.
"""

import contextlib
import dataclasses
import statistics
from typing import Any

from benchmarks.job import Job, report, spread
from benchmarks.worker import Worker

_CONTENDERS = {
    "step": ("lim_jax", "flax"),
    "inference": ("lim_jax", "lim_jax_folded", "flax"),
    "optimizer": ("lim_jax", "optax"),
}
_FROM_PAPER = {
    "step": ("paper", "paper_shared"),
    "inference": ("paper", "paper_shared"),
    "optimizer": ("paper",),
}


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a contender took.

    Attributes:
      seconds: per round.
      memory: of the process, in MB: `peak_memory_mb`, on a GPU also `peak_device_memory_mb`.
    """

    seconds: list[float]
    memory: dict[str, float]

    @property
    def median(self) -> float:
        """The median of its seconds."""
        return statistics.median(self.seconds)


def compare(job: Job, rounds: int) -> dict[str, Measured]:
    """Measures all contenders for `job` and prints a line for each, and a line for each ratio."""
    jobs = {name: dataclasses.replace(job, contender=name) for name in contenders(job)}
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    with contextlib.ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(mine)) for name, mine in jobs.items()}
        for _ in range(rounds):
            for name, worker in workers.items():
                seconds[name].append(worker.seconds())
        measured = {name: Measured(seconds[name], worker.finish()) for name, worker in workers.items()}
    for name, mine in jobs.items():
        report(mine.sizes() | spread(seconds[name]) | measured[name].memory | workers[name].machine)
    for name in list(jobs)[1:]:
        report(dict(what=job.what, **ratio(measured, name)))
    return measured


def contenders(job: Job) -> tuple[str, ...]:
    """Returns who is compared for `job`, lim_jax first."""
    return _CONTENDERS[job.what] + (_FROM_PAPER[job.what] if job.torch_reference else ())


def ratio(measured: dict[str, Measured], baseline: str) -> dict[str, Any]:
    """Returns how many times `baseline` takes what lim_jax takes: time, between what it varies, and memory."""
    ours, theirs = measured["lim_jax"], measured[baseline]
    quotients = [b / a for a, b in zip(ours.seconds, theirs.seconds, strict=True)]
    return {
        "ratio": f"{baseline} / lim_jax",
        "time": statistics.median(quotients),
        "time_min": min(quotients),
        "time_max": max(quotients),
        "memory": theirs.memory["peak_memory_mb"] / ours.memory["peak_memory_mb"],
    }
