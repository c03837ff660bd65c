"""How a run begins: anew, or where its latest checkpoint left it; and how it is saved."""

import functools
import json
import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax

from lim_jax import network as network_lib
from lim_jax.config import files
from lim_jax.errors import UserError
from lim_jax.network import Network
from lim_jax.training import checkpoints, divergence, initialization, shrinking, stored
from lim_jax.training.run import Run, Standing, backbone_macs, make_programs
from lim_jax.training.state import TrainState, first_state, make_optimizer
from lim_jax.training.stored import Stored, UnusableError

if TYPE_CHECKING:  # importing it imports TFDS
    from lim_jax.data import Dataset

logger = logging.getLogger(__name__)

# Of `meta`, beside what `Stored.network` checks.
_TYPES = {"history": list, "epoch_sums": (dict, type(None)), "zero_groups": dict}


def start_or_resume(run: Run) -> Standing:
    """Goes back to the newest checkpoint that is sound, and to the position of the input then, if there is any."""
    candidates = stored.ranked(run.workdir, stored.LATEST)
    if not candidates:
        return _start(run)
    standing, problems = stored.first_usable(candidates, lambda each: _resume(run, each))
    if standing is None and all(isinstance(problem, divergence.BadStepsError) for problem in problems.values()):
        logger.warning("warning: %s: starting anew", stored.in_words(problems))
        run.checkpointer.set_aside(list(problems))
        return _start(run)
    if standing is None:
        raise UserError(
            f"nothing in {run.workdir} can be used ({stored.in_words(problems)}): give another --workdir to start anew"
        )
    if problems:
        logger.warning("warning: %s: going on from step %d", stored.in_words(problems), standing.state.step)
        run.checkpointer.set_aside(list(problems))
    return standing


def save(run: Run, standing: Standing, losses: Mapping[str, float | None]) -> None:
    """Saves a checkpoint, which is kept for the validation `losses` (see `Checkpoints.save`).

    Raises:
      UserError: the network or its validation loss is not finite; the checkpoints before stay.
    """
    if losses and (task := _task_not_finite(standing.history[-1])):
        raise divergence.stopped(
            run, standing, f"the validation loss of {task} is not finite after epoch {len(standing.history)}"
        )
    meta = {
        "epoch": len(standing.history),
        "history": standing.history,
        "epoch_sums": standing.epoch_sums,
        "zero_groups": standing.zero_groups,
        "architecture": network_lib.to_json(standing.network),
        "shrinking": standing.shrinking.to_json(),
        "data": described(run.dataset),
    }
    if standing.bad_in_a_row:
        meta["bad_in_a_row"] = standing.bad_in_a_row
    try:
        run.checkpointer.save(standing.state, run.iterator, meta, losses)
    except UnusableError as problem:
        raise divergence.stopped(run, standing, f"the network at step {standing.state.step} is {problem}") from problem
    divergence.is_over(run, standing)


def _task_not_finite(record: Mapping[str, Any]) -> str | None:
    """Returns the first task whose validation loss, if there is one, is not finite."""
    losses = {task: values["loss"] for task, values in record.get("validation", {}).items()}
    return next((task for task, loss in losses.items() if loss is not None and not math.isfinite(loss)), None)


def described(dataset: "Dataset") -> dict[str, Any]:
    """Returns what a run has to find again when it goes on: its examples, and what their targets mean, as in JSON."""
    description = {
        "name": dataset.name,
        "examples": {split: len(source) for split, source in dataset.sources.items()},
        "records": {split: repr(source) for split, source in dataset.sources.items()},
        "tasks": {name: spec.to_json() for name, spec in dataset.specs.items()},
    }
    return json.loads(json.dumps(description))  # lists for tuples


def _start(run: Run) -> Standing:
    """Makes a new network; its programs are compiled while its parameters are drawn."""
    network = initialization.network_of(run.config, run.dataset.specs)
    network = initialization.fitted(network, run.dataset.sources["train"])
    initializer, shapes = _shapes(run, network)
    macs = backbone_macs(run, network) if run.config.sparsity.target_macs else 0
    original = shrinking.begin(shapes.params, run.groups, run.config, macs)
    programs = make_programs(run, network, shapes, original)
    constants = initialization.constants_of(network, run.dataset.sources["train"])
    variables = initialization.variables_of(run.config, initializer, constants)
    state = first_state(variables, programs.optimizer, run.config)
    return Standing(network, programs, state, history=[], shrinking=original)


