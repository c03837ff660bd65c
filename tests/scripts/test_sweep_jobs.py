"""The processes of a sweep, with commands that take no time: their records, their ends, and that none runs twice."""

import json
import os
import pathlib
import signal
import socket
import sys
import threading
import time

import pytest
from sweeps import records, status, submission
from sweeps.job import TrainingJob
from sweeps.records import DONE, FAILED, RUNNING, WAITING, Run, State, Sweep

from lim_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]
SAVES = "import signal, sys, time; signal.signal(signal.SIGUSR1, lambda *_: sys.exit(138)); print('up', flush=True)"
DONE_AT_ONCE = "import pathlib, sys; p = pathlib.Path(sys.argv[1]); p.mkdir(); (p / 'results.json').write_text('{}')"


def run(name: str, code: str, root: pathlib.Path) -> Run:
    """A run whose command is a line of Python, which gets the workdir."""
    return Run(name, ("depth",), 0, 4, "group_lasso", 0.0, 0.0, {}, ("-c", code, str(root / name)))


def sweep(root: pathlib.Path, **codes: str) -> Sweep:
    return Sweep(
        root, "plan", "config", str(ROOT), "", {}, {name: run(name, code, root) for name, code in codes.items()}
    )


@pytest.mark.parametrize(
    ("code", "kind", "line"),
    [
        (DONE_AT_ONCE, DONE, ""),
        ("import sys; sys.exit('error: no data')", FAILED, "error: no data"),
        ("pass", FAILED, ""),
        ("import sys; sys.exit(138)", WAITING, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", WAITING, ""),
        ("import os, signal; print('big', flush=True); os.kill(os.getpid(), signal.SIGKILL)", FAILED, "big"),
    ],
)
def test_how_a_run_ends(code, kind, line, tmp_path):
    one = run("one", code, tmp_path)
    TrainingJob(tmp_path, "one", one.command, tmp_path)()
    state = records.state(tmp_path, "one")
    assert (state.kind, state.last_line) == (kind, line) and state.seconds > 0
    assert records.record(tmp_path, "one")["command"] == [sys.executable, *one.command]


def test_a_run_that_is_done_or_trained_by_somebody_is_left_alone(tmp_path):
    fails = run("one", "raise SystemExit(1)", tmp_path)
    (tmp_path / "one").mkdir()
    lock = tmp_path / "one" / "lock"
    lock.write_text(json.dumps({"host": socket.gethostname(), "process": os.getpid()}))
    assert TrainingJob(tmp_path, "one", fails.command, tmp_path)() == 0
    assert records.state(tmp_path, "one").kind == RUNNING
    lock.write_text("")
    (tmp_path / "one" / records.RESULTS).write_text("{}")
    assert TrainingJob(tmp_path, "one", fails.command, tmp_path)() == 0
    assert not records.record(tmp_path, "one")


@pytest.mark.parametrize(
    ("host", "process", "seconds_ago", "kind"),
    [
        (None, None, 1000, RUNNING),
        (None, 2**22 + 1, 0, WAITING),  # larger than any process id
        ("elsewhere", 1, 0, RUNNING),
        ("elsewhere", 1, 60, WAITING),
    ],
)
def test_who_is_alive(host, process, seconds_ago, kind, tmp_path):
    path = records.record_path(tmp_path, "one")
    path.parent.mkdir()
    content = {"exit_code": None, "host": host or socket.gethostname(), "process": process or os.getpid()}
    path.write_text(json.dumps(content))
    os.utime(path, (time.time() - seconds_ago,) * 2)
    assert records.state(tmp_path, "one").kind == kind


def test_a_job_whose_time_is_up_saves_and_goes_on(tmp_path):
    """As submitit does it: in the handler of a signal, while the job waits for its run."""
    submitit = pytest.importorskip("submitit")
    job = TrainingJob(tmp_path, "one", run("one", f"{SAVES}\ntime.sleep(60)", tmp_path).command, tmp_path)
    log = records.record_path(tmp_path, "one").with_suffix(".log")
    again = []

    def time_is_up(*_):
        assert records.state(tmp_path, "one").kind == RUNNING
        again.append(job.checkpoint())
        raise SystemExit

    def send():
        while records.last_line(log) != "up":
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGUSR2)

    before = signal.signal(signal.SIGUSR2, time_is_up)
    try:
        threading.Thread(target=send).start()
        with pytest.raises(SystemExit):
            job()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert isinstance(again[0], submitit.helpers.DelayedSubmission)
    assert records.state(tmp_path, "one").kind == WAITING, "the same job may begin at once"


