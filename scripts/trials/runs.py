"""The tiny run that every trial harms: how it is started, watched, and compared with one that nobody harmed."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from lim_jax.training import digests, stored

ROOT = pathlib.Path(__file__).parents[2]
EPOCHS = 4
STEPS_PER_EPOCH = 3
USER_ERROR = 2
_SECONDS_AT_MOST = 600.0
_SECONDS_BETWEEN_LOOKS = 0.002


class Result(NamedTuple):
    """What became of a trial.

    Attributes:
      what: was done, as a row of the table.
      problem: what is wrong with how it ended; empty = nothing.
      epochs_lost: epochs that were finished, and had to be trained again.
    """

    what: str
    problem: str = ""
    epochs_lost: int = 0


class Undisturbed(NamedTuple):
    """A run that nobody harmed.

    Attributes:
      workdir: of it.
      outcome: what it left, as `outcome` returns it.
    """

    workdir: pathlib.Path
    outcome: dict[str, Any]


class Watched:
    """A process whose standard error can be read while it runs."""

    def __init__(self, command: Sequence[str], log: pathlib.Path, environment: Mapping[str, str]):
        self._log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=file
            )

    def said(self) -> str:
        """Returns what it has written to standard error."""
        return self._log.read_text(errors="replace")

    def wait_until(self, condition: Callable[[], bool], seconds: float = 0.0) -> None:
        """Waits until something is so, and some seconds more; no longer than the process runs."""
        while self.process.poll() is None and not condition():
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        end = time.monotonic() + seconds
        while self.process.poll() is None and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _SECONDS_BETWEEN_LOOKS))

    def end(self) -> int:
        """Waits for its end and returns its exit code, negative of a signal that killed it."""
        try:
            return self.process.wait(_SECONDS_AT_MOST)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return -1


class Runs:
    """Starts runs in a folder of their own, which share prepared records and compiled programs.

    Attributes:
      folder: where everything is written.
      data_dir: of the prepared records.
    """

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.data_dir = folder / "records"
        self._environment = {
            "JAX_PLATFORMS": "cpu",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "XDG_CACHE_HOME": str(folder / "cache"),
            "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiling such networks takes longer than running
        }

    def train(
        self,
        workdir: pathlib.Path,
        data_dir: pathlib.Path | None = None,
        place: Mapping[str, str] | None = None,
        log: pathlib.Path | None = None,
    ) -> Watched:
        """Starts training.

        Args:
          workdir: of the run.
          data_dir: of the records; None = the shared ones.
          place: environment variables that make it one of several processes.
          log: where standard error goes; None = beside the workdir.
        """
        flags = [f"--config=tests/training/tiny.py:{data_dir or self.data_dir}", f"--workdir={workdir}"]
        flags += ["--config.tasks=depth", "--config.model.width_multiplier=0.05", f"--config.num_epochs={EPOCHS}"]
        flags += ["--distributed"] * (place is not None)
        return self.verb("main", flags, log or workdir.with_suffix(".log"), place)

    def verb(
        self, verb: str, flags: Sequence[str], log: pathlib.Path, environment: Mapping[str, str] | None = None
    ) -> Watched:
        """Starts a verb."""
        command = [sys.executable, "-m", f"lim_jax.{verb}", *flags]
        return Watched(command, log, {**self._environment, **(environment or {})})

    def new(self, name: str) -> pathlib.Path:
        """Returns a place for a workdir that is not there, beside which nothing else is."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder / "run"


def undisturbed(runs: Runs) -> Undisturbed:
    """Trains a run to its end."""
    workdir = runs.new("undisturbed")
    process = runs.train(workdir)
    if code := process.end():
        raise RuntimeError(f"a run that nobody harmed ended with {code}: {last_line(process.said())}")
    return Undisturbed(workdir, outcome(workdir))


def outcome(workdir: pathlib.Path) -> dict[str, Any]:
    """Returns what a finished run leaves: its results, and the digests of its last weights and moments."""
    last = stored.ranked(workdir, stored.LATEST)[0]
    arrays = {item: digests.of_arrays(last.arrays(item)) for item in stored.ITEMS}
    return {"results": json.loads((workdir / "results.json").read_text()), "step": last.step, **arrays}


def differing(outcome: Mapping[str, Any], expected: Mapping[str, Any]) -> str:
    """Returns which parts of two outcomes differ, in words; empty if none does."""
    parts = [part for part in expected if outcome[part] != expected[part]]
    return f"other {', '.join(parts)}" if parts else ""


def to_the_end(runs: Runs, workdir: pathlib.Path, expected: Mapping[str, Any], **arguments: Any) -> tuple[str, str]:
    """Starts a run again, and waits; returns what is wrong with its end, empty if nothing, and what it said."""
    watched = runs.train(workdir, log=workdir.with_name("again.log"), **arguments)
    code, said = watched.end(), watched.said()
    if code or "Traceback" in said:
        return f"started again it ended with {code}: {last_line(said)}", said
    return differing(outcome(workdir), expected), said


def finished_epochs(said: str) -> list[int]:
    """Returns the epochs of which a run said that they are over."""
    return [int(number) for number in re.findall(rf"epoch (\d+)/{EPOCHS}:", said)]


def epochs_lost(before: str, after: str) -> int:
    """Returns how many epochs a run that said `before` had finished, and trained again when it said `after`."""
    finished, again = finished_epochs(before), finished_epochs(after)
    return max(max(finished) - min(again) + 1, 0) if finished and again else 0


def last_line(said: str) -> str:
    """Returns the last line that is not empty."""
    return next((line for line in reversed(said.splitlines()) if line.strip()), "(nothing)")
