"""What the tests of this folder draw: tasks, a history, layers and examples."""

import json

import numpy as np

from lim_jax import tasks
from lim_jax.data.specs import IGNORE, TargetSpec

ALL = {
    "segmentation": tasks.create(TargetSpec("segmentation", "segmentation", ("wall", "floor", "chair"))),
    "depth": tasks.create(TargetSpec("depth", "depth")),
    "normals": tasks.create(TargetSpec("normals", "normals")),
    "male": tasks.create(TargetSpec("male", "attribute")),
    "smiling": tasks.create(TargetSpec("smiling", "attribute")),
}
CASES = {
    "every kind of task": (tuple(ALL), 30),
    "the paper's three": (("segmentation", "depth", "normals"), 300),
    "one task, one epoch": (("depth",), 1),
    "only attributes": (("male", "smiling"), 3),
}


def make_history(names, epochs, validate_every=1):
    rng = np.random.default_rng(0)
    history = []
    for epoch in range(1, epochs + 1):
        decay = float(np.exp(-3 * epoch / epochs))
        record = {
            "epoch": epoch,
            "step": 10 * epoch,
            "train": {name: {"loss": 0.1 + decay} for name in names},
            "total": {"train": decay - 0.5},
            "sparsity": {
                "group_percent": 70 * (1 - decay),
                "parameter_percent": 80 * (1 - decay),
                "died": round(100 * decay),
                "revived": round(40 * decay),
            },
            "strength": 1e-5,
            "learning_rate": 1e-4,
            "network": {"parameters": 1000 - 500 * (epoch > epochs / 2), "channels": 100},
            "seconds": 1.5 + 3 * (epoch == 1),
            "seconds_after_steps": 0.5 + 2 * (epoch == 1),
            "compile_seconds": {"training": 3.0 * (epoch == 1), "evaluation": 2.0 * (epoch == 1)},
        }
        if epoch % validate_every == 0 or epoch == epochs:
            record["validation"] = {
                name: {"loss": 0.2 + decay, **{key: float(rng.uniform(0.2, 0.4)) for key in ALL[name].metric_info}}
                for name in names
            }
            record["total"]["validation"] = decay - 0.4
        history.append(record)
    return json.loads(json.dumps(history))


def make_layers(blocks, width=64):
    """The layers of a ResNet with bottlenecks, in the order of sorted names."""
    layers = {"backbone/stem_conv1": 3, "backbone/stem_conv2": width, "backbone/stem_conv3": width}
    channels = 2 * width
    for stage, number in enumerate(blocks, start=1):
        planes = width * 2 ** (stage - 1)
        for block in range(number):
            name = f"backbone/layer{stage}_{block}"
            layers |= {f"{name}/conv1": channels, f"{name}/conv2": planes, f"{name}/conv3": planes}
            if block == 0:
                layers[f"{name}/downsample"] = channels
            channels = 4 * planes
    rng = np.random.default_rng(0)
    return {
        name: {"groups": groups, "zero_groups": groups if rng.random() < 0.2 else int(groups * rng.random())}
        for name, groups in sorted(layers.items())
    }


def make_panel(names, examples=3, size=(48, 64)):
    rng = np.random.default_rng(0)
    normals = rng.standard_normal((examples, *size, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    targets = {
        "segmentation": rng.choice([0, 1, IGNORE], size=(examples, *size)).astype(np.uint8),
        "depth": rng.uniform(0, 5, (examples, *size)).astype(np.float32),
        "normals": normals,
        "male": np.arange(examples, dtype=np.int8) % 3 - 1,
        "smiling": np.ones(examples, np.int8),
    }
    predictions = {
        "segmentation": rng.choice([0, 2], size=(examples, *size)).astype(np.uint8),
        "depth": rng.uniform(0.1, 1, (examples, *size)).astype(np.float32),
        "normals": normals[::-1],
        "male": rng.uniform(0, 1, examples).astype(np.float32),
        "smiling": np.full(examples, 0.2, np.float32),
    }
    batch = {
        "image": rng.integers(0, 256, (examples, *size, 3)).astype(np.uint8),
        "targets": {name: targets[name] for name in names},
    }
    return batch, {name: predictions[name] for name in names}
