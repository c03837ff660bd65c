"""What the tests of the training loop share: a tiny configuration on a few rendered rooms.

It is a configuration file like those in `configs/`, too: `--config=tests/training/tiny.py:DATA_DIR`.
"""

import pathlib

import ml_collections

from configs import rooms


def tiny_config(data_dir: pathlib.Path | str) -> ml_collections.ConfigDict:
    """Returns a configuration that trains in seconds: 24 images, two tasks, the smallest network."""
    config = rooms.get_config()
    config.tasks = ("depth", "normals")
    config.dataset.data_dir = str(data_dir)
    config.dataset.image_size = (32, 40)
    config.dataset.split_sizes = (24, 9, 10)
    config.model.backbone, config.model.width_multiplier = "resnet10d", 0.125
    config.model.head, config.model.head_channels = "deeplabv3", 8
    config.learning_rate, config.learning_rate_schedule = 1e-3, "constant"
    config.batch_size = 8
    config.num_epochs = 2
    config.num_devices = 1
    config.sparsity.strength = 3e-3
    return config


get_config = tiny_config
