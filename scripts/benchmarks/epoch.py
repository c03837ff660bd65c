"""How much of an epoch is not training steps: reading, copying, recording, saving; evaluation apart.

    python -m benchmarks.epoch '{"what": "epoch", "contender": "lim_jax", ...}' IMAGES EPOCHS PLACE

trains on random images with the loop of `lim_jax.main`, with a checkpoint after every epoch, then takes as many steps
in a row as an epoch has, on one batch that stays on the device. What an epoch takes longer than these is the share.
Images come out of the host's memory: decoding is what `input` measures. Events are written where TensorFlow is
installed, which nothing else needs; grain and clu have to be there.

`run` gives that a process of its own.
"""

import argparse
import dataclasses
import importlib.util
import itertools
import json
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import Any

from benchmarks import in_a_row, supervised, worker
from benchmarks.job import Job, job_from, report

_NEEDED = ("array_record", "clu", "grain")
_DIFFERENT = 32  # images; the others repeat them


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds what an epoch has as options, beside a job's sizes."""
    parser.add_argument("--images", type=int, default=795, help="of an epoch; NYU-v2 has 795")
    parser.add_argument("--epochs", type=int, default=3, help="to measure, after one that compiles")
    parser.add_argument("--place", default="auto", help="dataset.cache, several with commas: auto, device, host, none")
    in_a_row.add_limits(parser)


def run(arguments: argparse.Namespace) -> None:
    """Measures epochs, in a process for each place where examples are kept."""
    job = dataclasses.replace(job_from(arguments, "epoch"), contender="lim_jax")
    environment = worker.environment() | in_a_row.cache_variables(arguments.cache)
    tasks = []
    for place in arguments.place.split(","):
        options = [json.dumps(vars(job)), str(arguments.images), str(arguments.epochs), place]
        command = [sys.executable, "-m", "benchmarks.epoch", *options]
        tasks.append(supervised.Task({"what": "epoch", "place": place}, command, arguments.needs, environment))
    for _ in supervised.run(tasks, supervised.Deadline.after(arguments.minutes), arguments.output):
        pass


def main() -> None:
    """Measures the job, the images, epochs and place that are the arguments."""
    job, images, epochs, place = Job(**json.loads(sys.argv[1])), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    answers, sys.stdout = sys.stdout, sys.stderr
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        report({"what": "epoch", "place": place, "left_out": f"not installed: {', '.join(missing)}"}, answers)
        return
    with tempfile.TemporaryDirectory(prefix="lim_jax_epoch_") as folder:
        found = measure(job, images, epochs, place, pathlib.Path(folder))
    report(job.sizes() | {"images": images} | found | worker.memory() | worker.machine(), answers)


def measure(job: Job, images: int, epochs: int, place: str, workdir: pathlib.Path) -> dict[str, Any]:
    """Trains in `workdir`; returns the seconds of an epoch and of its steps, medians, and the share of the rest."""
    import jax

    from lim_jax.data import cache
    from lim_jax.runtime import memory
    from lim_jax.training import epochs as epochs_lib
    from lim_jax.training import loop

    memory.keep_freed_memory()
    has_events = importlib.util.find_spec("tensorflow") is not None
    if not has_events:
        loop.events.EventWriter = _NoEvents  # pyright: ignore[reportAttributeAccessIssue]
    began, begin = [], epochs_lib.begin

    def noted_begin(*arguments: Any) -> None:
        began.append(time.perf_counter())
        begin(*arguments)

    epochs_lib.begin = noted_begin
    try:
        run, standing = _trained(job, images, epochs + 2, place, workdir)
    finally:
        epochs_lib.begin = begin
    batch = jax.device_put(next(run.iterator))

    def step() -> Any:
        standing.state, sums = standing.programs.train_step(standing.state, batch)
        return standing.state, sums

    step_s = statistics.median(in_a_row.timed(step, run.steps_per_epoch, epochs))
    epoch_s = statistics.median(after - before for before, after in itertools.pairwise(began[1:]))
    return {
        "place": "device" if isinstance(run.iterator, cache.DeviceBatches) else "host or none",
        "events": has_events,
        "steps": run.steps_per_epoch,
        "epoch_s": epoch_s,
        "step_s": step_s,
        "not_steps_percent": 100 * (1 - run.steps_per_epoch * step_s / epoch_s),
    }


def _trained(job: Job, images: int, epochs: int, place: str, workdir: pathlib.Path) -> tuple[Any, Any]:
    """Returns a run and where it stands after its epochs, of which the last alone is evaluated."""
    import jax

    from benchmarks import networks
    from lim_jax.runtime import platforms
    from lim_jax.training import checkpoints, loop, resuming
    from lim_jax.training.run import make_run

    config: Any = networks.configuration(job)
    config.num_epochs, config.eval_every_epochs, config.report_every_epochs = epochs, epochs, 0
    config.early_stopping_patience = 0
    config.dataset.cache = place
    sources = {"train": _RandomImages(job, images), "validation": _RandomImages(job, job.batch_size)}
    dataset: Any = _Dataset("random", networks.specs(), sources)
    local_devices = jax.local_devices()[:1]
    in_background = platforms.of(local_devices).saves_in_background
    with checkpoints.Checkpoints(workdir, tuple(config.tasks), in_background=in_background) as checkpointer:
        run = make_run(config, workdir, dataset, local_devices, checkpointer)
        standing = resuming.start_or_resume(run)
        loop.train(run, standing)
    return run, standing


@dataclasses.dataclass(frozen=True)
class _Dataset:
    """As `lim_jax.data.Dataset`, which imports TFDS."""

    name: str
    specs: Mapping[str, Any]
    sources: Mapping[str, Any]


class _RandomImages:
    """A source of random images and targets."""

    def __init__(self, job: Job, length: int):
        from benchmarks.random_batch import batch

        self._length, self._number = length, min(length, _DIFFERENT)
        self._batch = batch(dataclasses.replace(job, batch_size=self._number))

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self._length:
            raise IndexError(index)
        at = index % self._number
        targets = {name: target[at] for name, target in self._batch["targets"].items()}
        return {"image": self._batch["image"][at], "targets": targets}


class _NoEvents:
    """In place of the writer of TensorBoard's events."""

    def __init__(self, *arguments: Any):
        pass

    def __enter__(self) -> "_NoEvents":
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def write_record(self, record: Any) -> None:
        """Writes nothing."""

    def write_histograms(self, step: int, values: Any) -> None:
        """Writes nothing."""

    def write_pictures(self, step: int, files: Any) -> None:
        """Writes nothing."""


if __name__ == "__main__":
    main()
