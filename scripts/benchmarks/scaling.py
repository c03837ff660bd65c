"""How time and memory grow with the work: from batch to batch at one image size, from size to size at one batch.

Every point has a process of its own. "gradients" is a training step without its optimizer, whose cost does not
depend on the images; "optimizer" gives that cost apart. The figure is drawn from the JSON lines (`--plot=FILE`).
"""

import argparse
import dataclasses
import json
import pathlib
import statistics
from typing import Any

from benchmarks.job import Job, job_from, report, spread
from benchmarks.worker import Worker

_KINDS = ("gradients", "inference")


def run(arguments: argparse.Namespace) -> None:
    """Measures, unless `--lines` has the lines of an earlier run, and draws the figure."""
    if arguments.lines:
        lines = [json.loads(line) for line in pathlib.Path(arguments.lines).read_text().splitlines()]
    else:
        lines = list(_measure(arguments))
    if arguments.plot:
        from benchmarks import scaling_figure

        scaling_figure.draw(lines, pathlib.Path(arguments.plot))


def _measure(arguments: argparse.Namespace) -> Any:
    """Yields and prints a line per point, and one of how far the points of each sweep are from their median."""
    base = job_from(arguments, "")
    yield _point("optimizer", dataclasses.replace(base, what="optimizer"), arguments.rounds)
    sweeps = {
        "batch_size": [dataclasses.replace(base, batch_size=int(n)) for n in arguments.batch_sizes.split(",")],
        "image_size": [
            dataclasses.replace(base, batch_size=1, image_size=int(n)) for n in arguments.image_sizes.split(",")
        ],
    }
    for sweep, jobs in sweeps.items():
        for what in _KINDS:
            lines = [_point(sweep, dataclasses.replace(job, what=what), arguments.rounds) for job in jobs]
            costs = [line["us_per_pixel"] for line in lines]
            middle = statistics.median(costs)
            deviation = {"lowest": min(costs) / middle - 1, "highest": max(costs) / middle - 1}
            report({"what": "scaling", "of": what, "sweep": sweep} | deviation)
            yield from lines


def _point(sweep: str, job: Job, rounds: int) -> dict[str, Any]:
    job = dataclasses.replace(job, contender="lim_jax")
    with Worker(job) as worker:
        seconds = [worker.seconds() for _ in range(rounds)]
        memory = worker.finish()
    pixels = job.batch_size * job.image_size**2
    times = spread(seconds)
    line = {"sweep": sweep} | job.sizes() | times | memory | {"us_per_pixel": 1e6 * times["median_s"] / pixels}
    report(line | worker.machine)
    return line
