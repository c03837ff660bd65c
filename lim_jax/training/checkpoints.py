"""Keeps a run on disk: variables, optimizer, input position, architecture and history. Nothing else writes with Orbax.

One checkpoint is four items: `weights` (`params`, `batch_stats`; all that evaluation and compaction read),
`training` (step, optimizer state, active heads), `iterator` (where the input stands, per process) and
`meta` (JSON: epoch, history, architecture, the epoch's sums so far, and the digests of everything). Kept are the two
newest checkpoints, the one with the best total validation loss, and the best one of each task; of those that are not
among the newest, what only training needs is removed (`_keep_weights_alone`). Saving is asynchronous
and a checkpoint appears whole or not at all, so a run that is killed at any moment finds a good one; `stored` reads
them, and notices what the disk has changed.

Of a run with a moving average, `weights` is the average, and `training` has what is trained, too. On disk `params` has
a branch for the loss weights (`loss_weighting.join`), which are apart from it everywhere else.
"""

import concurrent.futures
import dataclasses
import functools
import json
import logging
import math
import pathlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import grain.checkpoint as grain_checkpoint
import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import preservation_policy

from lim_jax import network as network_lib
from lim_jax.errors import UserError
from lim_jax.network import Trained
from lim_jax.training import digests, loss_weighting, stored
from lim_jax.training.state import TrainState
from lim_jax.training.stored import BEST, LATEST, Stored, UnusableError

__all__ = ["BEST", "LATEST", "Checkpoints", "everywhere", "latest_meta", "load_network", "save_network"]

logger = logging.getLogger(__name__)

PyTree = Any
_NEWEST_KEPT = 2  # should the last one turn out to be damaged
_TRAINED = "trained"  # in `training`: the variables, where `weights` has their moving average
_SET_ASIDE = "damaged"  # the folder in a workdir for checkpoints that were found so


