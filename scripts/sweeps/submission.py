"""Hands the runs of a sweep to submitit: processes of this machine, so many at a time, or a job array of Slurm."""

import contextlib
import os
import pathlib
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from lim_jax.errors import UserError
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
    """Returns the runs that nobody has done, does or has failed at; with `retry` also those that failed."""
    wanted = (records.WAITING, records.FAILED) if retry else (records.WAITING,)
    return [run for name, run in sweep.runs.items() if records.state(sweep.root, name).kind in wanted]


def on_this_machine(sweep: Sweep, runs: Sequence[Run], resources: Resources, show: Callable[[], object]) -> None:
    """Trains runs in processes of this machine, `resources.jobs` at a time; returns when all have ended.

    Args:
      sweep: that they belong to.
      runs: to train.
      resources: what they get.
      show: called again and again meanwhile.
    """
    waiting = list(runs)
    active: dict[int, tuple[Run, Any]] = {}  # by place
    with _importable():
        while waiting or active:
            for place in range(resources.jobs):
                if waiting and place not in active:
                    run = waiting.pop(0)
                    active[place] = (run, _started(sweep, run, resources.gpus, place))
            for place, (run, job) in list(active.items()):
                if job.done():
                    _note_lost(sweep.root, run, job.paths.stderr)
                    del active[place]
            show()
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def to_slurm(sweep: Sweep, runs: Sequence[Run], resources: Resources) -> list[str]:
    """Submits runs as one job array, without those that are in the queue already; returns the ids of the jobs."""
    new = [run for run in runs if not _is_queued(records.record(sweep.root, run.name).get("job", ""))]
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
    with _importable(), executor.batch():
        jobs = [executor.submit(_job(sweep, run)) for run in new]
    for run, job in zip(new, jobs, strict=True):
        _write(sweep.root, run, {"job": job.job_id})
    return [job.job_id for job in jobs]


def _started(sweep: Sweep, run: Run, gpus: int, place: int) -> Any:
    executor = _executor(sweep.root, "local")
    executor.update_parameters(timeout_min=_NO_LIMIT_MINUTES)
    job = _job(sweep, run, {_GPUS: visible_gpus(gpus, place)})
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
    numbers = ours.split(",") if ours else list(map(str, range(wanted.stop)))
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


def _note_lost(root: pathlib.Path, run: Run, stderr: pathlib.Path) -> None:
    """Records that a job has ended without saying how."""
    known = records.record(root, run.name)
    if not (root / run.name / records.RESULTS).is_file() and known.get("exit_code") is None:
        line = records.last_line(stderr) or "its process has vanished"
        _write(root, run, {**known, "exit_code": 1, "last_line": line})


def _write(root: pathlib.Path, run: Run, content: Mapping[str, Any]) -> None:
    path = records.record_path(root, run.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole_files.write_json(path, content)


def _is_queued(job: str) -> bool:
    """Returns whether Slurm has a job waiting or running."""
    if not job:
        return False
    found = subprocess.run(["squeue", "--noheader", f"--jobs={job}"], capture_output=True, text=True)
    return found.returncode == 0 and bool(found.stdout.strip())


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
