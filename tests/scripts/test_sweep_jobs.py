"""The processes of a sweep, with commands that take no time: their records, their ends, and that none runs twice."""

import dataclasses
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import types

import pytest
import sweep as sweep_script
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
        (None, None, 0, RUNNING),
        (None, None, 1e6, WAITING),  # we began after that: another process that had our number
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


def test_when_a_process_began():
    before = time.time()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        began = records._began(process.pid)
        process.communicate(b"\n")
    assert began == pytest.approx(before, abs=1.0) or not pathlib.Path("/proc/uptime").exists()
    assert records._began(2**22 + 1) == 0.0


def test_ctrl_c_before_a_run_could_hear_it(tmp_path):
    """Submitit's processes have it blocked, and their run does not exist yet."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        signal.raise_signal(signal.SIGINT)
        code = TrainingJob(tmp_path, "one", run("one", DONE_AT_ONCE, tmp_path).command, tmp_path)()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert code == 130 and records.state(tmp_path, "one").kind == WAITING


def test_ctrl_c_before_the_process_of_a_job_exists(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    one = sweep(tmp_path, one=DONE_AT_ONCE)
    jobs = []

    def started(sweep, run, gpus):
        del gpus
        records.record_path(sweep.root, run.name).parent.mkdir(parents=True)
        jobs.append(submission._job(sweep, run))
        raise_later.append(KeyboardInterrupt)
        return Ended()

    raise_later = []

    def show():
        raise raise_later.pop()

    monkeypatch.setattr(submission, "_started", started)
    monkeypatch.setattr(Ended, "done", lambda _: False)
    with pytest.raises(KeyboardInterrupt):
        submission.on_this_machine(one, list(one.runs.values()), submission.Resources(1, 0, 1, 1, {}), show)
    assert jobs[0]() == 130 and records.state(tmp_path, "one").kind == WAITING


class Ended:
    """A job of submitit that has ended."""

    def __init__(self, error: Exception | None = None, stderr: pathlib.Path = pathlib.Path("nothing")):
        self._error = error
        self.paths = types.SimpleNamespace(stderr=stderr)

    def done(self) -> bool:
        return True

    def exception(self) -> Exception | None:
        return self._error


@pytest.mark.parametrize(
    ("error", "record", "others", "kind"),
    [
        (None, None, False, WAITING),  # somebody else was faster, and was interrupted
        (RuntimeError(), None, False, FAILED),
        (RuntimeError(), 130, False, FAILED),  # it died before it wrote a record of its own
        (RuntimeError(), None, True, RUNNING),
    ],
)
def test_a_job_that_ends_without_saying_how(error, record, others, kind, tmp_path):
    one = sweep(tmp_path, one="").runs["one"]
    path = records.record_path(tmp_path, "one")
    if record:
        path.parent.mkdir()
        path.write_text(json.dumps({"exit_code": record}))
    (tmp_path / "one").mkdir()
    if others:
        lock = {"host": socket.gethostname(), "process": os.getpid()}
        (tmp_path / "one" / "lock").write_text(json.dumps(lock))
    submission._note_lost(tmp_path, one, Ended(error))
    state = records.state(tmp_path, "one")
    assert state.kind == kind and state.last_line == ("its process has vanished" if kind == FAILED else "")
    assert path.exists() == (kind == FAILED)


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


def begins_with(start: str, name: str, code: str, root: pathlib.Path) -> Run:
    return dataclasses.replace(run(name, code, root), overrides={"init_from": start})


def test_what_a_run_begins_with_has_to_be_finished(tmp_path):
    one = sweep(tmp_path, first=DONE_AT_ONCE)
    starts = {"second": "{root}/first", "third": "{root}/starts/compact_seed{seed}", "fourth": "/elsewhere/run"}
    further = {name: begins_with(start, name, DONE_AT_ONCE, tmp_path) for name, start in starts.items()}
    one = dataclasses.replace(one, runs={**one.runs, **further})
    with pytest.raises(UserError, match=r"run third begins with .*starts/compact_seed0, which is not finished"):
        submission.to_do(one, retry=False)
    (tmp_path / "starts" / "compact_seed0").mkdir(parents=True)
    (tmp_path / "starts" / "compact_seed0" / "start.json").write_text("{}")
    runs = submission.to_do(one, retry=False)
    assert [each.name for each in runs if submission.is_ready(one, each)] == ["first", "third", "fourth"]
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "config.json").write_text("{}")
    assert not submission.is_ready(one, further["second"]), "it has begun, and is not done"
    (tmp_path / "first" / "results.json").write_text("{}")
    assert submission.is_ready(one, further["second"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "first", "second"), [(DONE_AT_ONCE, DONE, DONE), ("raise SystemExit('no')", FAILED, WAITING)]
)
def test_a_run_waits_for_the_one_that_it_begins_with(code, first, second, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    one = sweep(tmp_path, first=f"import time; time.sleep(1); {code}")
    needs = f"{DONE_AT_ONCE}; assert (p.parent / 'first/results.json').exists()"
    runs = {"second": begins_with("{root}/first", "second", needs, tmp_path), **one.runs}
    one = dataclasses.replace(one, runs=runs)
    submission.on_this_machine(one, list(runs.values()), submission.Resources(2, 0, 1, 1, {}), lambda: None)
    assert {name: state.kind for name, state in records.states(one).items()} == {"first": first, "second": second}


@pytest.mark.slow
def test_ctrl_c_lets_runs_save(tmp_path):
    pytest.importorskip("submitit")
    saves = """
        import signal, sys, time
        def save(*_):
            time.sleep(1.5)
            sys.exit("saved")
        signal.signal(signal.SIGINT, save)
        print("up", flush=True)
        time.sleep(60)
    """
    script = f"""
        import pathlib, sys
        sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "scripts")!r}]
        from sweeps import command, submission
        from tests.scripts import test_sweep_jobs as here
        one = here.sweep(pathlib.Path({str(tmp_path)!r}), one={textwrap.dedent(saves)!r})
        resources = submission.Resources(1, 0, 1, 1, {{}})
        command.run(lambda: submission.on_this_machine(one, list(one.runs.values()), resources, lambda: None))
    """
    group = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = records.record_path(tmp_path, "one").with_suffix(".log")
    while records.last_line(log) != "up" and group.poll() is None:
        time.sleep(0.05)
    os.killpg(group.pid, signal.SIGINT)
    assert group.communicate()[1] == "interrupted: the same command goes on\n" and group.returncode == 130
    while records.state(tmp_path, "one").kind == RUNNING:
        time.sleep(0.05)
    assert records.record(tmp_path, "one")["last_line"] == "saved", (
        "the run had its time, and its job has waited for it"
    )


def test_each_run_of_this_machine_has_gpus_of_its_own(monkeypatch, tmp_path):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [submission.visible_gpus(2, place) for place in (0, 1)] == ["0,1", "2,3"]
    assert submission.visible_gpus(0, 3) is None, "all that there are"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    assert [submission.visible_gpus(1, place) for place in (0, 1)] == ["4", "6"]
    with pytest.raises(UserError, match="has 2 GPUs"):
        submission.visible_gpus(1, 2)
    monkeypatch.setattr(submission, "_started", lambda *_: pytest.fail("a run was started"))
    three = sweep(tmp_path / "three", a="", b="", c="")
    with pytest.raises(UserError, match="has 2 GPUs"):
        submission.on_this_machine(three, list(three.runs.values()), submission.Resources(3, 1, 1, 1, {}), lambda: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UserError, match="has 0 GPUs"):
        submission.visible_gpus(1, 0)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    code = "import os; raise SystemExit(os.environ.get('CUDA_VISIBLE_DEVICES', 'all'))"
    for changes, line in (({}, "4,6"), ({"CUDA_VISIBLE_DEVICES": None}, "all"), ({"CUDA_VISIBLE_DEVICES": "6"}, "6")):
        TrainingJob(tmp_path, "one", run("one", code, tmp_path).command, tmp_path, changes)()
        assert records.state(tmp_path, "one").last_line == line


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Stand-ins for Slurm's programs; call it to change one."""
    pytest.importorskip("submitit")

    def stand_in(name, body):
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)

    stand_in("sbatch", f'cp "$1" {tmp_path}/script; echo Submitted batch job 7')
    stand_in("squeue", 'case "$*" in *7_0*) echo 7_0;; *) exit 1;; esac')
    for name in ("srun", "scontrol", "sacct"):
        stand_in(name, "")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return stand_in


