"""Damages files of the newest checkpoint: whoever reads it gives equal results, or names the damage in one line."""

import json
import pathlib
import shutil
import signal
from collections.abc import Mapping
from typing import Any

import numpy as np

from trials.runs import USER_ERROR, Result, Runs, Undisturbed, last_line, to_the_end

_MAX_FILES = 3
_VERBS = ("training goes on", "a finished run is started again", "evaluate")
_DAMAGES = ("flipped", "cut", "removed", "emptied")


def prepare(runs: Runs, undisturbed: Undisturbed) -> tuple[pathlib.Path, dict[str, Any]]:
    """Returns the workdir of a run that was stopped after two epochs, and what `evaluate` says of the finished one."""
    stopped = runs.new("stopped")
    process = runs.train(stopped)
    process.wait_until(lambda: "epoch 2/" in process.said())
    process.process.send_signal(signal.SIGTERM)
    process.end()
    evaluated = runs.new("evaluated")
    shutil.copytree(undisturbed.workdir, evaluated)
    if runs.verb("evaluate", [f"--workdir={evaluated}"], evaluated.with_name("evaluate.log")).end():
        raise RuntimeError(f"evaluate fails on an intact run: {evaluated}")
    return stopped, _figures(evaluated)


def trial(
    runs: Runs,
    number: int,
    rng: np.random.Generator,
    undisturbed: Undisturbed,
    prepared: tuple[pathlib.Path, dict[str, Any]],
) -> Result:
    """Damages one to three files of the newest checkpoint, and uses it."""
    what = _VERBS[number % len(_VERBS)]
    stopped, figures = prepared
    workdir = runs.new(f"tear{number}")
    shutil.copytree(stopped if what == _VERBS[0] else undisturbed.workdir, workdir)
    done = _damage(workdir, rng)
    workdir.with_name("damage.txt").write_text("\n".join(done))
    if what == _VERBS[2]:
        return Result(what, _evaluate(runs, workdir, figures))
    problem, said = to_the_end(runs, workdir, undisturbed.outcome)
    return Result(what, problem or _too_long(said))


def _evaluate(runs: Runs, workdir: pathlib.Path, figures: Mapping[str, Any]) -> str:
    process = runs.verb("evaluate", [f"--workdir={workdir}"], workdir.with_name("evaluate.log"))
    code, said = process.end(), process.said()
    if code not in (0, USER_ERROR) or "Traceback" in said:
        return f"evaluate ended with {code}: {last_line(said)}"
    if code == 0 and _figures(workdir) != figures and "is damaged" not in said:
        return "evaluate gave other figures and said nothing"
    return _too_long(said)


def _too_long(said: str) -> str:
    lines = [line for line in said.splitlines() if "is damaged" in line]
    return f"{len(lines)} lines about the damage" if len(lines) > 1 else ""


def _figures(workdir: pathlib.Path) -> dict[str, Any]:
    return json.loads((workdir / "evaluation_test.json").read_text())


def _damage(workdir: pathlib.Path, rng: np.random.Generator) -> list[str]:
    newest = max((workdir / "checkpoints").iterdir(), key=lambda path: int(path.name))
    files = sorted(path for path in newest.rglob("*") if path.is_file())
    chosen = rng.choice(len(files), int(rng.integers(1, _MAX_FILES + 1)), replace=False)
    return [f"{_damage_file(files[index], rng)} {files[index].relative_to(newest)}" for index in chosen]


def _damage_file(path: pathlib.Path, rng: np.random.Generator) -> str:
    how, content = str(rng.choice(_DAMAGES)), bytearray(path.read_bytes())
    if how == "removed":
        path.unlink()
    elif how == "flipped" and content:
        for place in rng.integers(len(content), size=int(rng.integers(1, 17))):
            content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
    else:
        path.write_bytes(content[: int(rng.integers(len(content) + 1)) if how == "cut" else 0])
    return how
