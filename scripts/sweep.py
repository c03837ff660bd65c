#!/usr/bin/env python3
"""Trains all runs of a plan: `python scripts/sweep.py --plan=table1 --config=configs/nyu.py --root=DIR`.

    python scripts/sweep.py --plan=rooms --config=configs/rooms.py --root=runs/rooms_sweep
    python scripts/sweep.py --root=runs/rooms_sweep                     goes on with what is not done
    python scripts/sweep.py --root=runs/rooms_sweep --status            only looks
    python scripts/sweep.py --plan=table1 --config=nyu --root=DIR --cluster=slurm --gpus=1 --minutes=240 \\
        --slurm=partition=gpu,account=NAME -- --config.dataset.source_dir=NYU

What follows -- is changed in every run. Plans are in scripts/plans; --plan also takes the path of your own. A run is
never trained twice: one that is done, or that some process trains, is left alone; one that was interrupted goes on; one
that failed is listed with its last line, and starts again with --retry. Ctrl-C lets the runs of this machine save and
end. Jobs of Slurm save before their time is up or when they are preempted, and are put back into the queue.

The exit code is 1 if a run has failed.
"""

import argparse
import pathlib
import shlex
import time
from collections.abc import Mapping, Sequence

from sweeps import command, planning, records, submission
from sweeps.records import FAILED, RUNNING, State, Sweep
from sweeps.status import Live

from lim_jax.errors import UserError

_SECONDS_BETWEEN_LOOKS = 5.0


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line, and does what it says; returns the exit code."""
    arguments = _parser().parse_args(argv)
    if arguments.status:
        return _exit_code(Live(records.load(arguments.root), arguments.jobs)(now=True))
    sweep = _planned(arguments)
    runs = submission.to_do(sweep, arguments.retry)
    if arguments.dry_run:
        for run in runs:
            print(shlex.join(["python", *run.command]))
        return 0
    records.save(sweep)
    resources = submission.Resources(
        arguments.jobs,
        arguments.gpus,
        arguments.cpus,
        arguments.minutes,
        dict(_pair(text) for text in filter(None, arguments.slurm.split(","))),
    )
    live = Live(sweep, arguments.jobs)
    if arguments.cluster == "local":
        submission.on_this_machine(sweep, runs, resources, live)
        return _exit_code(live(now=True))
    jobs = submission.to_slurm(sweep, runs, resources)
    print(f"{len(jobs)} jobs submitted" + (f": {jobs[0]} to {jobs[-1]}" if jobs else "") + "; Ctrl-C only ends looking")
    return _exit_code(_watched(sweep, live))


def _planned(arguments: argparse.Namespace) -> Sweep:
    """Returns the sweep of `--plan` and `--config`, or the one that is in the root."""
    if not arguments.plan and not arguments.config and not arguments.extra:
        sweep = records.load(arguments.root)
        planning.refuse_moved(sweep)
    elif not arguments.plan or not arguments.config:
        raise UserError("give --plan and --config to begin a sweep, or --root alone to go on with one")
    else:
        sweep = planning.made(arguments.plan, arguments.config, arguments.root, arguments.extra)
        if (arguments.root / records.FILE).is_file():
            planning.refuse_changes(sweep, records.load(arguments.root))
    planning.refuse_others(sweep)
    return sweep


def _watched(sweep: Sweep, live: Live) -> Mapping[str, State]:
    """Shows the status until no run is running or in Slurm's queue."""
    while True:
        queued = submission.queued(sweep)
        states = live(now=True)
        if not queued and not any(state.kind == RUNNING for state in states.values()):
            break
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    if waiting := sum(state.kind == records.WAITING for state in states.values()):
        print(f"{waiting} runs wait and are in no queue: the same command submits those that can begin")
    return states


def _exit_code(states: Mapping[str, State]) -> int:
    return int(any(state.kind == FAILED for state in states.values()))


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"--slurm has {text!r}: write --slurm=partition=gpu,account=NAME")
    return key, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, required=True, help="the folder of the sweep")
    parser.add_argument("--plan", default="", help="the name of a plan in scripts/plans, or the path of a file")
    parser.add_argument(
        "--config", default="", help="the configuration that runs begin with, as lim-jax train takes it"
    )
    parser.add_argument("--cluster", choices=("local", "slurm"), default="local", help="where runs are trained")
    parser.add_argument("--jobs", type=_positive, default=1, help="runs at a time (default: 1)")
    parser.add_argument(
        "--gpus", type=_not_negative, default=0, help="GPUs for each run (default: all of this machine, none of Slurm)"
    )
    parser.add_argument("--cpus", type=_positive, default=4, help="slurm: CPUs for each run (default: 4)")
    parser.add_argument("--minutes", type=_positive, default=240, help="slurm: the time limit of a job (default: 240)")
    parser.add_argument("--slurm", default="", help="slurm: other options of sbatch, partition=gpu,account=NAME")
    parser.add_argument("--retry", action="store_true", help="start runs again that have failed")
    parser.add_argument("--status", action="store_true", help="only show what is done, running, failed and waiting")
    parser.add_argument("--dry_run", action="store_true", help="only print the commands of what would be trained")
    parser.add_argument("extra", nargs="*", metavar="-- --config.key=value", help="changed in every run")
    return parser


def _positive(text: str) -> int:
    return _at_least(1, text)


def _not_negative(text: str) -> int:
    return _at_least(0, text)


def _at_least(least: int, text: str) -> int:
    number = int(text)
    if number < least:
        raise ValueError
    return number


if __name__ == "__main__":
    command.run(main)
