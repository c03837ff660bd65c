"""How fast examples are read: one by one, in batches per number of worker processes, and beside training steps."""

import argparse
import itertools
import statistics
import time
from typing import Any

import jax

from benchmarks import lim_jax_code
from benchmarks.job import job_from, report, spread
from lim_jax.data import pipeline, records
from lim_jax.data.rooms import dataset as rooms

_EXAMPLES = 64


def run(arguments: argparse.Namespace) -> None:
    """Times reading: single examples, batches per number of workers, and how long training steps wait for them."""
    size = (arguments.image_size, arguments.image_size)
    directory = rooms.prepare(arguments.data_dir, size, (_EXAMPLES, 1, 1))
    source = records.RecordSource(directory, "train", rooms.SPECS)
    sizes = {"batch_size": arguments.batch_size, "image_size": arguments.image_size}
    indices = itertools.islice(itertools.cycle(range(len(source))), arguments.rounds * len(source))
    report({"what": "input", "read": "one example"} | spread([_seconds_to_read(source, i) for i in indices]) | sizes)
    for workers in map(int, arguments.workers.split(",")):
        batches = pipeline.train_iterator(source, batch_size=arguments.batch_size, seed=0, num_workers=workers)
        next(batches)
        rates = [_images_per_second(batches, arguments.batch_size) for _ in range(arguments.rounds)]
        fields = {"images_per_second": statistics.median(rates), "min": min(rates), "max": max(rates)}
        report({"what": "input", "read": "batches", "workers": workers} | fields | sizes)
        if arguments.steps:
            waited = _waiting(arguments, batches)
            report({"what": "input", "read": "beside training", "workers": workers} | waited | sizes)
        batches.close()


def _seconds_to_read(source: records.RecordSource, index: int) -> float:
    started = time.perf_counter()
    source[index]
    return time.perf_counter() - started


def _images_per_second(batches: Any, batch_size: int, count: int = 4) -> float:
    started = time.perf_counter()
    for _ in range(count):
        next(batches)
    return count * batch_size / (time.perf_counter() - started)


def _waiting(arguments: argparse.Namespace, batches: Any) -> dict[str, float]:
    """Returns the percentage of the time that training steps on `batches` wait for data, and a step's seconds."""
    step, state = lim_jax_code.training(job_from(arguments, "step"))
    state, _ = step(state, next(batches))  # compiles
    jax.block_until_ready(state)
    waited, started = 0.0, time.perf_counter()
    for _ in range(arguments.steps):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        state, _ = step(state, batch)
        jax.block_until_ready(state)
    elapsed = time.perf_counter() - started
    return {"waiting_percent": 100 * waited / elapsed, "step_s": elapsed / arguments.steps}
