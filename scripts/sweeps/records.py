"""The files of a root: the plan as it is carried out, and what became of each run.

The state of a run is read from its files alone, so that it can be seen from anywhere, also while others train.
"""

import csv
import dataclasses
import json
import os
import pathlib
import socket
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from lim_jax.errors import UserError, one_line
from lim_jax.runtime import whole_files

FILE = "sweep.json"
RESULTS = "results.json"
START = "start.json"  # of a network that `starts.py` makes; written last
INTERRUPTED = (130, 138, 143, -2, -10, -15)  # exit codes after SIGINT, SIGUSR1, SIGTERM: saved, or nothing to save
DONE, RUNNING, FAILED, WAITING = "done", "running", "failed", "waiting"
TOUCH_SECONDS = 5.0
_FRESH_SECONDS = 30.0  # what a process of another host has not touched for longer is left from one that is gone


@dataclasses.dataclass(frozen=True)
class Run:
    """A run of a sweep.

    Attributes:
      name: of its folder.
      tasks: that it trains.
      seed: of it.
      num_epochs: at most.
      penalty: as in the configuration.
      strength: λ; 0 also where there is a target of either kind.
      target: share of groups that shall be zero; 0: none.
      target_macs: share of the backbone's MACs that shall be left; 0: none.
      overrides: of the configuration, as JSON has them; as in the plan, with `{root}` and `{seed}`.
      command: the arguments of Python that train it.
      label: what its row of the tables is called, if the plan says so.
    """

    name: str
    tasks: tuple[str, ...]
    seed: int
    num_epochs: int
    penalty: str
    strength: float
    target: float
    overrides: Mapping[str, Any]
    command: tuple[str, ...]
    label: str = ""
    target_macs: float = 0.0

    @property
    def is_dense(self) -> bool:
        """Whether nothing drives groups to zero."""
        return self.penalty == "none" or not (self.strength or self.target or self.target_macs)


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep.

    Attributes:
      root: its folder.
      plan, config: as they were given.
      cwd: the folder that paths in the commands start from.
      paper: the table of the paper that it repeats; empty: none.
      metrics: `{task: {metric: {"label", "unit", "higher_is_better"}}}`, the published metric first.
      runs: by name.
    """

    root: pathlib.Path
    plan: str
    config: str
    cwd: str
    paper: str
    metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]
    runs: Mapping[str, Run]


class State(NamedTuple):
    """What became of a run so far.

    Attributes:
      kind: DONE, RUNNING, FAILED or WAITING.
      epoch: the last one that is finished; 0: none.
      seconds: that its processes took, as far as they are known.
      last_line: of a failed run.
    """

    kind: str
    epoch: int = 0
    seconds: float = 0.0
    last_line: str = ""


def save(sweep: Sweep) -> None:
    """Writes `sweep.json`."""
    sweep.root.mkdir(parents=True, exist_ok=True)
    content = {
        **{key: getattr(sweep, key) for key in ("plan", "config", "cwd", "paper", "metrics")},
        "runs": {name: dataclasses.asdict(run) for name, run in sweep.runs.items()},
    }
    whole_files.write_json(sweep.root / FILE, content)


def load(root: pathlib.Path) -> Sweep:
    """Returns the sweep in a root; raises `UserError` where there is none, or its file is damaged."""
    try:
        content = json.loads((root / FILE).read_text())
        runs = {
            name: Run(**{**fields, "tasks": tuple(fields["tasks"]), "command": tuple(fields["command"])})
            for name, fields in content.pop("runs").items()
        }
        return Sweep(root=root, runs=runs, **content)
    except FileNotFoundError as error:
        raise UserError(f"{root} holds no sweep ({FILE} is missing): begin one with scripts/sweep.py") from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        why = f"{root / FILE} is damaged ({one_line(error)})"
        raise UserError(f"{why}: remove it, and give --plan and --config again") from error


def record_path(root: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the file that says what became of a run's process; what it wrote is beside it, with the ending .log."""
    return root / "jobs" / f"{name}.json"


def stop_path(root: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the file that keeps a job from starting its run: Ctrl-C came before it could hear that itself."""
    return root / "jobs" / f"{name}.stop"


def record(root: pathlib.Path, name: str) -> dict[str, Any]:
    """Returns what is recorded of a run's process; empty if nothing is, or it cannot be read."""
    try:
        return json.loads(record_path(root, name).read_text())
    except (OSError, ValueError):
        return {}


def begun(root: pathlib.Path, name: str) -> bool:
    """Returns whether a run's workdir has a run."""
    return (root / name / "config.json").is_file()


def state(root: pathlib.Path, name: str) -> State:
    """Returns what became of a run so far."""
    known = record(root, name)
    epoch, seconds = _epoch(root / name), float(known.get("seconds", 0))
    code = known.get("exit_code")
    if (root / name / RESULTS).is_file():
        return State(DONE, epoch, seconds)
    if (code is None and _is_alive(record_path(root, name))) or _is_alive(root / name / "lock"):
        return State(RUNNING, epoch, seconds)
    if code is not None and code not in INTERRUPTED:
        return State(FAILED, epoch, seconds, known.get("last_line", ""))
    return State(WAITING, epoch, seconds)


def start_of(run: Run) -> str:
    """Returns the name of the run of the root that a run begins with, "starts/NAME" for one that `starts.py` makes.

    Empty: it begins with none, or with one from elsewhere.
    """
    start = str(run.overrides.get("init_from", ""))
    folder = "{root}/"
    return start.removeprefix(folder).replace("{seed}", str(run.seed)) if start.startswith(folder) else ""


def is_made(root: pathlib.Path, name: str) -> bool:
    """Returns whether a network that a run may begin with is finished: a run, or what `starts.py` makes."""
    return any((root / name / file).is_file() for file in (RESULTS, START))


def states(sweep: Sweep) -> dict[str, State]:
    """Returns the state of every run."""
    return {name: state(sweep.root, name) for name in sweep.runs}


def last_line(path: pathlib.Path) -> str:
    """Returns the last line of a file that is not empty; "" if there is none."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "")


def _is_alive(path: pathlib.Path) -> bool:
    """Returns whether the process that a record or a lock names, and that touches the file, is there.

    A process of this host is looked for; one that began after the last touch only has the same number. The file is
    empty when nobody holds the lock.
    """
    try:
        content, touched = json.loads(path.read_text()), path.stat().st_mtime
        if content["host"] != socket.gethostname():
            return time.time() - touched < _FRESH_SECONDS
        process = int(content["process"])
        os.kill(process, 0)
    except PermissionError:
        pass
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return _began(process) < touched + TOUCH_SECONDS


def _began(process: int) -> float:
    """Returns when a process of this host began, as a file's time; long ago where the system does not say."""
    try:
        fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        uptime = float(pathlib.Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    return time.time() - uptime + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _epoch(workdir: pathlib.Path) -> int:
    try:
        with (workdir / "history.csv").open() as file:
            return max((int(row["epoch"]) for row in csv.DictReader(file)), default=0)
    except (OSError, ValueError, KeyError, TypeError):
        return 0
