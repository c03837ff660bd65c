"""Jobs timed as a GPU is used: many runs in a row with one wait at the end, the batch on the device.

    python -m benchmarks.in_a_row '{"what": "step", "contender": "lim_jax", ...}' STEPS REPEATS PROFILED

is the process of one contender. It prints a line when the first run is done (`first_run_s` counts from the start of
the process: imports, tracing, compiling) and one with the milliseconds of a run, the median of all repeats and
between what they vary; then what its compiled programs consist of, and with PROFILED > 0 where their time goes.

`run` gives contenders such processes, one after another.
"""

import argparse
import dataclasses
import importlib
import json
import os
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks import comparison, kernels, supervised, worker
from benchmarks.job import Job, job_from, report, spread

_WARM_UP = 3
PROFILED = 5  # runs that `--profile` looks at
NEEDS = 45  # seconds, with which most contenders compile and run; `--needs` where they take longer


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds what measuring in a row has as options, to a command that also has a job's sizes."""
    parser.add_argument("--steps", type=int, default=0, help="time so many in a row, contenders one after another")
    parser.add_argument("--repeats", type=int, default=5, help="with --steps: how often so many in a row are timed")
    parser.add_argument("--contenders", default="", help="with --steps: which, with commas")
    parser.add_argument("--profile", action="store_true", help="with --steps: also where the time goes")
    add_limits(parser)


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Adds where compiled programs and lines are kept, and how long it may take."""
    parser.add_argument("--cache", default="", help="directory of compiled programs, kept from run to run")
    parser.add_argument("--minutes", type=float, default=0, help="deadline: what does not fit is left out; 0 = none")
    parser.add_argument("--needs", type=float, default=NEEDS, help="seconds left with which a contender still begins")
    parser.add_argument("--output", default="", help="file to append the lines to")


def run(what: str, arguments: argparse.Namespace) -> None:
    """Measures all contenders of a job, each in a process of its own, and prints their lines."""
    job = job_from(arguments, what)
    names = arguments.contenders.split(",") if arguments.contenders else comparison.contenders(job)
    counts = [str(arguments.steps), str(arguments.repeats), str(PROFILED if arguments.profile else 0)]
    tasks = [_task(dataclasses.replace(job, contender=name), counts, arguments) for name in names]
    for _ in supervised.run(tasks, supervised.Deadline.after(arguments.minutes), arguments.output):
        pass


def start(arguments: argparse.Namespace) -> None:
    """Times lim_jax from the process to the first training step on a random batch, as often as `--starts` says.

    The first finds in `--cache` what is there, the others what it has left.
    """
    job = dataclasses.replace(job_from(arguments, "step"), contender="lim_jax")
    tasks = [_task(job, ["0", "0", "0"], arguments)] * arguments.starts
    for _ in supervised.run(tasks, supervised.Deadline.after(arguments.minutes), arguments.output):
        pass


def _task(job: Job, counts: Sequence[str], arguments: argparse.Namespace) -> supervised.Task:
    name = {"what": job.what, "contender": job.contender, "dtype": job.dtype}
    command = [sys.executable, "-m", "benchmarks.in_a_row", json.dumps(vars(job)), *counts]
    return supervised.Task(name, command, arguments.needs, worker.environment() | cache_variables(arguments.cache))


def cache_variables(directory: str) -> dict[str, str]:
    """Returns the environment variables with which JAX keeps its compiled programs in `directory`, if it has a name."""
    if not directory:
        return {}
    return {
        "JAX_COMPILATION_CACHE_DIR": str(pathlib.Path(directory).absolute()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }


def main() -> None:
    """Measures one contender: the job, the steps in a row, how often, and the steps to profile are the arguments."""
    job = Job(**json.loads(sys.argv[1]))
    steps, repeats, profiled = map(int, sys.argv[2:])
    answers, sys.stdout = sys.stdout, sys.stderr  # what contenders print belongs to no line
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    state = {"cache": "filled" if any(pathlib.Path(cache).glob("*")) else "empty"} if cache else {}
    call = importlib.import_module(f"benchmarks.{worker.CONTENDERS[job.contender]}").prepare(job)
    worker.run_once(call)
    first_run = {"event": "first run", "first_run_s": _seconds_since_start()} | state
    report(job.sizes() | first_run | worker.memory() | worker.machine(), answers)
    if not steps:
        return
    seconds = timed(call, steps, repeats)
    times = {"event": "in a row"} | milliseconds(spread(seconds)) | {"steps": steps}
    report(job.sizes() | times | worker.memory() | worker.machine(), answers)
    name = {"what": job.what, "contender": job.contender, "dtype": job.dtype}
    for program, compiled in getattr(call, "programs", {}).items():
        report(name | {"event": "program", "program": program} | kernels.counts(compiled), answers)
    if profiled:
        for row in kernels.profile(call, profiled):
            report(name | {"event": "profile"} | row, answers)


def milliseconds(spread_of_seconds: Mapping[str, float]) -> dict[str, float]:
    """Returns what `job.spread` returns, its seconds as milliseconds."""
    return {
        name.removesuffix("_s") + "_ms" if name.endswith("_s") else name: 1e3 * value if name.endswith("_s") else value
        for name, value in spread_of_seconds.items()
    }


def timed(call: Callable[[], Any], steps: int, repeats: int) -> list[float]:
    """Returns the seconds of a call, for each of `repeats` times that `steps` calls are made in a row."""
    _in_a_row(call, _WARM_UP)
    return [_in_a_row(call, steps) / steps for _ in range(repeats)]


def _in_a_row(call: Callable[[], Any], number: int) -> float:
    started, result = time.perf_counter(), None
    for _ in range(number):
        result = call()
    worker.wait(result)
    return time.perf_counter() - started


def _seconds_since_start() -> float:
    """Returns the age of this process, to the hundredth of a second that Linux keeps."""
    after_boot = float(pathlib.Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    uptime = float(pathlib.Path("/proc/uptime").read_text().split()[0])
    return uptime - after_boot / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
