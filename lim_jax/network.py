"""A network and what its outputs mean: the model and its tasks, built from a configuration or from JSON; its variables.

The JSON form is stored in every checkpoint, so that evaluation, prediction and compaction need neither the
data set nor the configuration to rebuild exactly the network that was trained.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, cast

import jax
import numpy as np

from lim_jax import models, tasks
from lim_jax.config import Config
from lim_jax.data.specs import TargetSpec
from lim_jax.runtime.platforms import Platform

PyTree = Any
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclasses.dataclass(frozen=True)
class Network:
    """A multi-task model and, per task, the meaning of its outputs (in the same order)."""

    model: models.MultiTaskModel
    tasks: Mapping[str, tasks.Task]

    def logits(self, variables: PyTree, images: jax.Array) -> dict[str, jax.Array]:
        """Returns the heads' outputs in evaluation mode.

        Args:
          variables: `{"params", "batch_stats"}`.
          images: (N, H, W, 3), uint8 or float in 0..255.
        """
        return cast(Any, self.model.apply(variables, models.normalize_images(images), train=False))

    def on(self, platform: Platform) -> "Network":
        """Returns the same network, computed as suits the platform that a program with it is compiled for."""
        return dataclasses.replace(self, model=models.with_implementation(self.model, platform.forms))


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network.

    Attributes:
      network: the model and its tasks.
      variables: `{"params", "batch_stats"}`, numpy arrays.
      step: the training step that the variables are from.
      epoch: its epoch.
    """

    network: Network
    variables: PyTree
    step: int
    epoch: int


def num_parameters(params: PyTree) -> int:
    """Returns the number of elements of all arrays of a tree."""
    return sum(int(np.size(leaf)) for leaf in jax.tree.leaves(params))


def num_channels(network: Network) -> int:
    """Returns the number of channels that the convolutions of the backbone emit, together."""
    architecture = network.model.backbone.architecture
    blocks = [block for stage in architecture.stages for block in stage]
    convolutions = [*architecture.stem, *(conv for block in blocks for conv in block.convs)]
    return sum(conv.features for conv in convolutions) + sum(block.features for block in blocks if block.downsample)


def build(config: Config, specs: Mapping[str, TargetSpec]) -> Network:
    """Returns the network that `config` describes for the targets `specs`."""
    made = {name: tasks.from_config(spec, config) for name, spec in specs.items()}
    heads = {name: task.head(**task.head_settings(config)) for name, task in made.items()}
    dilations = config.model.dilations
    if dilations == "auto" and config.model.pretrained:
        dilations = "torchvision"
    backbone = models.backbone(
        config.model.backbone, config.model.width_multiplier, dtype=config.dtype, dilations=dilations
    )
    return Network(models.MultiTaskModel(backbone, heads), made)


def with_channels_of(network: Network, source: Network) -> Network:
    """Returns `network` with the widths of a network of the same kind, which may be compact.

    Its backbone, and the heads that both have, become as narrow as those of `source`; dtype, dropout and all else stay.
    """
    model = network.model
    heads = dict(model.heads)
    for task, theirs in source.model.heads.items():
        if task in heads and type(heads[task]) is type(theirs):
            read = ("inputs", "skip_inputs", "constant")
            heads[task] = heads[task].clone(**{name: getattr(theirs, name) for name in read if hasattr(theirs, name)})
    backbone = model.backbone.clone(architecture=source.model.backbone.architecture)
    return dataclasses.replace(network, model=models.MultiTaskModel(backbone, heads))


def to_json(network: Network) -> dict[str, Any]:
    """Describes the network completely, in JSON-serialisable values; `from_json` is the inverse."""
    return {
        "model": models.to_json(network.model),
        "tasks": {
            name: {"spec": task.spec.to_json(), "settings": _fields(task)} for name, task in network.tasks.items()
        },
    }


def from_json(fields: Mapping[str, Any]) -> Network:
    """Rebuilds the network that `to_json` described; tasks have plain names, for files are called after them."""
    for name, task in fields["tasks"].items():
        if not _PLAIN.fullmatch(name) or task["spec"]["name"] != name:
            raise ValueError(f"{name!r} is no name of a task")
        if not all(isinstance(each, str) for each in task["spec"]["class_names"]):
            raise TypeError(f"the classes of {name} have no names")
    made = {
        name: tasks.create(TargetSpec.from_json(task["spec"]), **task["settings"])
        for name, task in fields["tasks"].items()
    }
    return Network(models.from_json(fields["model"]), made)


def _fields(task: tasks.Task) -> dict[str, Any]:
    return {field.name: getattr(task, field.name) for field in dataclasses.fields(task) if field.name != "spec"}