class Checkpoints:
    """The checkpoints that a run writes to its workdir; as a context manager, it ends when the last save is finished.

    What other runs left half-done there is removed.

    Args:
      workdir: of the run.
      tasks: for each of which the best checkpoint is kept.
      in_background: make digests, too, while training goes on; of one process alone.
    """

    def __init__(self, workdir: pathlib.Path, tasks: tuple[str, ...] = (), *, in_background: bool = False):
        self._workdir = workdir
        in_background = in_background and jax.process_count() == 1
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "saving") if in_background else None
        self._writing: concurrent.futures.Future[None] | None = None
        self._saved_at = time.monotonic()
        directory = workdir.absolute() / stored.FOLDER
        if jax.process_index() == 0:
            _remove_empty(directory)
        self._losses = {each.step: _losses_of(each) for each in stored.all_of(workdir)}
        handlers: Any = {
            "weights": ocp.StandardCheckpointHandler(),
            "training": ocp.StandardCheckpointHandler(),
            "iterator": grain_checkpoint.CheckpointHandler(),
            "meta": ocp.JsonCheckpointHandler(),
        }
        self._manager = ocp.CheckpointManager(
            directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=_Kept(self._losses, (stored.TOTAL, *tasks)),
                # Makes the manager write the losses, for older versions; the policy decides.
                best_fn=lambda losses: 0.0,
                cleanup_tmp_directories=True,
                lightweight_initialize=True,  # it would read the losses, and stumble over damaged ones
            ),
            item_handlers=handlers,
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception) -> None:
        if exception[0] is None:
            self.wait()
        if self._writer is not None:
            self._writer.shutdown()
        self._manager.close()

    def save(
        self, state: TrainState, iterator: Any, meta: Mapping[str, Any], losses: Mapping[str, float | None]
    ) -> None:
        """Saves a checkpoint at `state.step`.

        Args:
          state: the training state; copied to the host before this returns, written in the background. One save at a
            time is under way.
          iterator: the grain iterator of the training input.
          meta: JSON-serialisable.
          losses: validation losses, `{"total": x, task: x, ...}`, by which the best checkpoints are kept; empty
            if this checkpoint was not evaluated. None, and what is not finite, counts as no loss.

        Raises:
          UnusableError: the network, or a moment of the optimizer, is not finite; nothing was saved.
        """
        host = jax.device_get(state)
        weights = _stored_variables(host.evaluated, host.log_variances)
        training = _training(host)
        if name := digests.first_not_finite(digests.by_name(weights) | digests.by_name(training)):
            raise UnusableError(f"not finite ({name})")
        self.wait()
        self._saved_at = time.monotonic()
        finite = {key: loss for key, loss in losses.items() if loss is not None and stored.is_loss(loss)}
        self._losses[int(host.step)] = finite
        content = json.loads(json.dumps({**meta, "losses": finite}))  # as it is now
        write = functools.partial(self._write, int(host.step), weights, training, iterator.get_state(), content)
        if self._writer is None:
            write()
        else:
            self._writing = self._writer.submit(write)

    def _write(self, step: int, weights: PyTree, training: PyTree, position: Any, meta: Mapping[str, Any]) -> None:
        """Starts writing a checkpoint whose parts are on the host."""
        self._manager.save(
            step,
            args=ocp.args.Composite(
                weights=ocp.args.StandardSave(weights),
                training=ocp.args.StandardSave(training),
                iterator=grain_checkpoint.CheckpointSave(_Position(position)),
                meta=ocp.args.JsonSave(_with_digests(meta, position, weights=weights, training=training)),
            ),
            metrics=meta["losses"],
            force=True,
        )

    def is_due(self, minutes: float) -> bool:
        """Returns whether the last save, or the start of the run, was so many minutes ago; never for 0."""
        return 0 < minutes * 60 <= time.monotonic() - self._saved_at

    def wait(self) -> None:
        """Returns when everything is on disk, and what only training needs is there for the newest alone."""
        if self._writing is not None:
            written, self._writing = self._writing, None
            written.result()
        self._manager.wait_until_finished()
        if jax.process_index() == 0:
            for checkpoint in stored.all_of(self._workdir)[_NEWEST_KEPT:]:
                _keep_weights_alone(checkpoint)

    def step(self, which: str = BEST) -> int | None:
        """Returns the step of a checkpoint (as in `stored.ranked`), or None if there is none.

        The newest one may be still on its way to the disk.
        """
        if which == LATEST:
            if self._writing is not None:
                self._writing.result()
            return self._manager.latest_step()
        return next((each.step for each in stored.ranked(self._workdir, which)), None)

    def restore(self, checkpoint: Stored, state: TrainState, iterator: Any) -> TrainState:
        """Returns the state of a checkpoint, and sets `iterator` to where it was.

        Args:
          checkpoint: of this workdir.
          state: of the same structure and shapes.
          iterator: of the training input.

        Raises:
          UnusableError: something is not as it was saved.
          UserError: it holds another network.
        """
        wanted = {"weights": _stored_variables(state.evaluated, state.log_variances), "training": _training(state)}
        found = {"weights": checkpoint.weights(), "training": checkpoint.arrays("training")}
        position = checkpoint.position()
        trees = {item: self._filled(checkpoint, tree, found[item]) for item, tree in wanted.items()}
        try:
            iterator.set_state(position)
        except Exception as error:  # whatever grain makes of a state that is none
            raise stored.damaged("iterator", error) from error
        variables, log_variances = _split_variables(trees["weights"])
        training = dict(trees["training"])
        if state.average:
            training["average"], variables = variables, training.pop(_TRAINED)
        return dataclasses.replace(state, **variables, log_variances=log_variances, **training)

    def set_aside(self, steps: Sequence[int]) -> None:
        """Moves damaged checkpoints out of the way of new ones, to the folder `damaged` of the workdir."""
        if jax.process_index() == 0:
            aside = self._workdir / _SET_ASIDE
            aside.mkdir(exist_ok=True)
            for step in steps:
                shutil.rmtree(aside / str(step), ignore_errors=True)
                (self._workdir / stored.FOLDER / str(step)).rename(aside / str(step))
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged checkpoints are set aside")
        for step in steps:
            self._losses.pop(step, None)
        self._manager.reload()

    def _filled(self, checkpoint: Stored, like: PyTree, arrays: digests.Arrays) -> PyTree:
        return _filled(like, arrays, f"the checkpoint at step {checkpoint.step} in {self._workdir}")


