"""How a run begins: anew, or where its latest checkpoint left it; and how it is saved."""

import functools
from collections.abc import Mapping

import jax

from lim_jax import network as network_lib
from lim_jax.errors import UserError
from lim_jax.network import Network
from lim_jax.training import checkpoints, initialization, shrinking
from lim_jax.training.run import Run, Standing, make_programs
from lim_jax.training.state import TrainState, create_train_state, make_optimizer


def start_or_resume(run: Run) -> Standing:
    """Goes back to the latest checkpoint, and to the position of the input then, if there is one."""
    step = run.checkpointer.step(checkpoints.LATEST)
    return _start(run) if step is None else _resume(run, step)


def save(run: Run, standing: Standing, losses: Mapping[str, float | None]) -> None:
    """Saves a checkpoint, which is kept for the validation `losses` (see `Checkpoints.save`)."""
    meta = {
        "epoch": len(standing.history),
        "history": standing.history,
        "epoch_sums": standing.epoch_sums,
        "zero_groups": standing.zero_groups,
        "architecture": network_lib.to_json(standing.network),
        "shrinking": standing.shrinking.to_json(),
    }
    run.checkpointer.save(standing.state, run.iterator, meta, losses)


def _start(run: Run) -> Standing:
    """Makes a new network; its programs are compiled while its parameters are drawn."""
    network = initialization.network_of(run.config, run.dataset.specs)
    initializer, shapes = _shapes(run, network)
    original = shrinking.begin(shapes.params, run.groups, run.config)
    programs = make_programs(run, network, shapes, original)
    variables = initialization.variables_of(run.config, initializer)
    state = create_train_state(variables, run.config.tasks, programs.optimizer)
    return Standing(network, programs, state, history=[], shrinking=original)


def _resume(run: Run, step: int) -> Standing:
    """Restores everything from the checkpoint at `step`; its network may have shrunk since the run began."""
    meta = run.checkpointer.meta(step)
    if "history" not in meta:
        raise UserError(
            f"{run.workdir} holds a network without its training: give another --workdir, and start from this one "
            f"with --config.init_from={run.workdir}"
        )
    network = network_lib.from_json(meta["architecture"])
    _, shapes = _shapes(run, network)
    state, meta = run.checkpointer.restore(step, shapes, run.iterator)
    saved = meta.get("shrinking")
    counted = shrinking.begin(state.params, run.groups, run.config) if saved is None else shrinking.from_json(saved)
    trains = len(meta["history"]) < run.config.num_epochs
    programs = make_programs(run, network, state, counted, trains=trains)
    return Standing(network, programs, state, meta["history"], counted, meta["epoch_sums"], meta["zero_groups"])


def _shapes(run: Run, network: Network) -> tuple[initialization.VariableInitializer, TrainState]:
    """Returns what makes the variables of a network, and the shapes of the state before its first step."""
    initializer = initialization.VariableInitializer(network.model, run.config.dataset.image_size)
    optimizer = make_optimizer(run.config, run.groups, run.steps_per_epoch)
    create = functools.partial(create_train_state, tasks=run.config.tasks, optimizer=optimizer)
    return initializer, jax.eval_shape(create, initializer.shapes)
