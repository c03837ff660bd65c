"""Harms tiny runs in every way that a run may meet, and looks whether anything is lost, or goes wrong in silence.

    python scripts/survival.py [--kinds=kill,tear,signals,processes,fuzz] [--trials=30] [--seed=0] [--jobs=2]

`kill` kills training with SIGKILL at moments of every kind and starts it again; `tear` damages files of the newest
checkpoint; `signals` sends SIGINT, SIGTERM and SIGUSR1 to training and verbs; `processes` harms one of 2 or 4 processes
over loopback; `fuzz` damages files of every kind that is read, 100 times in a trial. A run that is harmed must end with
the results, weights and moments of one that is not, to the last bit, or say in one line what is wrong.

All of it takes half an hour on two cores. Prints a line for each trial, with the time that is left, and at the end a
table; ends with exit code 1 if anything failed, and then keeps the folders of what did.
"""

import collections
import concurrent.futures
import pathlib
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import app, flags, logging

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))  # the tests' configuration and files
from trials import fuzzing, killing, processes, signalling, tearing
from trials.runs import Result, Runs, Undisturbed, undisturbed

from lim_jax.runtime.progress import duration


class Kind(NamedTuple):
    """A way to harm runs.

    Attributes:
      trial: (runs, number, rng, undisturbed run, what `prepare` returned) -> result.
      trials: how many there are unless the user says otherwise.
      seconds: that one takes, by a rough guess, until some are measured.
      prepare: makes what the trials share.
      alone: whether there is one trial at a time.
    """

    trial: Callable[..., Result]
    trials: int
    seconds: float
    prepare: Callable[[Runs, Undisturbed], Any] = lambda runs, undisturbed: None
    alone: bool = False


KINDS = {
    "kill": Kind(killing.trial, 30, 30),
    "tear": Kind(tearing.trial, 40, 15, tearing.prepare),
    "signals": Kind(signalling.trial, 24, 25, signalling.prepare),
    "processes": Kind(processes.trial, 12, 60, processes.prepare, alone=True),
    "fuzz": Kind(fuzzing.trial, 36, 5, alone=True),
}

_OUTPUT = sys.stdout  # while records are prepared, TFDS has the name for itself
_KINDS = flags.DEFINE_list("kinds", list(KINDS), "What is done to runs.")
flags.register_validator("kinds", set(KINDS).issuperset, f"there are {', '.join(KINDS)}")
_TRIALS = flags.DEFINE_integer("trials", None, "Of each kind; default: as many as each needs.", 1)
_SEED = flags.DEFINE_integer("seed", 0, "Of the moments and places.")
_JOBS = flags.DEFINE_integer("jobs", 2, "Trials at the same time.", 1)
_FOLDER = flags.DEFINE_string("folder", None, "Where runs live; default: a temporary folder.")


class Timed(NamedTuple):
    """A result, and the seconds that it took."""

    result: Result
    seconds: float


def main(argv: Sequence[str]) -> None:
    """Runs the trials, prints the table, and says by the exit code whether anything failed."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    logging.set_verbosity(logging.ERROR)  # Orbax tells of every checkpoint that is compared
    folder = pathlib.Path(_FOLDER.value or tempfile.mkdtemp(prefix="survival_"))
    counts = {kind: _TRIALS.value or KINDS[kind].trials for kind in _KINDS.value}
    runs = Runs(folder)
    print(f"runs live in {folder}; first, one that nobody harms", file=_OUTPUT, flush=True)
    whole = undisturbed(runs)
    found: dict[str, list[Timed]] = {kind: [] for kind in counts}
    for kind in counts:
        run_kind(kind, runs, whole, counts, found)
    print(f"\n{table(found)}", file=_OUTPUT)
    failed = any(timed.result.problem for each in found.values() for timed in each)
    if not failed and not _FOLDER.value:
        shutil.rmtree(folder)
    sys.exit(1 if failed else 0)


def run_kind(kind: str, runs: Runs, whole: Undisturbed, counts: dict[str, int], found: dict[str, list[Timed]]) -> None:
    """Runs all trials of a kind, a few at a time, adds them to `found`, and prints a line for each."""
    prepared = KINDS[kind].prepare(runs, whole)

    def one(number: int) -> tuple[int, Timed]:
        rng = np.random.default_rng([_SEED.value, list(KINDS).index(kind), number])
        began = time.monotonic()
        try:
            result = KINDS[kind].trial(runs, number, rng, whole, prepared)
        except Exception as error:  # a trial that cannot be judged failed; the others go on
            result = Result("could not be judged", f"{type(error).__name__}: {error}")
        return number, Timed(result, time.monotonic() - began)

    with concurrent.futures.ThreadPoolExecutor(jobs(kind)) as pool:
        for future in concurrent.futures.as_completed([pool.submit(one, number) for number in range(counts[kind])]):
            number, timed = future.result()
            found[kind].append(timed)
            if not timed.result.problem:
                shutil.rmtree(runs.folder / f"{kind}{number}", ignore_errors=True)
            ending = timed.result.problem or f"as it should be, {timed.result.epochs_lost} epochs lost"
            done = f"{kind} {len(found[kind])}/{counts[kind]} (number {number}: {timed.result.what})"
            print(f"{done}: {ending}; {duration(left(counts, found))} left", file=_OUTPUT, flush=True)


def jobs(kind: str) -> int:
    """Returns how many trials of a kind run at a time."""
    return 1 if KINDS[kind].alone else _JOBS.value


def left(counts: dict[str, int], found: dict[str, list[Timed]]) -> float:
    """Returns the seconds that the trials left will take, by those that are over."""
    total = 0.0
    for kind, count in counts.items():
        each = statistics.fmean([timed.seconds for timed in found[kind]] or [KINDS[kind].seconds])
        total += each * (count - len(found[kind])) / jobs(kind)
    return total


def table(found: dict[str, list[Timed]]) -> str:
    """Returns a Markdown table of the trials, and below it what failed."""
    lines = ["| kind | what | trials | failed | epochs lost | seconds, median |", "|---|---|---|---|---|---|"]
    failures = []
    for kind, each in found.items():
        groups: dict[str, list[Timed]] = collections.defaultdict(list)
        for timed in each:
            groups[timed.result.what].append(timed)
        for what, group in sorted(groups.items()):
            problems = [timed.result.problem for timed in group if timed.result.problem]
            failures += [f"- {kind}, {what}: {problem}" for problem in problems]
            lost = sum(timed.result.epochs_lost for timed in group)
            seconds = statistics.median(timed.seconds for timed in group)
            lines.append(f"| {kind} | {what} | {len(group)} | {len(problems)} | {lost} | {seconds:.0f} |")
    return "\n".join([*lines, "", *failures])


if __name__ == "__main__":
    app.run(main)
