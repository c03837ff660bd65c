"""The record of an epoch, from the sums of its steps and the evaluation at its end; `history` says what it holds."""

import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from lim_jax import balancing
from lim_jax import network as network_lib
from lim_jax.data import pipeline
from lim_jax.prediction import evaluation
from lim_jax.runtime import compile_time
from lim_jax.training import bad_steps, divergence, history
from lim_jax.training.run import Run, Standing
from lim_jax.training.state import last_learning_rate, last_strength, method_of

PyTree = Any


def added(epoch_sums: PyTree, sums: PyTree) -> PyTree:
    """Returns an epoch's sums so far (None: none yet) with those of one more step.

    A step that was skipped because something was not finite adds to their number alone. All are float64, in nested
    lists, as JSON has them; checkpoints of older versions have no number of bad steps.

    Args:
      epoch_sums: what this returned for the steps before.
      sums: `BatchGradients.sums` with what `bad_steps.finite` says, on the host.
    """
    bad = bad_steps.is_bad(sums)
    new = {
        "losses": {task: [0.0, 0.0] if bad else list(map(float, pair)) for task, pair in sums["losses"].items()},
        "total": [0.0, 0.0] if bad else list(map(float, sums["total"])),
        "bad_steps": int(bad),
    }
    return new if epoch_sums is None else jax.tree.map(lambda a, b: a + b, {"bad_steps": 0} | epoch_sums, new)


def note_step(run: Run, standing: Standing, step: int, sums: PyTree) -> None:
    """Adds the sums of a step, on the host, to those of the epoch.

    Raises:
      UserError: it was one step too many in a row that is not finite.
    """
    standing.bad_in_a_row = bad_steps.in_a_row(standing.bad_in_a_row, sums)
    found = bad_steps.too_many(standing.bad_in_a_row, step, sums, standing.state.learned, run.config)
    if found:
        raise divergence.stopped(run, standing, found)
    standing.epoch_sums = added(standing.epoch_sums, sums)


def of_training(run: Run, standing: Standing, seconds: float, compile_seconds: float) -> dict[str, Any]:
    """Returns what the steps of an epoch leave in its record.

    Args:
      run: the run.
      standing: after the last step of the epoch.
      seconds: what the steps took.
      compile_seconds: how many of these went into compiling.

    Raises:
      UserError: the loss was not finite in any step.
    """
    losses, (total, steps) = standing.epoch_sums["losses"], standing.epoch_sums["total"]
    if not steps:
        raise divergence.stopped(run, standing, f"the loss is not finite in epoch {standing.epoch}")
    healing_epochs = run.config.sparsity.healing_epochs
    healing = {"healing": standing.epoch > run.config.num_epochs - healing_epochs} if healing_epochs else {}
    return {
        "epoch": standing.epoch,
        "step": standing.epoch * run.steps_per_epoch,
        "train": {task: {"loss": loss / count if count else None} for task, (loss, count) in losses.items()},
        "total": {"train": total / steps},
        "bad_steps": standing.epoch_sums.get("bad_steps", 0),
        "strength": last_strength(standing.state.opt_state),
        "learning_rate": last_learning_rate(standing.state.opt_state, run.config, run.steps_per_epoch),
        "network": {
            "parameters": network_lib.num_parameters(standing.state.params),
            "channels": network_lib.num_channels(standing.network),
        },
        "seconds": seconds,
        "compile_seconds": {"training": compile_seconds, "evaluation": 0.0},
    } | healing


def with_evaluation(record: Mapping[str, Any], run: Run, standing: Standing) -> dict[str, Any]:
    """Returns the record with the results of an evaluation on the validation split, or on what is in its place."""
    split = history.evaluated_split(run.config)
    found = standing.programs.evaluate(
        standing.state.evaluated, evaluation.split_batches(run.dataset, split, run.config)
    )
    return {
        **record,
        split: found,
        "total": {**record["total"], **(_totals(found, run, standing) if split == "validation" else {})},
    }


def with_seconds_after_steps(record: Mapping[str, Any], started: float) -> dict[str, Any]:
    """Returns the record with the time since the epoch's last step, `started` on the monotonic clock, until now."""
    return {
        **record,
        "seconds_after_steps": time.monotonic() - started,
        "compile_seconds": {**record["compile_seconds"], "evaluation": compile_time.since(started)},
    }


def gradient_cosines(run: Run, standing: Standing) -> dict[str, float]:
    """Returns the cosine between the gradients of each pair of tasks, on a batch from all over the training split."""
    source = run.dataset.sources["train"]
    number = max(run.config.batch_size // jax.process_count(), len(run.local_devices))
    examples = [source[index] for index in pipeline.evenly_spaced(source, number)]  # a batch is never larger
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *examples)
    found = jax.device_get(standing.programs.cosines(standing.state, batch))
    tasks = list(enumerate(sorted(run.config.tasks)))
    return {f"{one} {other}": float(found[i, j]) for i, one in tasks for j, other in tasks if i < j}


def _totals(validation: evaluation.Results, run: Run, standing: Standing) -> dict[str, float | None]:
    """Returns the losses over all tasks by which an epoch is judged, given those of each on the validation split."""
    total = {"validation": validation_total(validation, method_of(run.config), standing.state.log_variances)}
    if history.is_balanced(standing.history, run.config):
        total["balanced"] = history.balanced(values["loss"] for values in validation.values())
    return total


def validation_total(
    validation: evaluation.Results, method: balancing.Balancing, log_variances: Mapping[str, jax.Array]
) -> float | None:
    """Returns the loss over all tasks that a method judges by; None if the split has no label of any task."""
    losses = {task: np.float32(values["loss"] or 0) for task, values in validation.items()}
    labelled = {task: np.float32(values["loss"] is not None) for task, values in validation.items()}
    return float(method.judged(losses, labelled, log_variances)) if any(labelled.values()) else None
