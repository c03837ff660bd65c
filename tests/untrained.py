"""Workdirs of networks that nobody trained, for verbs that need one."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from lim_jax import config as config_lib
from lim_jax import network
from lim_jax.data.specs import TargetSpec
from lim_jax.training import checkpoints
from tests.models import reference_weights

STEP = 3


def make(config: Any, specs: Mapping[str, TargetSpec]) -> network.Trained:
    """Returns the network of a configuration with the tests' own weights."""
    net = network.build(config, specs)
    weights = reference_weights.variables(net.model, np.zeros((1, *config.dataset.image_size, 3), np.float32))
    return network.Trained(net, weights, step=STEP, epoch=1)


def save(workdir: pathlib.Path, config: Any, trained: network.Trained) -> pathlib.Path:
    """Makes a workdir of it, and returns it."""
    checkpoints.save_network(workdir, trained)
    config_lib.save(config, workdir)
    return workdir
