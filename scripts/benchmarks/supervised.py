"""Processes that print JSON lines, started one after another until a deadline; their lines are passed on and kept."""

import dataclasses
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.job import keep

_LAST_WORDS = 1500  # characters of what a process that failed wrote to standard error


@dataclasses.dataclass(frozen=True)
class Deadline:
    """A moment after which nothing begins and nothing goes on.

    Attributes:
      at: of `time.monotonic`, in seconds.
    """

    at: float

    @classmethod
    def after(cls, minutes: float) -> "Deadline":
        """Returns the moment `minutes` from now; 0 stands for never."""
        return cls(time.monotonic() + 60 * minutes if minutes else float("inf"))

    @property
    def seconds_left(self) -> float:
        """Seconds until then."""
        return self.at - time.monotonic()

    @property
    def minutes_left(self) -> float:
        """Minutes until then for the `--minutes` of a process of its own, which needs a moment to end; 0 for never."""
        return 0 if self.at == float("inf") else max(self.seconds_left - 3, 1) / 60


@dataclasses.dataclass(frozen=True)
class Task:
    """A process to run.

    Attributes:
      name: fields that say what it measures, for a line about what became of it.
      command: what is run.
      needs: seconds that it takes by a rough guess; with less left it does not begin.
      environment: of the process; None = this one's.
    """

    name: Mapping[str, Any]
    command: Sequence[str]
    needs: float
    environment: Mapping[str, str] | None = None


def run(tasks: Sequence[Task], deadline: Deadline, output: str = "") -> Iterator[dict[str, Any]]:
    """Runs what fits, prints each line of theirs when it comes and yields it; says what was left out and what failed.

    Args:
      tasks: in the order of their importance.
      deadline: a process that still runs then is killed.
      output: file to which the lines are appended, too; empty for none.
    """
    for task in tasks:
        if deadline.seconds_left < task.needs:
            found = iter([dict(task.name, left_out=f"{deadline.seconds_left:.0f} s left, needs {task.needs:.0f}")])
        else:
            found = _lines(task, deadline)
        for line in found:
            keep(line, output)
            yield line


def _lines(task: Task, deadline: Deadline) -> Iterator[dict[str, Any]]:
    """Yields the process's lines, and one more if it fails; what else it prints goes to standard error."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(task.command, stdout=subprocess.PIPE, stderr=errors, text=True, env=task.environment)
        assert process.stdout is not None
        killing = threading.Timer(min(max(deadline.seconds_left, 0), threading.TIMEOUT_MAX), process.kill)
        killing.start()
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    yield json.loads(line)
                else:
                    sys.stderr.write(line)
            code = process.wait()
        finally:
            killing.cancel()
            process.kill()
            process.wait()
            process.stdout.close()
        if code:
            errors.seek(0)
            said = errors.read()[-_LAST_WORDS:]
            yield dict(task.name, failed="no time left" if deadline.seconds_left <= 0 else said or f"exit code {code}")
