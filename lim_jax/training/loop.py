"""Trains a network to the end of its run, and reports: what `python -m lim_jax.main` does.

A run is a series of epochs: `epochs.begin` applies what was decided from the past, `run_steps` goes through the
training split once, `epochs.end` records, evaluates and saves, and lets the network shrink. All decisions are functions
of the history (`lim_jax.training.history`), which is part of every checkpoint together with the state and the position
of the input; so a run that was interrupted anywhere ends with the same bits as one that was not.
"""

import logging
import pathlib
import sys
import time
from typing import Any, NoReturn

import jax

from lim_jax import config as config_lib
from lim_jax import data
from lim_jax.config import Config
from lim_jax.runtime import compilation, compile_time, devices, memory, platforms, startup
from lim_jax.runtime.progress import Progress
from lim_jax.training import checkpoints, epochs, events, messages, record, results, trackers
from lim_jax.training import history as history_lib
from lim_jax.training import workdir as workdir_lib
from lim_jax.training.interruption import Interruption
from lim_jax.training.profiling import Profile
from lim_jax.training.resuming import save, start_or_resume
from lim_jax.training.run import Run, Standing, make_run

logger = logging.getLogger(__name__)


def train_and_evaluate(config: Config, workdir: pathlib.Path, profile_steps: int = 0) -> dict[str, Any]:
    """Trains, evaluates the best checkpoint and writes the report; resumes what `workdir` already holds.

    Args:
      config: see `configs/common.py`.
      workdir: made if needed; afterwards holds `config.json`, TensorBoard events, `checkpoints/`,
        `results.json` and `report/`.
      profile_steps: how many steps are recorded (`lim_jax.training.profiling`).

    Returns:
      The content of `results.json`.

    Raises:
      UserError: the user can fix it: a bad value, missing data, a workdir of another run.
    """
    config = config_lib.checked(config)
    config_lib.refuse_changes(config, workdir)
    trackers.require(config.trackers)
    startup.prepare(config.compilation_cache_dir, config.matmul_precision)
    local_devices = devices.chosen(config.num_devices, config.batch_size)
    config_lib.check_resources(config, local_devices)
    dataset = data.load(config.dataset, config.tasks)
    config_lib.check_start(config, dataset, workdir)
    in_background = platforms.of(local_devices).saves_in_background
    with (
        compilation.released_afterwards(),
        workdir_lib.held(workdir, config),  # last: a mistake leaves no trace
        checkpoints.Checkpoints(workdir, tuple(config.tasks), in_background=in_background) as checkpointer,
    ):
        run = make_run(config, workdir, dataset, local_devices, checkpointer)
        standing = start_or_resume(run)
        workdir_lib.keep_config(workdir, config)
        messages.describe(run, standing)
        train(run, standing, profile_steps)
        return results.finish(run, standing)


def train(run: Run, standing: Standing, profile_steps: int = 0) -> None:
    """Runs epochs until the last one or until nothing improves."""
    config = run.config
    progress = Progress(config.num_epochs, run.steps_per_epoch, config.batch_size)
    with (
        Interruption() as interruption,
        events.EventWriter(run.workdir, config_lib.flat(config), config.trackers) as writer,
        Profile(run.workdir, profile_steps) as profile,
    ):
        while standing.epoch <= config.num_epochs:
            if history_lib.should_stop(standing.history, config.tasks, config.early_stopping_patience):
                logger.info("no progress for %d epochs: training ends early", config.early_stopping_patience)
                break
            network = standing.network
            results.remove_outdated(run)
            epochs.begin(run, standing)
            started = time.monotonic()
            run_steps(run, standing, progress, interruption, profile)
            paused = progress.begin_break()
            epochs.end(run, standing, time.monotonic() - started, compile_time.since(started))
            epochs.write_events(run, standing, writer)
            progress.end_break(compile_time.since(paused))
            line = messages.epoch_line(standing.history[-1], standing.network, config)
            logger.info("%s, %s", line, progress.line())
            for sentence in messages.epoch_warnings(standing.history, config):
                logger.warning("warning: %s", sentence)
            if standing.network is not network:
                progress.restart()  # its steps are compiled anew, and take another time
            interruption.agree_now()
            if interruption.agreed:
                leave(run, standing, interruption)
    run.checkpointer.wait()


def run_steps(run: Run, standing: Standing, progress: Progress, interruption: Interruption, profile: Profile) -> None:
    """Runs the steps that the epoch still lacks, adding up their losses one step behind the device.

    Between two of them it saves where that is due by the clock.
    """
    step, last = int(standing.state.step), standing.epoch * run.steps_per_epoch
    minutes = run.config.checkpoint_every_minutes
    pending, interruption.saves = None, False
    while step < last and not interruption.agreed:
        profile.before(step + 1)
        batch = interruption.attached(next(run.iterator), run.checkpointer.is_due(minutes))
        standing.state, sums = standing.programs.train_step(standing.state, batch)
        profile.after(step + 1, sums)
        if pending is not None:
            step_done(run, standing, step, pending, progress, interruption)
        step, pending = step + 1, sums
        if interruption.saves and step < last:
            step_done(run, standing, step, pending, progress, interruption)
            if not standing.bad_in_a_row:
                save(run, standing, {})
                memory.return_freed_memory()
            pending, interruption.saves = None, False
    if pending is not None:
        step_done(run, standing, step, pending, progress, interruption)
    if step < last:
        leave(run, standing, interruption)


def step_done(
    run: Run, standing: Standing, step: int, sums: Any, progress: Progress, interruption: Interruption
) -> None:
    """Waits for the sums of the step that made it `step` steps, adds them up, and reports now and then."""
    host = jax.device_get(sums)
    interruption.has_work = True
    record.note_step(run, standing, step, host)
    if progress.step_done(step):
        events.import_writers_meanwhile()  # not before the first step, which would be later for it
        logger.info("epoch %d, step %d: %s", standing.epoch, step, progress.line())
    interruption.agree(host)


def leave(run: Run, standing: Standing, interruption: Interruption) -> NoReturn:
    """Ends the process, with everything saved, because a signal has asked for it."""
    step = int(standing.state.step)
    if run.checkpointer.step(checkpoints.LATEST) != step:
        save(run, standing, {})
    run.checkpointer.wait()
    logger.info("interrupted: step %d is saved, the same command goes on from there", step)
    sys.exit(interruption.exit_code)
