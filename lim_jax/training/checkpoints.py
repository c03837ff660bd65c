"""Keeps a run on disk: variables, optimizer, input position, architecture and history. Nothing else touches Orbax.

One checkpoint is four items: `weights` (`params`, `batch_stats`; all that evaluation and compaction read),
`training` (step, optimizer state, active heads), `iterator` (where the input stands, per process) and
`meta` (JSON: epoch, history, architecture, the epoch's sums so far). Kept are the newest checkpoint, the one
with the best total validation loss, and the best one of each task. Saving is asynchronous and a checkpoint
appears whole or not at all, so a run that is killed at any moment finds a good one.

On disk `params` has a branch for the loss weights (`loss_weighting.join`), which are apart from it everywhere else.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import grain.checkpoint as grain_checkpoint
import jax
import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint.checkpoint_managers import preservation_policy

from lim_jax import network as network_lib
from lim_jax.errors import UserError
from lim_jax.network import Network, Trained
from lim_jax.training import loss_weighting
from lim_jax.training.state import TrainState

PyTree = Any
BEST = "best"
LATEST = "latest"
_TOTAL = "total"


class Checkpoints:
    """The checkpoints of one workdir; use as a context manager, so that the last save is finished."""

    def __init__(self, workdir: pathlib.Path, tasks: tuple[str, ...] = (), *, read_only: bool = False):
        self._workdir = workdir
        directory = workdir.absolute() / "checkpoints"
        if read_only and not directory.is_dir():
            raise UserError(f"{workdir} has no checkpoints: train first, or give another --workdir")
        policies = [preservation_policy.LatestN(1), *map(_keep_best, (_TOTAL, *tasks))]
        handlers: Any = {
            "weights": ocp.StandardCheckpointHandler(),
            "training": ocp.StandardCheckpointHandler(),
            "iterator": grain_checkpoint.CheckpointHandler(),
            "meta": ocp.JsonCheckpointHandler(),
        }
        self._manager = ocp.CheckpointManager(
            directory,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=preservation_policy.AnyPreservationPolicy(policies),
                best_fn=_score(_TOTAL),  # makes the manager keep the losses on disk; the policies decide
                read_only=read_only,
                cleanup_tmp_directories=not read_only,
            ),
            item_handlers=handlers,
        )

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *exception) -> None:
        self._manager.close()

    def save(
        self, state: TrainState, iterator: Any, meta: Mapping[str, Any], losses: Mapping[str, float | None]
    ) -> None:
        """Saves a checkpoint at `state.step`.

        Args:
          state: the training state; copied to the host before this returns, written in the background.
          iterator: the grain iterator of the training input.
          meta: JSON-serialisable.
          losses: validation losses, `{"total": x, task: x, ...}`, by which the best checkpoints are kept; empty
            if this checkpoint was not evaluated.
        """
        host = jax.device_get(state)
        self._manager.save(
            int(host.step),
            args=ocp.args.Composite(
                weights=ocp.args.StandardSave(_stored(host.variables, host.log_variances)),
                training=ocp.args.StandardSave(_training(host)),
                iterator=grain_checkpoint.CheckpointSave(iterator),
                meta=ocp.args.JsonSave(dict(meta)),
            ),
            metrics={key: loss for key, loss in losses.items() if loss is not None},
            force=True,
        )

    def wait(self) -> None:
        """Returns when everything is on disk."""
        self._manager.wait_until_finished()

    def step(self, which: str = BEST) -> int | None:
        """Returns the step of a checkpoint, or None if there is none.

        Args:
          which: `BEST` (lowest total validation loss; the latest checkpoint if none was evaluated), `LATEST`,
            or a task's name (lowest validation loss of that task).
        """
        if which == LATEST:
            return self._manager.latest_step()
        key = _TOTAL if which == BEST else which
        losses = {}
        for step in self._manager.all_steps():
            metrics = self._manager.metrics(step) or {}
            if key in metrics:
                losses[step] = metrics[key]
        if not losses:
            return self._manager.latest_step()
        return min(losses, key=lambda step: (losses[step], -step))

    def meta(self, step: int) -> dict[str, Any]:
        """Returns the JSON part of the checkpoint at `step`."""
        return self._manager.restore(step, args=ocp.args.Composite(meta=ocp.args.JsonRestore()))["meta"]

    def variables(self, step: int, network: Network) -> PyTree:
        """Returns `{"params", "batch_stats"}` as numpy arrays, strictly of the structure and shapes of `network`."""
        # No array depends on the size of the images.
        images = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
        like = jax.eval_shape(lambda x: network.model.init(jax.random.key(0), x), images)
        s_t = jax.eval_shape(lambda: loss_weighting.initial_log_variances(network.tasks))
        return _from_stored(self._restore(step, {"weights": _stored(like, s_t)})["weights"])[0]

    def restore(self, step: int, state: TrainState, iterator: Any) -> tuple[TrainState, dict[str, Any]]:
        """Returns the state and meta of the checkpoint at `step`, and sets `iterator` to where it was."""
        restored = self._restore(
            step,
            {"weights": _stored(state.variables, state.log_variances), "training": _training(state)},
            iterator=grain_checkpoint.CheckpointRestore(iterator),
            meta=ocp.args.JsonRestore(),
        )
        variables, log_variances = _from_stored(restored["weights"])
        state = dataclasses.replace(state, **variables, log_variances=log_variances, **restored["training"])
        return state, restored["meta"]

    def _restore(self, step: int, like: Mapping[str, PyTree], **others: Any) -> Any:
        """Restores the array items in `like`, refusing other structures and (which Orbax does not) shapes."""
        abstract = {
            item: jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)
            for item, tree in like.items()
        }
        arrays = {item: ocp.args.StandardRestore(tree) for item, tree in abstract.items()}
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(**arrays, **others))
            for item, tree in abstract.items():
                jax.tree_util.tree_map_with_path(_require_same_shape, tree, restored[item])
        except ValueError as error:
            raise UserError(
                f"the checkpoint at step {step} in {self._workdir} holds another network "
                f"({str(error).splitlines()[0]}): give another --workdir"
            ) from error
        return restored


def save_network(workdir: pathlib.Path, trained: Trained) -> None:
    """Writes a network to a workdir as its only checkpoint, without what training needs; `load_network` reads it."""
    s_t = loss_weighting.initial_log_variances(trained.network.tasks)
    meta = {"epoch": trained.epoch, "architecture": network_lib.to_json(trained.network)}
    with ocp.CheckpointManager(workdir.absolute() / "checkpoints") as manager:
        manager.save(
            trained.step,
            args=ocp.args.Composite(
                weights=ocp.args.StandardSave(_stored(trained.variables, s_t)),
                meta=ocp.args.JsonSave(meta),
            ),
        )


def load_network(workdir: pathlib.Path, which: str = BEST) -> Trained:
    """Returns a trained network of the run in `workdir`.

    Args:
      workdir: of a training run.
      which: as in `Checkpoints.step`.

    Raises:
      UserError: there is no checkpoint.
    """
    with Checkpoints(workdir, read_only=True) as checkpointer:
        step = checkpointer.step(which)
        if step is None:
            raise UserError(f"{workdir} has no checkpoint yet: train it for an epoch first")
        meta = checkpointer.meta(step)
        network = network_lib.from_json(meta["architecture"])
        return Trained(network, checkpointer.variables(step, network), step, meta["epoch"])


def _stored(variables: Mapping[str, PyTree], log_variances: PyTree) -> PyTree:
    """Returns the item `weights` of a checkpoint."""
    return {**variables, "params": loss_weighting.join(variables["params"], log_variances)}


def _from_stored(item: Mapping[str, PyTree]) -> tuple[dict[str, PyTree], PyTree]:
    """Returns the variables and the loss weights of the item `weights` of a checkpoint."""
    params, log_variances = loss_weighting.split(item["params"])
    return {"params": params, "batch_stats": item["batch_stats"]}, log_variances


def _training(state: TrainState) -> PyTree:
    return {"step": state.step, "opt_state": state.opt_state, "active": state.active}


def _require_same_shape(path: Any, wanted: jax.ShapeDtypeStruct, found: np.ndarray) -> None:
    if wanted.shape != found.shape:
        raise ValueError(f"{jax.tree_util.keystr(path)} is {found.shape}, not {wanted.shape}")


def _score(key: str) -> Callable[[Mapping[str, float]], float]:
    """What the manager maximises: minus the loss, and less than any other without one."""
    return lambda losses: -losses.get(key, math.inf)


def _keep_best(key: str) -> preservation_policy.PreservationPolicy:
    return preservation_policy.BestN(get_metric_fn=_score(key), n=1)
