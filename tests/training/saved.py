"""A tiny checkpoint made by hand: nothing is compiled, nothing is trained, every number is drawn by NumPy."""

import dataclasses

import jax
import numpy as np

from configs import common
from lim_jax import config as config_lib
from lim_jax import network as network_lib
from lim_jax.data import pipeline
from lim_jax.data.specs import TargetSpec
from lim_jax.network import Network
from lim_jax.training import checkpoints
from lim_jax.training.initialization import VariableInitializer
from lim_jax.training.state import TrainState, create_train_state, make_optimizer, sparse_groups

TASKS = ("depth",)


class Rooms:
    """Eight examples of black images, as a source."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        image = np.full((4, 4, 3), index, np.uint8)
        return {"image": image, "targets": {"depth": np.zeros((4, 4), np.float32)}}


def config():
    """The configuration of the smallest network."""
    changed = common.get_config()
    changed.tasks = TASKS
    changed.dataset.name, changed.dataset.image_size = "rooms", (32, 32)
    changed.model.backbone, changed.model.width_multiplier, changed.model.head_channels = "resnet18d", 1 / 64, 2
    changed.sparsity.strength = 1e-3
    return config_lib.checked(changed)


def network() -> Network:
    return network_lib.build(config(), {"depth": TargetSpec("depth", "depth")})


def shapes() -> TrainState:
    """The shapes of the state of its training."""
    settings = config()
    optimizer = make_optimizer(settings, sparse_groups(settings), steps_per_epoch=4)
    variables = VariableInitializer(network().model, (32, 32)).shapes
    return jax.eval_shape(lambda tree: create_train_state(tree, TASKS, optimizer), variables)


def state(step: int) -> TrainState:
    """A state at some step, other numbers at each."""
    rng = np.random.default_rng(step)

    def draw(leaf):
        return (
            rng.integers(0, 2, leaf.shape).astype(leaf.dtype)
            if leaf.dtype.kind in "bi"
            else rng.random(leaf.shape, leaf.dtype)
        )

    drawn = jax.tree.map(lambda leaf: draw(np.empty(leaf.shape, leaf.dtype)), shapes())
    return dataclasses.replace(drawn, step=np.int32(step))


def small_state(step: int) -> TrainState:
    """A state of no network, with few arrays: what does not depend on networks is tested sooner with it."""
    rng = np.random.default_rng(step)
    params = {"conv": {"kernel": rng.random((3, 3, 4, 8), np.float32)}}
    moments = {"mu": rng.random((3, 3, 4, 8)), "count": np.int32(step)}
    active, log_variances = {"depth": np.bool_(True)}, {"depth": rng.random((), np.float32)}
    return TrainState(np.int32(step), params, log_variances, {"mean": rng.random(8, np.float32)}, moments, active)


def iterator(**arguments):
    return pipeline.train_iterator(Rooms(), batch_size=2, seed=0, num_threads=1, prefetch=1, **arguments)


def meta(step: int) -> dict:
    return {
        "epoch": step // 4,
        "history": [{"epoch": epoch} for epoch in range(1, step // 4 + 1)],
        "epoch_sums": None,
        "zero_groups": {},
        "architecture": network_lib.to_json(network()),
        "shrinking": {"original": {}, "zero_epochs": {}},
    }


def save(workdir, losses, state=state):
    """Saves checkpoints with the total validation losses `{step: loss}`, one after the other, of `state(step)`."""
    batches = iterator()
    with checkpoints.Checkpoints(workdir, TASKS) as checkpointer:
        for step, loss in losses.items():
            next(batches)
            checkpointer.save(state(step), batches, meta(step), {"total": loss, "depth": loss})
            checkpointer.wait()
