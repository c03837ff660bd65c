"""The process of a run: starts its command, keeps its record, passes on that its time is up."""

import contextlib
import datetime
import importlib.metadata
import os
import pathlib
import platform
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lim_jax.runtime import whole_files
from sweeps import records

INTERRUPTED = 128 + signal.SIGINT  # the exit code of a run that was not started
SCRIPTS = str(pathlib.Path(__file__).parents[1])
_PACKAGES = ("lim_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "tensorflow-cpu")


class TrainingJob:
    """A job of submitit that trains a run; calling it returns the exit code of its command."""

    def __init__(
        self,
        root: pathlib.Path,
        name: str,
        command: Sequence[str],
        cwd: pathlib.Path,
        environment: Mapping[str, str | None] | None = None,
    ):
        """Makes it.

        Args:
          root: of the sweep.
          name: of the run.
          command: the arguments of Python.
          cwd: the folder that paths in the command start from.
          environment: variables that are others for the run than for this job, None of those that it does not have.
        """
        self._root, self._name, self._command, self._cwd = root, name, tuple(command), cwd
        self._changes = dict(environment or {})
        self._process: subprocess.Popen | None = None
        self._record: dict[str, Any] = {}
        self._started = 0.0

    def __call__(self) -> int:
        found = records.state(self._root, self._name)
        if found.kind in (records.DONE, records.RUNNING):  # another job, or somebody by hand, was faster
            return 0
        path = records.record_path(self._root, self._name)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._record, self._started = self._begun(found.seconds), time.monotonic()
        whole_files.write_json(path, self._record)
        with path.with_suffix(".log").open("a") as log, _signals_of_a_run() as interrupts:
            if interrupts or records.stop_path(self._root, self._name).exists():
                return self._ended(INTERRUPTED)
            self._process = subprocess.Popen(
                [sys.executable, *self._command],
                cwd=self._cwd,
                env=_environment(self._changes),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        with self._process:
            return self._ended(self._wait(path))

    def checkpoint(self, *args: Any, **kwargs: Any) -> Any:
        """Lets the run save itself because its time is up or it is preempted; what goes on is the same job."""
        import submitit

        del args, kwargs
        if self._process is not None:
            # This interrupts `_wait`, whose lock `Popen.wait` would wait for.
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(self._process.pid, signal.SIGUSR1)
                os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            self._ended(128 + signal.SIGUSR1)
        return submitit.helpers.DelayedSubmission(
            TrainingJob(self._root, self._name, self._command, self._cwd, self._changes)
        )

    def _ended(self, code: int) -> int:
        path = records.record_path(self._root, self._name)
        end = {
            "exit_code": code,
            "seconds": self._record["seconds"] + time.monotonic() - self._started,
            "last_line": records.last_line(path.with_suffix(".log")),
        }
        whole_files.write_json(path, self._record | end)
        return code

    def _wait(self, path: pathlib.Path) -> int:
        assert self._process is not None
        while True:
            try:
                return self._process.wait(records.TOUCH_SECONDS)
            except subprocess.TimeoutExpired:
                os.utime(path)

    def _begun(self, seconds: float) -> dict[str, Any]:
        return {
            "command": [sys.executable, *self._command],
            "started": datetime.datetime.now().isoformat(" ", "seconds"),
            "seconds": seconds,
            "exit_code": None,
            "host": socket.gethostname(),
            "process": os.getpid(),
            "environment": environment(self._changes),
        }


def environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    """Returns what a run runs on, for people: host, processor, Python, versions of packages.

    Args:
      changes: variables that are others for it than for this process.
    """
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "host": socket.gethostname(),
        "system": platform.platform(),
        "processors": str(os.cpu_count()),
        "GPUs": ({**os.environ, **changes}).get("CUDA_VISIBLE_DEVICES") or "",
        "Python": platform.python_version(),
        **versions,
    }


def _environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    """Returns this process's environment with changes, without the path by which submitit has found this module."""
    path = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part and part != SCRIPTS]
    values = {**os.environ, "PYTHONPATH": os.pathsep.join(path), **changes}
    return {name: value for name, value in values.items() if value is not None}


@contextlib.contextmanager
def _signals_of_a_run() -> Iterator[list[int]]:
    """Lets what is started within be interrupted by Ctrl-C, which its job blocks, but not by submitit's signal.

    Slurm may send that to all processes of a job; a run answers SIGUSR1, which its job sends it. A process inherits
    which signals are ignored or blocked, but no handler: neither needs code between fork and exec. Yields the list of
    interrupts, those included that came while they were blocked.
    """
    interrupts: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        yield interrupts
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
