"""The network and parameters that lim_jax and plain Flax are both measured with."""

from typing import Any

import jax
import numpy as np

from benchmarks.job import GRADIENT_SIZE, OUTPUTS, PARAMETER_SIZE, Job
from configs import nyu
from lim_jax import network
from lim_jax.config import Config
from lim_jax.data.specs import TargetSpec


def configuration(job: Job) -> Config:
    """Returns the paper's configuration on NYU-v2 with the job's sizes."""
    config = nyu.get_config()
    config.tasks = tuple(OUTPUTS)
    config.model.backbone, config.model.width_multiplier = job.backbone, job.width_multiplier
    config.model.head_channels = job.head_channels
    config.batch_size, config.dtype, config.sparsity.strength = job.batch_size, job.dtype, job.strength
    config.loss_weighting, _, at = job.loss_weighting.partition(":")
    config.rep_grad = at == "features"
    config.dataset.image_size = (job.image_size, job.image_size)
    return config


def build(config: Config) -> network.Network:
    """Returns the network with `OUTPUTS`."""
    return network.build(config, specs())


def specs() -> dict[str, TargetSpec]:
    """Returns the targets with `OUTPUTS`."""
    classes = tuple(f"class {i}" for i in range(OUTPUTS["segmentation"]))
    return {task: TargetSpec(task, task, classes if task == "segmentation" else ()) for task in OUTPUTS}


def parameters_and_gradients(job: Job) -> tuple[Any, Any]:
    """Returns random parameters of the network, in a trained network's size, and gradients for them."""
    model = build(configuration(job)).model
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), np.float32)
    shapes = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), images)["params"]
    generator = np.random.default_rng(0)

    def draw(scale: float) -> Any:
        return jax.tree.map(lambda leaf: scale * generator.standard_normal(leaf.shape, np.float32), shapes)

    return draw(PARAMETER_SIZE), draw(GRADIENT_SIZE)