class _Position:
    """Stands for an iterator where it was, for grain to save."""

    def __init__(self, state: Any):
        self._state = state

    def get_state(self) -> bytes:
        """Returns the state as grain writes it."""
        return json.dumps(self._state, indent=4).encode()


class _Kept(preservation_policy.PreservationPolicy):
    """Which checkpoints are kept: the newest, and for each key the one with the lowest loss.

    Attributes of a checkpoint as Orbax knows them are not used: what is damaged would have none.
    """

    def __init__(self, losses: Mapping[int, Mapping[str, float]], keys: Sequence[str]):
        self._losses, self._keys = losses, keys

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Returns, for each checkpoint, whether it is kept."""
        del context
        steps = [checkpoint.step for checkpoint in checkpoints]
        kept = set(sorted(steps)[-_NEWEST_KEPT:])
        for key in self._keys:
            losses = {step: self._losses.get(step, {}).get(key, math.inf) for step in steps}
            best = min(steps, key=lambda step: (losses[step], -step), default=None)
            if best is not None and losses[best] < math.inf:
                kept.add(best)
        return [step in kept for step in steps]


def _keep_weights_alone(checkpoint: Stored) -> None:
    """Removes what only training needs. It says so first: what a killed process left of it is not damaged then."""
    if (checkpoint.folder / "training").is_dir():
        (checkpoint.folder / stored.WEIGHTS_ALONE).touch()
        for item in ("training", "iterator"):
            shutil.rmtree(checkpoint.folder / item, ignore_errors=True)


def save_network(workdir: pathlib.Path, trained: Trained) -> None:
    """Writes a network to a workdir as its only checkpoint, without what training needs; `load_network` reads it."""
    s_t = loss_weighting.initial_log_variances(trained.network.tasks)
    weights = jax.device_get(_stored_variables(trained.variables, s_t))
    meta = {"epoch": trained.epoch, "architecture": network_lib.to_json(trained.network)}
    with ocp.CheckpointManager(workdir.absolute() / stored.FOLDER) as manager:
        manager.save(
            trained.step,
            args=ocp.args.Composite(
                weights=ocp.args.StandardSave(weights),
                meta=ocp.args.JsonSave(_with_digests({**meta, "losses": {}}, None, weights=weights)),
            ),
        )


def latest_meta(workdir: pathlib.Path) -> dict[str, Any]:
    """Returns the `meta` of the newest checkpoint of a workdir whose `meta` is sound: the history of a run, say.

    Raises:
      UserError: there is none.
    """
    meta, problems = stored.first_usable(_candidates(workdir, LATEST), lambda each: each.meta())
    if meta is None:
        raise _nothing(workdir, problems)
    return meta


def load_network(workdir: pathlib.Path, which: str = BEST) -> Trained:
    """Returns a trained network of the run in `workdir`, and says so if the wanted one is damaged and this is another.

    Args:
      workdir: of a training run.
      which: as in `stored.ranked`.

    Raises:
      UserError: there is no checkpoint, or none that can be used.
    """
    candidates = _candidates(workdir, which)
    trained, problems = stored.first_usable(candidates, lambda each: _trained(workdir, each))
    if which != LATEST:  # one whose losses cannot be read might have been the best
        problems = stored.without_losses(candidates) | problems
    if trained is None:
        raise _nothing(workdir, problems)
    if problems:
        logger.warning("warning: %s: using step %d", stored.in_words(problems), trained.step)
    return trained


def _candidates(workdir: pathlib.Path, which: str) -> list[Stored]:
    if not (workdir / stored.FOLDER).is_dir():
        raise UserError(f"{workdir} has no checkpoints: train first, or give another --workdir")
    candidates = stored.ranked(workdir, which)
    if not candidates:
        raise UserError(f"{workdir} has no checkpoint yet: train it for an epoch first")
    return candidates


def _nothing(workdir: pathlib.Path, problems: Mapping[int, UnusableError]) -> UserError:
    return UserError(f"nothing in {workdir} can be used ({stored.in_words(problems)}): give another --workdir")


def _trained(workdir: pathlib.Path, checkpoint: Stored) -> Trained:
    network = checkpoint.network()
    try:
        # No array depends on the size of the images.
        images = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
        like = jax.eval_shape(lambda x: network.model.init(jax.random.key(0), x), images)
    except Exception as error:  # whatever Flax makes of an architecture that is none
        raise stored.damaged("meta", f"it describes no network: {error}") from error
    s_t = jax.eval_shape(lambda: loss_weighting.initial_log_variances(network.tasks))
    where = f"the checkpoint at step {checkpoint.step} in {workdir}"
    variables, _ = _split_variables(_filled(_stored_variables(like, s_t), checkpoint.weights(), where))
    return Trained(network, variables, checkpoint.step, checkpoint.meta()["epoch"])


def _with_digests(meta: Mapping[str, Any], position: Any, **items: PyTree) -> dict[str, Any]:
    """Returns `meta` with the digests of the items, of the input's position, and of itself."""
    made: dict[str, Any] = {item: digests.of_arrays(digests.by_name(tree)) for item, tree in items.items()}
    if position is not None:
        made["iterator"] = digests.of_json(position)
    content = json.loads(json.dumps({**meta, "digests": made}))  # as it will be read: lists for tuples
    made["meta"] = digests.of_json(content)
    return content | {"digests": made}


