"""Hands the runs of a sweep to submitit: processes of this machine, so many at a time, or a job array of Slurm."""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lim_jax.errors import UserError, one_line
from lim_jax.runtime import whole_files
from sweeps import records
from sweeps.job import SCRIPTS, TrainingJob
from sweeps.records import Run, Sweep

_SECONDS_BETWEEN_LOOKS = 0.5
_NO_LIMIT_MINUTES = 60 * 24 * 365
_TIMES_PUT_BACK = 1000
_GPUS = "CUDA_VISIBLE_DEVICES"
_SIGNAL_SECONDS = 120  # before its time is up a run is asked to save


class Resources(NamedTuple):
    """What runs get.

    Attributes:
      jobs: at most so many at a time.
      gpus: of each run; on this machine the first runs get the first GPUs.
      cpus: of each run; Slurm only.
      minutes: until a job is put back into the queue, and goes on later; Slurm only.
      slurm: other options of `sbatch`, by name without dashes.
    """

    jobs: int
    gpus: int
    cpus: int
    minutes: int
    slurm: Mapping[str, str]


def to_do(sweep: Sweep, retry: bool) -> list[Run]:
    """Returns the runs that nobody has done, does or has failed at; with `retry` also those that failed.

    Raises:
      UserError: one begins with a network that is not finished, and that the sweep does not train.
    """
    wanted = (records.WAITING, records.FAILED) if retry else (records.WAITING,)
    runs = [run for name, run in sweep.runs.items() if records.state(sweep.root, name).kind in wanted]
    for run in runs:
        start = records.start_of(run)
        if start not in sweep.runs and not is_ready(sweep, run):
            raise UserError(f"run {run.name} begins with {sweep.root / start}, which is not finished: make that first")
    return runs


def is_ready(sweep: Sweep, run: Run) -> bool:
    """Returns whether what a run begins with is finished."""
    start = records.start_of(run)
    return not start or records.is_made(sweep.root, start)


def on_this_machine(sweep: Sweep, runs: Sequence[Run], resources: Resources, show: Callable[[], object]) -> None:
    """Trains runs in processes of this machine, `resources.jobs` at a time; returns when all have ended.

    A run that begins with another one waits for it, and is left where that fails.

    Args:
      sweep: that they belong to.
      runs: to train.
      resources: what they get.
      show: called again and again meanwhile.

    Raises:
      UserError: there are not as many GPUs.
    """
    waiting = list(runs)
    gpus = [visible_gpus(resources.gpus, place) for place in range(min(resources.jobs, len(runs)))]
    active: dict[int, tuple[Run, Any]] = {}  # by place
    with _importable(), _stopped_with_us(sweep.root, active):
        while True:
            for place in range(len(gpus)):
                if place not in active and (run := next((run for run in waiting if is_ready(sweep, run)), None)):
                    waiting.remove(run)
                    active[place] = (run, _started(sweep, run, gpus[place]))
            if not active:
                return
            for place, (run, job) in list(active.items()):
                if job.done():
                    _note_lost(sweep.root, run, job)
                    del active[place]
            show()
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def to_slurm(sweep: Sweep, runs: Sequence[Run], resources: Resources) -> list[str]:
    """Submits runs as one job array; returns the ids of the jobs.

    Without those that are in the queue already, and those that begin with a run that is not done.

    Raises:
      UserError: Slurm is not there, or refuses.
    """
    if missing := [program for program in ("sbatch", "squeue", "srun") if not shutil.which(program)]:
        raise UserError(f"there is no {missing[0]} here: --cluster=slurm is for a machine that submits to Slurm")
    known = queued(sweep)
    new = [run for run in runs if run.name not in known and is_ready(sweep, run)]
    if not new:
        return []
    executor = _executor(sweep.root, "slurm", slurm_max_num_timeout=_TIMES_PUT_BACK)
    executor.update_parameters(
        name="sweep",
        timeout_min=resources.minutes,
        cpus_per_task=resources.cpus,
        slurm_array_parallelism=resources.jobs,
        slurm_signal_delay_s=_SIGNAL_SECONDS,
        slurm_additional_parameters=dict(resources.slurm),
        **({"gpus_per_node": resources.gpus} if resources.gpus else {}),
    )
    import submitit

    try:
        with _importable(), executor.batch():
            jobs = [executor.submit(_job(sweep, run)) for run in new]
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        raise UserError(f"Slurm refuses: {one_line(error)}") from error
    for run, job in zip(new, jobs, strict=True):
        whole_files.write_text(_id_path(sweep.root, run.name), job.job_id)
    return [job.job_id for job in jobs]