def test_slurm_gets_one_array_and_no_job_twice(tmp_path, slurm):
    one = sweep(tmp_path / "root", first=DONE_AT_ONCE, second=DONE_AT_ONCE)
    resources = submission.Resources(2, 1, 4, 240, {"partition": "gpu"})
    assert submission.to_slurm(one, list(one.runs.values()), resources) == ["7_0", "7_1"]
    script = (tmp_path / "script").read_text()
    for line in ("--array=0-1%2", "--signal=USR2@120", "--time=240", "--gpus-per-node=1", "--partition=gpu"):
        assert f"#SBATCH {line}" in script
    assert records.state(one.root, "first").kind == WAITING
    job = records.record_path(one.root, "second")
    job.write_text(json.dumps({"exit_code": 0}))
    assert submission.to_slurm(one, list(one.runs.values()), resources) == ["7"], "the second one alone"
    assert json.loads(job.read_text()) == {"exit_code": 0}, "the record is the job's"


def test_slurm_is_watched_until_nothing_runs_or_is_queued(tmp_path, slurm, capsys, monkeypatch):
    monkeypatch.setattr(sweep_script, "_SECONDS_BETWEEN_LOOKS", 0.01)
    one = sweep(tmp_path / "root", first=DONE_AT_ONCE, second=DONE_AT_ONCE)
    submission.to_slurm(one, list(one.runs.values()), submission.Resources(2, 0, 1, 1, {}))
    assert submission.queued(one) == {"first"}
    looks = []

    def live(now):
        looks.append(now)
        if len(looks) == 3:
            slurm("squeue", "exit 1")  # it knows none of them any more
        return records.states(one)

    sweep_script._watched(one, live)
    assert len(looks) == 4 and "2 runs wait and are in no queue" in capsys.readouterr().out


def test_where_slurm_is_not_or_refuses(tmp_path, slurm, monkeypatch):
    one = sweep(tmp_path / "root", first=DONE_AT_ONCE)
    resources = submission.Resources(2, 0, 1, 1, {})
    slurm("sbatch", "echo 'sbatch: error: invalid partition specified: gpu' >&2; exit 1")
    with pytest.raises(UserError, match=r"Slurm refuses: .*invalid partition") as caught:
        submission.to_slurm(one, list(one.runs.values()), resources)
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("PATH", os.environ["PATH"].partition(":")[2])
    with pytest.raises(UserError, match="there is no sbatch here"):
        submission.to_slurm(one, list(one.runs.values()), resources)


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
