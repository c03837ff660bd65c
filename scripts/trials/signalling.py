"""Sends the signals of a person or a cluster to training and to verbs, at any moment: one line, and nothing lost."""

import pathlib
import signal

import cv2
import numpy as np

from trials.runs import Result, Runs, Undisturbed, epochs_lost, last_line, to_the_end

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_TARGETS = ("training", "training", "predict", "training", "compact", "export")  # three of six are of training
_SECONDS = {"training": 16.0, "predict": 8.0, "compact": 10.0, "export": 10.0}
_FIRST_SECONDS = 0.5  # in which Python starts; until our first instruction the system's own answer holds
_IMAGES = 6


def prepare(runs: Runs, undisturbed: Undisturbed) -> pathlib.Path:
    """Returns a folder of images."""
    del undisturbed
    folder = runs.new("images").parent
    rng = np.random.default_rng(0)
    for index in range(_IMAGES):
        cv2.imwrite(str(folder / f"{index}.png"), rng.integers(0, 256, (48, 64, 3), np.uint8))
    return folder


def trial(runs: Runs, number: int, rng: np.random.Generator, undisturbed: Undisturbed, images: pathlib.Path) -> Result:
    """Sends a signal; what it was sent to is then started again."""
    target, asked = _TARGETS[number % len(_TARGETS)], _SIGNALS[(number + number // len(_TARGETS)) % len(_SIGNALS)]
    workdir = runs.new(f"signals{number}")
    if target == "training":
        process, flags = runs.train(workdir), []
    else:
        flags = _flags(target, undisturbed.workdir, workdir.parent, images)
        process = runs.verb(target, flags, workdir.with_name("first.log"))
    process.wait_until(lambda: True, rng.uniform(_FIRST_SECONDS, _SECONDS[target]))
    process.process.send_signal(asked)
    problem = _wrong(process.end(), process.said(), asked)
    what = f"{asked.name}, {'training' if target == 'training' else 'verbs'}"
    if target == "training":
        ending, again = to_the_end(runs, workdir, undisturbed.outcome)
        return Result(what, problem or ending, epochs_lost(process.said(), again))
    second = runs.verb(target, flags, workdir.with_name("again.log"))
    code = second.end()
    return Result(what, problem or (f"{target} started again: {last_line(second.said())}" if code else ""))


def _flags(verb: str, finished: pathlib.Path, folder: pathlib.Path, images: pathlib.Path) -> list[str]:
    flags = [f"--workdir={finished}", f"--output={folder / 'output'}"]
    return [*flags, f"--images={images}"] if verb == "predict" else flags


def _wrong(code: int, said: str, asked: signal.Signals) -> str:
    """Returns what is wrong with how a process ended; one that had ended before the signal came is as it should be.

    A process whose work is done, and in which Python ends, says nothing: the system answers the signal.
    """
    if "Traceback" in said:
        return f"a traceback: {last_line(said)}"
    if code not in (0, 128 + asked, -asked):
        return f"exit code {code} after {asked.name}: {last_line(said)}"
    lines = [line for line in said.splitlines() if "interrupted" in line]
    return f"{len(lines)} lines: {' / '.join(lines)}" if code > 0 and len(lines) != 1 else ""
