"""What happens before and after the steps of an epoch: decisions are applied; the epoch is recorded, the run saved."""

import dataclasses
import logging
import time

import jax
import numpy as np

from lim_jax.runtime import devices, memory
from lim_jax.training import events, group_watch, messages, record, results, shrinking
from lim_jax.training import history as history_lib
from lim_jax.training.resuming import save
from lim_jax.training.run import Run, Standing, make_programs
from lim_jax.training.state import method_of

logger = logging.getLogger(__name__)


def begin(run: Run, standing: Standing) -> None:
    """Applies what the history decides; a resumed epoch has it applied once more, to the same effect."""
    config, state = run.config, standing.state
    is_resumed = standing.epoch_sums is not None
    opt_state = state.opt_state
    if config.published.reset_optimizer_every_epoch and not is_resumed:
        opt_state = jax.jit(standing.programs.optimizer.init)(state.learned)
    balancing = state.balancing
    if balancing and not is_resumed:
        balancing = method_of(config).begin_epoch(jax.device_get(balancing))
    rate = history_lib.learning_rate(standing.history, config)
    hyperparams = dict(opt_state.hyperparams, learning_rate=np.float32(rate))
    frozen = history_lib.frozen_tasks(standing.history, config.tasks, config.early_stopping_patience)
    state = dataclasses.replace(
        state,
        opt_state=opt_state._replace(hyperparams=hyperparams),
        balancing=balancing,
        active={task: np.bool_(task not in frozen) for task in config.tasks},
    )
    standing.state = devices.replicate(state, run.local_devices)
    if not is_resumed:
        standing.zero_groups = group_watch.pattern(group_watch.zeros(standing.state.params, run.groups))


def end(run: Run, standing: Standing, seconds: float, compile_seconds: float) -> None:
    """Records the epoch, lets the network shrink and evaluates it where it is time to, and saves it."""
    config, epoch, started = run.config, standing.epoch, time.monotonic()
    new = record.of_training(run, standing, seconds, compile_seconds)
    if config.log_gradient_cosines:
        new["gradient_cosines"] = record.gradient_cosines(run, standing)
    zeros = group_watch.zeros(standing.state.params, run.groups)
    _shrink(run, standing, zeros)
    measure = standing.programs.removed_macs
    shares = group_watch.shares(standing.state.params, run.groups, config, standing.shrinking.original, measure)
    new["sparsity"] = shares | group_watch.changes(standing.zero_groups, group_watch.pattern(zeros))
    if history_lib.is_evaluated(epoch, config):
        new = record.with_evaluation(new, run, standing)
    standing.history.append(record.with_seconds_after_steps(new, started))
    standing.epoch_sums = None
    if history_lib.is_saved(standing.history, config):
        save(run, standing, history_lib.eligible_losses(new, config.tasks))
        memory.return_freed_memory()  # what the save before has freed is in pieces, among the arrays of steps


def write_events(run: Run, standing: Standing, writer: events.EventWriter) -> None:
    """Writes the last epoch's record and the norms of the groups for TensorBoard, all records as a table, and the
    figures where they are due.
    """
    last = standing.history[-1]
    writer.write_record(last)
    events.write_table(run.workdir, standing.history)
    writer.write_histograms(last["step"], group_watch.norms(standing.state.params, run.groups))
    writer.write_pictures(last["step"], results.redraw(run, standing))


def _shrink(run: Run, standing: Standing, zeros: group_watch.Zeros) -> None:
    """Goes on with a smaller network, if it is time to and groups stayed zero for long enough."""
    patience = run.config.sparsity.patience_epochs
    standing.shrinking = shrinking.counted(standing.shrinking, zeros, patience)
    if not shrinking.is_due(standing.epoch, run.config):
        return
    smaller = shrinking.shrink(standing.shrinking, standing.network, standing.state, run.groups, patience)
    if smaller is None:
        return
    before = messages.size(standing)
    standing.shrinking, standing.network, standing.state = smaller
    jax.clear_caches()  # JAX would keep what was compiled for the larger network
    trains = standing.epoch < run.config.num_epochs
    standing.programs = make_programs(run, standing.network, standing.state, standing.shrinking, trains=trains)
    logger.info("%s", messages.shrunk(before, messages.size(standing)))