def _filled(like: PyTree, arrays: digests.Arrays, where: str) -> PyTree:
    """Returns sound arrays as a tree like `like`, strictly of its names, shapes and dtypes."""
    wanted = digests.leaves_by_name(like)
    other = min(wanted.keys() ^ arrays.keys(), default=None)
    if other is not None:
        raise _another(where, f"{other} is only {'in the network' if other in wanted else 'there'}")
    for name, leaf in wanted.items():
        if (leaf.shape, leaf.dtype) != (arrays[name].shape, arrays[name].dtype):
            found = f"{arrays[name].dtype} {arrays[name].shape}"
            raise _another(where, f"{name} is {found}, not {leaf.dtype} {leaf.shape}")
    return digests.like(like, arrays)


def _another(where: str, why: str) -> UserError:
    return UserError(f"{where} holds another network ({why}): give another --workdir")


def everywhere(read: Callable[[], Any]) -> Any:
    """Returns what `read` returns; raises `UnusableError` in all processes of a run if it does so in one."""
    problem, result = None, None
    try:
        result = read()
    except UnusableError as error:
        problem = error
    if jax.process_count() > 1:
        sound = multihost_utils.process_allgather(np.bool_(problem is None))
        problem = problem or (None if sound.all() else UnusableError("damaged (as another process found)"))
    if problem is not None:
        raise problem
    return result


def _losses_of(checkpoint: Stored) -> dict[str, float]:
    try:
        return checkpoint.losses()
    except UnusableError:
        return {}


def _remove_empty(directory: pathlib.Path) -> None:
    """Removes folders of checkpoints with nothing in them."""
    for path in directory.iterdir() if directory.is_dir() else ():
        if path.name.isdecimal() and path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _stored_variables(variables: Mapping[str, PyTree], log_variances: PyTree) -> PyTree:
    """Returns the item `weights` of a checkpoint."""
    return {**variables, "params": loss_weighting.join(variables["params"], log_variances)}


def _split_variables(item: Mapping[str, PyTree]) -> tuple[dict[str, PyTree], PyTree]:
    """Returns the variables and the loss weights of the item `weights` of a checkpoint."""
    params, log_variances = loss_weighting.split(item["params"])
    return {"params": params, "batch_stats": item["batch_stats"]}, log_variances


def _training(state: TrainState) -> PyTree:
    training = {"step": state.step, "opt_state": state.opt_state, "active": state.active}
    if state.balancing:
        training["balancing"] = state.balancing
    if state.average:
        training[_TRAINED] = state.variables
    return training