def _resume(run: Run, checkpoint: Stored) -> Standing:
    """Restores everything from a checkpoint; its network may have shrunk since the run began."""
    network, state, counted, meta = checkpoints.everywhere(lambda: _read(run, checkpoint))
    trains = len(meta["history"]) < run.config.num_epochs
    programs = make_programs(run, network, state, counted, trains=trains)
    return Standing(network, programs, state, meta["history"], counted, meta["epoch_sums"], meta["zero_groups"])


def _read(run: Run, checkpoint: Stored) -> tuple[Network, TrainState, shrinking.Shrinking, dict[str, Any]]:
    """Returns what a checkpoint holds, and sets the input to where it was."""
    meta, network = checkpoint.meta(), checkpoint.network()
    if "history" not in meta:
        raise UserError(
            f"{run.workdir} holds a network without its training: give another --workdir, and start from this one "
            f"with --config.init_from={run.workdir}"
        )
    if files.diverged_at(run.workdir) is not None:
        divergence.refuse_bad(meta)
    for key, types in _TYPES.items():
        if not isinstance(meta.get(key), types):
            raise stored.damaged("meta", f"{key} is {str(meta.get(key))[:40]}")
    _refuse_other_data(run, meta.get("data"))
    _, shapes = _shapes(run, network)
    state = run.checkpointer.restore(checkpoint, shapes, run.iterator)
    return network, state, _shrinking_of(run, state, meta), meta


def _shrinking_of(run: Run, state: TrainState, meta: Mapping[str, Any]) -> shrinking.Shrinking:
    saved = meta.get("shrinking")
    if saved is None:
        return shrinking.begin(state.params, run.groups, run.config)
    try:
        return shrinking.from_json(saved)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise stored.damaged("meta", f"shrinking: {error}") from error


def _refuse_other_data(run: Run, before: Any) -> None:
    """Raises `UserError` if the data is not what the run began with; older versions did not note what that was."""
    if before is None:
        return
    changes = _changes(before, described(run.dataset))
    if changes:
        raise UserError(
            f"the data is not what the run in {run.workdir} began with ({'; '.join(changes)}): give it back, or start "
            f"from these weights in another --workdir, with --config.init_from={run.workdir}"
        )


def _changes(before: Any, now: Mapping[str, Any]) -> list[str]:
    """Returns what differs between two descriptions of data, in words; counts alone, if they do."""
    try:
        counts = [
            f"{now['examples'][split]} {split} images, not {count}"
            for split, count in before["examples"].items()
            if now["examples"].get(split) != count
        ]
        tasks = [
            f"task {name} has another meaning" if name in now["tasks"] else f"task {name} is gone"
            for name, spec in before["tasks"].items()
            if _meaning(now["tasks"].get(name)) != _meaning(spec)
        ]
        records = [
            f"{split} is {now['records'][split]}, not {name}"
            for split, name in before["records"].items()
            if now["records"].get(split) != name
        ]
    except (TypeError, KeyError, AttributeError) as error:
        raise stored.damaged("meta", f"data: {error}") from error
    return counts + tasks or records[:1]


def _meaning(spec: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Returns a described target without its colours, in which it is drawn only."""
    return None if spec is None else {key: value for key, value in spec.items() if key != "colors"}


def _shapes(run: Run, network: Network) -> tuple[initialization.VariableInitializer, TrainState]:
    """Returns what makes the variables of a network, and the shapes of the state before its first step."""
    initializer = initialization.VariableInitializer(network.model, run.config.dataset.image_size)
    optimizer = make_optimizer(run.config, run.groups, run.steps_per_epoch)
    create = functools.partial(first_state, optimizer=optimizer, config=run.config)
    return initializer, jax.eval_shape(create, initializer.shapes)
