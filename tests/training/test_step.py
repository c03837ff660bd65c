"""A training step as two programs and as one takes the same step."""

import dataclasses

import jax
import numpy as np
import pytest

from lim_jax import config as config_lib
from lim_jax import network as network_lib
from lim_jax.data.specs import TargetSpec
from lim_jax.runtime import devices, platforms
from lim_jax.training import initialization
from lim_jax.training.state import create_train_state, make_optimizer, sparse_groups
from lim_jax.training.step import TrainStep
from tests.training.tiny import tiny_config

pytestmark = pytest.mark.slow


def test_one_program_takes_the_step_of_two(monkeypatch):
    config = tiny_config("nowhere")
    config.tasks, config.model.width_multiplier, config.dtype = ("depth",), 0.05, "float32"
    config = config_lib.checked(config)
    network = network_lib.build(config, {"depth": TargetSpec("depth", "depth")})
    local_devices = jax.local_devices()[:2]
    optimizer = make_optimizer(config, sparse_groups(config), steps_per_epoch=1)
    variables = initialization.VariableInitializer(network.model, config.dataset.image_size).init(0)
    first = jax.device_get(create_train_state(variables, config.tasks, optimizer))  # a copy outlives donation
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (2, 32, 40, 3), np.uint8),
        "targets": {"depth": rng.uniform(1, 5, (2, 32, 40)).astype(np.float32)},
    }

    def taken(splits_step):
        platform = dataclasses.replace(platforms.named("cpu"), splits_step=splits_step)
        monkeypatch.setitem(platforms.PLATFORMS, "cpu", platform)
        step = TrainStep(network, optimizer, config, local_devices)
        step.compile_ahead(first, batch)
        state, sums = step(devices.replicate(first, local_devices), batch)
        return jax.device_get(step(state, batch)), sums

    two, one = taken(True), taken(False)
    assert jax.tree.structure(one) == jax.tree.structure(two)
    assert one[0][0].step == 2
    for (path, a), b in zip(jax.tree.leaves_with_path(one), jax.tree.leaves(two), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.max(np.abs(b), initial=1e-6), err_msg=str(path))
