"""Kills runs with SIGKILL, which no program notices, at moments of every kind, and starts them again."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from trials.runs import EPOCHS, STEPS_PER_EPOCH, Result, Runs, Undisturbed, Watched, epochs_lost, to_the_end

_STARTING = "while it starts"
_PREPARING = "in preparation"


class _Moment(NamedTuple):
    """A moment comes when something is so, and up to some seconds later.

    Attributes:
      has_come: given the process, the workdir, and the number of a step at random.
      seconds: that it lasts, by a rough guess.
    """

    has_come: Callable[[Watched, pathlib.Path, int], bool]
    seconds: float


def _is_saving(process: Watched, workdir: pathlib.Path, step: int) -> bool:
    """Whether the folder of a checkpoint, under its own or a temporary name, has appeared."""
    del process
    return any((workdir / "checkpoints").glob(f"{step}*"))


_MOMENTS = {
    _STARTING: _Moment(lambda process, workdir, step: True, 8.0),
    _PREPARING: _Moment(lambda process, workdir, step: "Preparing" in process.said(), 0.7),
    "in a step": _Moment(lambda process, workdir, step: "step 1:" in process.said(), 4.0),
    "while it saves": _Moment(_is_saving, 0.05),
    "in evaluation": _Moment(lambda process, workdir, step: f"epoch {EPOCHS}/{EPOCHS}:" in process.said(), 3.0),
    "in the report": _Moment(lambda process, workdir, step: (workdir / "report").is_dir(), 2.0),
}


def trial(runs: Runs, number: int, rng: np.random.Generator, undisturbed: Undisturbed, prepared: Any) -> Result:
    """Kills a run once, or twice in every third trial, and lets it end."""
    del prepared
    what = list(_MOMENTS)[number % len(_MOMENTS)]
    workdir = runs.new(f"kill{number}")
    data_dir = workdir.with_name("records") if what == _PREPARING else runs.data_dir
    times = [what, "in a step"] if number % 3 == 2 else [what]
    said = [_kill(runs, workdir, data_dir, moment, rng) for moment in times]
    problem, again = to_the_end(runs, workdir, undisturbed.outcome, data_dir=data_dir)
    lost = sum(map(epochs_lost, said, [*said[1:], again]))
    return Result(what, problem, lost)


def _kill(runs: Runs, workdir: pathlib.Path, data_dir: pathlib.Path, what: str, rng: np.random.Generator) -> str:
    moment, step = _MOMENTS[what], STEPS_PER_EPOCH * int(rng.integers(1, EPOCHS + 1))
    process = runs.train(workdir, data_dir)
    process.wait_until(lambda: moment.has_come(process, workdir, step), rng.uniform(0, moment.seconds))
    process.process.kill()
    process.end()
    return process.said()
