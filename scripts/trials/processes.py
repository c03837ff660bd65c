"""Harms one of several processes of a run, over loopback: none is left alone, and the same command goes on."""

import functools
import pathlib
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tests.runtime.loopback import free_address, places
from trials.runs import Result, Runs, Undisturbed, Watched, differing, epochs_lost, last_line, outcome

_SECONDS = 20.0  # from the start to the end of training, by a rough guess
_SECONDS_TO_NOTICE = 60.0
_AT_ONCE = "interrupted: the same command goes on\n"
_ALONE = ("another process of this run has ended", "not all processes of this run came")


def prepare(runs: Runs, undisturbed: Undisturbed) -> Callable[[int], dict[str, Any]]:
    """Returns a function from a number of processes to what they leave when nobody harms them, trained once."""
    del undisturbed

    @functools.cache
    def whole(number: int) -> dict[str, Any]:
        workdir = runs.new(f"whole{number}")
        codes = [process.end() for process in _start(runs, workdir, number, range(number), "first")]
        if any(codes):
            raise RuntimeError(f"{number} processes ended with {codes}: see {workdir.parent}")
        return outcome(workdir)

    return whole


def trial(
    runs: Runs, number: int, rng: np.random.Generator, undisturbed: Undisturbed, whole: Callable[[int], dict[str, Any]]
) -> Result:
    """Harms one of 2 or 4 processes, then starts all of them again."""
    del undisturbed
    harm = (_death, _signal, _never)[number % 3]
    count = (2, 4)[number // 3 % 2]
    wanted = whole(count)
    workdir = runs.new(f"processes{number}")
    problem, said = harm(runs, workdir, count, rng)
    again = _start(runs, workdir, count, range(count), "again")
    codes = [process.end() for process in again]
    if any(codes):
        problem = problem or f"started again they ended with {codes}: {last_line(again[0].said())}"
    problem = problem or differing(outcome(workdir), wanted)
    return Result(f"{count}: {harm.__doc__}", problem, epochs_lost(said, again[0].said()))


def _start(runs: Runs, workdir: pathlib.Path, count: int, which: Sequence[int], name: str) -> list[Watched]:
    environments = places(count, free_address())
    logs = {place: workdir.with_name(f"{name}{place}.log") for place in which}
    return [runs.train(workdir, place=environments[place], log=log) for place, log in logs.items()]


def _death(runs: Runs, workdir: pathlib.Path, count: int, rng: np.random.Generator) -> tuple[str, str]:
    """one is killed"""
    processes = _start(runs, workdir, count, range(count), "first")
    victim = processes[int(rng.integers(count))]
    victim.wait_until(lambda: True, rng.uniform(0, _SECONDS))
    victim.process.kill()
    others = [process for process in processes if process is not victim]
    return _left_alone(others), processes[0].said()


def _never(runs: Runs, workdir: pathlib.Path, count: int, rng: np.random.Generator) -> tuple[str, str]:
    """one never starts"""
    absent = int(rng.integers(count))
    processes = _start(runs, workdir, count, [place for place in range(count) if place != absent], "first")
    return _left_alone(processes), ""


def _left_alone(others: Sequence[Watched]) -> str:
    """Waits for processes that miss one; returns what is wrong with how they end."""
    began = time.monotonic()
    codes = [process.end() for process in others]
    seconds = time.monotonic() - began
    said = "".join(process.said() for process in others)
    if not any(codes):
        return ""  # all was over before
    if "Traceback" in said:
        return f"a traceback: {last_line(said)}"
    if not all(codes) or not all(any(line in process.said() for line in _ALONE) for process in others):
        return f"exit codes {codes}: {last_line(said)}"
    return f"the others ended after {seconds:.0f} s" if seconds > _SECONDS_TO_NOTICE else ""


def _signal(runs: Runs, workdir: pathlib.Path, count: int, rng: np.random.Generator) -> tuple[str, str]:
    """one gets SIGTERM"""
    processes = _start(runs, workdir, count, range(count), "first")
    asked = processes[int(rng.integers(count))]
    processes[0].wait_until(lambda: "step 1:" in processes[0].said(), rng.uniform(0, 3))
    asked.process.send_signal(signal.SIGTERM)
    codes = [process.end() for process in processes]
    said = "".join(process.said() for process in processes)
    if _AT_ONCE in asked.said():  # its first step was not done yet, so that there was nothing to save
        return _left_alone([process for process in processes if process is not asked]), processes[0].said()
    if "Traceback" in said or any(code not in (0, 128 + signal.SIGTERM) for code in codes):
        return f"exit codes {codes}: {last_line(said)}", processes[0].said()
    return "", processes[0].said()
