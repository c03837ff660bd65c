"""A process that runs one contender whenever it is told to, so that contenders can take turns without sharing memory.

    python -m benchmarks.worker '{"what": "step", "contender": "lim_jax", ...}'

It prepares the job, runs it once, and prints a JSON line that describes the machine. For every line that it reads it
runs the job twice and prints `{"seconds": x}` of the second time: caches, and memory that a virtual machine's host took
back while others had their turn, are warm then. When its input ends, it prints `{"peak_memory_mb": x, ...}` and exits.
`Worker` is the other end.
"""

import contextlib
import importlib
import json
import os
import pathlib
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.job import Job

CONTENDERS = {
    "lim_jax": "lim_jax_code",
    "lim_jax_folded": "lim_jax_code",
    "lim_jax_reference": "lim_jax_code",
    "lim_jax_cpu": "lim_jax_code",
    "lim_jax_gpu": "lim_jax_code",
    "optax": "lim_jax_code",
    "flax": "plain_flax",
    "paper": "paper_code",
    "paper_shared": "paper_code",
    "torch_modern": "torch_modern",
}


def environment() -> dict[str, str]:
    """Returns the environment in which a process finds these modules and lim_jax's."""
    scripts = pathlib.Path(__file__).parents[1]
    path = filter(None, [str(scripts), str(scripts.parent), os.environ.get("PYTHONPATH")])
    return dict(os.environ, PYTHONPATH=os.pathsep.join(path))


class Worker:
    """A worker process; use as a context manager, which ends it."""

    def __init__(self, job: Job):
        self._name = f"{job.contender} {job.what}"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", json.dumps(vars(job))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Several share a GPU: none takes more of its memory than it needs.
            env=environment() | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
        )

    def __enter__(self) -> "Worker":
        try:
            self.machine = self._answer()
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(self, *exception) -> None:
        if exception[0] is not None:
            self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def seconds(self) -> float:
        """Runs the job twice and returns how long the second time took."""
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        return self._answer()["seconds"]

    def finish(self) -> dict[str, float]:
        """Ends the process and returns the memory that it took."""
        self._process.stdin.close()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the worker of {self._name} ended: its message is above")
        return json.loads(line)


def main() -> None:
    """Serves one job, given as JSON in the first argument."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what contenders print belongs to no answer

    def answer(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=answers, flush=True)

    job = Job(**json.loads(sys.argv[1]))
    run = prepared(job)
    answer(machine())
    for _ in sys.stdin:
        run_once(run)
        answer({"seconds": run_once(run)})
    answer(memory())


def prepared(job: Job) -> Callable[[], Any]:
    """Returns a function that runs the job once, and has done so."""
    run = importlib.import_module(f"benchmarks.{CONTENDERS[job.contender]}").prepare(job)
    run_once(run)
    return run


def run_once(run: Callable[[], Any]) -> float:
    """Returns how many seconds `run` takes until its results are there."""
    started = time.perf_counter()
    wait(run())
    return time.perf_counter() - started


def wait(result: Any) -> None:
    """Returns when what was started is done, of which `result` came last."""
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        sys.modules["torch"].cuda.synchronize()
    if "jax" in sys.modules:
        sys.modules["jax"].block_until_ready(result)


def machine() -> dict[str, Any]:
    """Returns the device and the versions that a figure belongs to."""
    found: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "python": sys.version.split()[0]}
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        return found | {"device": device, "torch": torch.__version__}
    jax, flax = sys.modules["jax"], sys.modules["flax"]
    return found | {"device": jax.devices()[0].device_kind, "jax": jax.__version__, "flax": flax.__version__}


def memory() -> dict[str, float]:
    """Returns the most memory that the process has held, and on a GPU the most of the GPU's."""
    found = {"peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        found["peak_device_memory_mb"] = sys.modules["torch"].cuda.max_memory_allocated() / 2**20
    elif "jax" in sys.modules:
        device = sys.modules["jax"].local_devices()[0].memory_stats()
        if device:
            found["peak_device_memory_mb"] = device["peak_bytes_in_use"] / 2**20
    return found


if __name__ == "__main__":
    main()
