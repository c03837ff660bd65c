"""What a run needs at least: below the truth and not far from it; refused where it is more than there is."""

import math
import types

import jax
import pytest

from configs import common
from lim_jax import config as config_lib
from lim_jax import network
from lim_jax.config import estimates
from lim_jax.data import datasets
from lim_jax.errors import UserError


def configuration(**changes):
    config = common.get_config()
    config.update_from_flattened_dict({name.replace("__", "."): value for name, value in changes.items()})
    return config_lib.checked(config)


@pytest.mark.parametrize(
    "changes",
    [
        {"model__backbone": "resnet18d", "model__width_multiplier": 0.5, "tasks": ("depth",)},
        {"model__backbone": "resnet50d", "model__head_channels": 64},
        {"dataset__name": "celebamask_hq", "tasks": ("segmentation", "male", "young"), "model__backbone": "resnet18d"},
    ],
)
def test_parameters_are_counted(changes):
    config = configuration(**changes)
    known = datasets.targets(config.dataset)
    net = network.build(config, {task: known[task] for task in config.tasks})
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), "float32")
    shapes = jax.eval_shape(net.model.init, jax.random.key(0), images)["params"]
    truth = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))
    state, _ = estimates.memory(config, 1)
    assert 0.98 * truth < state / 16 < truth


def test_activations_by_hand():
    config = configuration(model__backbone="resnet18d", dataset__image_size=(64, 96))
    stem = (32 * 48) * (64 + 64 + 128)
    blocks = 2 * (16 * 24) * 64 + 2 * (8 * 12) * (128 + 256 + 512)
    assert estimates.memory(config, 3)[1] == 3 * 4 * (stem + blocks)
    half = configuration(model__backbone="resnet18d", dataset__image_size=(64, 96), dtype="bfloat16")
    assert estimates.memory(half, 3)[1] == 3 * 2 * (stem + blocks)


def test_a_device_that_is_large_enough_is_enough():
    config = configuration(batch_size=16)
    needed = sum(estimates.memory(config, 8))
    devices = [types.SimpleNamespace(memory_stats=lambda: {"bytes_limit": needed})] * 2
    config_lib.check_resources(config, devices)
    with pytest.raises(
        UserError, match=r"for 16 images at a time.*config\.batch_size=16 or config\.dataset\.image_size"
    ):
        config_lib.check_resources(config, devices[:1])


@pytest.mark.parametrize(
    ("number", "text"), [(12, "12 bytes"), (4.1e12, "4.1 TB"), (999e9, "999 GB"), (1e18, "1 EB"), (2e22, "2e+04 EB")]
)
def test_bytes_for_people(number, text):
    assert estimates.as_bytes(number) == text
