"""How long after the command is typed the first training step is done, without and with a filled compilation cache."""

import argparse
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.job import job_from, report, spread

_ROOT = pathlib.Path(__file__).parents[2]
_SPLITS = "16,4,4"
_FIRST_STEP = "epoch 1, step 1:"  # the line that `lim_jax.training.loop` logs when it is done


def run(arguments: argparse.Namespace) -> None:
    """Starts `lim_jax.main` on rendered rooms, with an empty cache and then with what that run left in it."""
    measure(arguments)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Does so `arguments.rounds` times, prints a line for each kind of start and their ratio; returns the medians."""
    job = job_from(arguments, "startup")
    seconds: dict[str, list[float]] = {"empty": [], "filled": []}
    memory: dict[str, list[float]] = {"empty": [], "filled": []}
    with tempfile.TemporaryDirectory(prefix="lim_jax_startup_") as scratch:
        command = _command(job, pathlib.Path(scratch, "records"))
        _prepare_records(job, pathlib.Path(scratch, "records"))
        for i in range(arguments.rounds):
            for cache in seconds:
                folder = pathlib.Path(scratch, f"{i}")
                options = [f"--workdir={folder / cache}", f"--config.compilation_cache_dir={folder / 'cache'}"]
                elapsed, megabytes = _start([*command, *options])
                seconds[cache].append(elapsed)
                memory[cache].append(megabytes)
    for cache, measured in seconds.items():
        fields = {"cache": cache, "peak_memory_mb": statistics.median(memory[cache])}
        report(job.sizes() | {"contender": "lim_jax.main"} | spread(measured) | fields)
    quotients = [empty / filled for empty, filled in zip(*seconds.values(), strict=True)]
    result = {"ratio": "empty / filled cache", "time": statistics.median(quotients)}
    report({"what": "startup"} | result)
    return result | {f"{cache}_s": statistics.median(measured) for cache, measured in seconds.items()}


def _command(job: Any, records: pathlib.Path) -> list[str]:
    settings = {
        "model.backbone": job.backbone,
        "model.width_multiplier": job.width_multiplier,
        "model.head_channels": job.head_channels,
        "dataset.image_size": f"{job.image_size},{job.image_size}",
        "dataset.split_sizes": _SPLITS,
        "dataset.data_dir": records,
        "batch_size": job.batch_size,
        "dtype": job.dtype,
        "sparsity.strength": job.strength,
        "num_devices": 1,
    }
    options = [f"--config.{key}={value}" for key, value in settings.items()]
    return [sys.executable, "-m", "lim_jax.main", f"--config={_ROOT / 'configs' / 'rooms.py'}", *options]


def _prepare_records(job: Any, records: pathlib.Path) -> None:
    """Renders the images in another process, so that this one stays small."""
    size = (job.image_size, job.image_size)
    code = f"from lim_jax.data.rooms import dataset; dataset.prepare({str(records)!r}, {size}, ({_SPLITS}))"
    subprocess.run([sys.executable, "-c", code], cwd=_ROOT, check=True, stdout=subprocess.DEVNULL)


def _start(command: list[str]) -> tuple[float, float]:
    """Returns the seconds until the first step is done, and the most memory in MB that the process has held by then."""
    started = time.perf_counter()
    said, elapsed = [], None
    with subprocess.Popen(command, cwd=_ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line)
            if _FIRST_STEP in line:
                elapsed = time.perf_counter() - started
                break
        # Not process.kill(): that would reap one that has ended, without its memory.
        os.kill(process.pid, signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if elapsed is None:
        raise SystemExit("".join(said) + "lim_jax.main ended before its first step")
    return elapsed, usage.ru_maxrss / 1024