def queued(sweep: Sweep) -> set[str]:
    """Returns the names of the runs whose jobs Slurm has waiting or running."""
    ids = {name: _id(sweep.root, name) for name in sweep.runs}
    wanted = ",".join(filter(None, ids.values()))
    if not wanted:
        return set()
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={wanted}"]
    found = subprocess.run(command, capture_output=True, text=True)  # fails where it knows none of them any more
    return {name for name, job in ids.items() if job and job in found.stdout.split()}


def _id(root: pathlib.Path, name: str) -> str:
    try:
        return _id_path(root, name).read_text()
    except OSError:
        return ""


def _id_path(root: pathlib.Path, name: str) -> pathlib.Path:
    """Returns the file with the id of a run's job; its record is written by the job, which may begin before."""
    return records.record_path(root, name).with_suffix(".id")


def _started(sweep: Sweep, run: Run, gpus: str | None) -> Any:
    """Starts the job of a run, to which CUDA shows `gpus`."""
    records.stop_path(sweep.root, run.name).unlink(missing_ok=True)
    executor = _executor(sweep.root, "local")
    executor.update_parameters(timeout_min=_NO_LIMIT_MINUTES)
    job = _job(sweep, run, {_GPUS: gpus})
    # Submitit's processes inherit that Ctrl-C is blocked, and wait until the run has saved. One that comes meanwhile is
    # ours afterwards; if it were ignored, it would be lost.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return executor.submit(job)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def visible_gpus(gpus: int, place: int) -> str | None:
    """Returns what CUDA shall show to the run at a place, `gpus` of those that it shows to us; None: unset.

    Raises:
      UserError: there are not as many.
    """
    ours = os.environ.get(_GPUS)
    if not gpus:
        return ours
    wanted = range(place * gpus, (place + 1) * gpus)
    numbers = list(map(str, range(wanted.stop))) if ours is None else list(filter(None, ours.split(",")))
    if len(numbers) < wanted.stop:
        raise UserError(f"{_GPUS} has {len(numbers)} GPUs, too few for --gpus={gpus} and so many --jobs")
    return ",".join(numbers[index] for index in wanted)


def _executor(root: pathlib.Path, cluster: str, **arguments: Any) -> Any:
    try:
        import submitit
    except ImportError as error:
        raise UserError("runs are jobs of submitit: pip install -e '.[sweep]'") from error
    return submitit.AutoExecutor(folder=root / "jobs" / "submitit", cluster=cluster, **arguments)


def _job(sweep: Sweep, run: Run, environment: Mapping[str, str | None] | None = None) -> TrainingJob:
    return TrainingJob(sweep.root.absolute(), run.name, run.command, pathlib.Path(sweep.cwd), environment)


def _note_lost(root: pathlib.Path, run: Run, job: Any) -> None:
    """Records that a job has ended without saying how; not where its run is done, or others train it."""
    if job.exception() is None or records.state(root, run.name).kind in (records.DONE, records.RUNNING):
        return
    line = records.last_line(job.paths.stderr) or "its process has vanished"
    path = records.record_path(root, run.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole_files.write_json(path, {**records.record(root, run.name), "exit_code": 1, "last_line": line})


@contextlib.contextmanager
def _stopped_with_us(root: pathlib.Path, active: Mapping[int, tuple[Run, Any]]) -> Iterator[None]:
    """On Ctrl-C keeps the jobs that are only about to begin from starting their runs."""
    try:
        yield
    except KeyboardInterrupt:
        for run, _ in active.values():
            records.stop_path(root, run.name).touch()
        raise


@contextlib.contextmanager
def _importable() -> Iterator[None]:
    """Lets the processes that submitit starts import what is pickled for them."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [SCRIPTS, before]))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