def test_the_signal_of_submitit_does_not_end_a_run(tmp_path):
    code = f"import os; os.kill(os.getpid(), {int(signal.SIGUSR2)})"
    assert TrainingJob(tmp_path, "one", run("one", code, tmp_path).command, tmp_path)() == 0


@pytest.mark.slow
def test_runs_of_this_machine(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    one = sweep(tmp_path, good=DONE_AT_ONCE, bad="import sys; sys.exit('error: no data')", later=DONE_AT_ONCE)
    resources = submission.Resources(2, 0, 1, 1, {})
    submission.on_this_machine(one, submission.to_do(one, retry=False), resources, lambda: None)
    kinds = {name: state.kind for name, state in records.states(one).items()}
    assert kinds == {"good": DONE, "bad": FAILED, "later": DONE}
    assert not submission.to_do(one, retry=False)
    assert [each.name for each in submission.to_do(one, retry=True)] == ["bad"]


def test_each_run_of_this_machine_has_gpus_of_its_own(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [submission.visible_gpus(2, place) for place in (0, 1)] == ["0,1", "2,3"]
    assert submission.visible_gpus(0, 3) is None, "all that there are"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [submission.visible_gpus(1, place) for place in (0, 1)] == ["4", "6"]
    with pytest.raises(UserError, match="has 2 GPUs"):
        submission.visible_gpus(1, 2)
    code = "import os; raise SystemExit(os.environ.get('CUDA_VISIBLE_DEVICES', 'all'))"
    for changes, line in (({}, "4,6"), ({"CUDA_VISIBLE_DEVICES": None}, "all"), ({"CUDA_VISIBLE_DEVICES": "6"}, "6")):
        TrainingJob(tmp_path, "one", run("one", code, tmp_path).command, tmp_path, changes)()
        assert records.state(tmp_path, "one").last_line == line


def test_slurm_gets_one_array_and_no_job_twice(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    stand_ins = {
        "sbatch": f'cp "$1" {tmp_path}/script; echo Submitted batch job 7',
        "squeue": '[ "$2" = "--jobs=7_0" ] && echo "7_0 PENDING"; exit 0',
        "srun": "",
        "scontrol": "",
        "sacct": "",
    }
    for name, body in stand_ins.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    one = sweep(tmp_path / "root", first=DONE_AT_ONCE, second=DONE_AT_ONCE)
    resources = submission.Resources(2, 1, 4, 240, {"partition": "gpu"})
    assert submission.to_slurm(one, list(one.runs.values()), resources) == ["7_0", "7_1"]
    script = (tmp_path / "script").read_text()
    for line in ("--array=0-1%2", "--signal=USR2@120", "--time=240", "--gpus-per-node=1", "--partition=gpu"):
        assert f"#SBATCH {line}" in script
    assert records.state(one.root, "first").kind == WAITING
    assert submission.to_slurm(one, list(one.runs.values()), resources) == ["7"], "the second one alone"


def test_the_status(tmp_path):
    one = sweep(tmp_path, a="", b="", c="", d="")
    states = {
        "a": State(DONE, 4, 100.0),
        "b": State(RUNNING, 3, 0.0),
        "c": State(FAILED, 1, 5.0, "error: x"),
        "d": State(WAITING),
    }
    text = status.table(one, states, 1)
    assert text.startswith("4 runs: 1 done, 1 running, 1 failed, 1 waiting; about 2 min left")
    assert "b  epoch 3/4" in text and "failed: c: error: x" in text
    assert status.seconds_left(one, states, 1) == pytest.approx(125)
    assert status.seconds_left(one, states, 8) == pytest.approx(100), "no run is faster than one run"
    assert status.seconds_left(one, {"b": State(RUNNING)}, 1) is None
    assert [status.duration(s) for s in (40, 600, 11100, 190000)] == ["40 s", "10 min", "3 h 05 min", "2 d 4 h"]
