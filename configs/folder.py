"""Your own images, sized by how many there are: `--config=folder:DIR`; docs/guides/own_images.md says what DIR holds.

    lim-jax train --config=folder:DIR         a small network, for a CPU
    lim-jax train --config=folder:DIR:gpu     ResNet-50 at 256×256, for a GPU

All tasks of DIR's tasks.yaml are trained (`--config.tasks=...` chooses some), and half of the groups are to be zero in
the end (`--config.sparsity.target=0` for a dense network). An epoch is a pass over the training images: there are more
of them where there are few images, such that the network sees 12,000 images in all on a CPU and 200,000 on a GPU.
`--config=folder` alone takes `--config.dataset.source_dir=DIR` and `--config.tasks=...`, and knows no number of images.
"""

import pathlib

import ml_collections

from lim_jax.configs import common

_GPU = ":gpu"
_FEWEST_EPOCHS, _MOST_EPOCHS = 20, 500


def get_config(variant: str = "") -> ml_collections.ConfigDict:
    """Returns the configuration; `variant` is "DIR", "DIR:gpu", "gpu" or empty.

    Raises:
      UserError: DIR's files are missing or not understood.
    """
    gpu = f":{variant}".endswith(_GPU)
    source_dir = f":{variant}".removesuffix(_GPU).removeprefix(":")
    config = common.get_config()
    config.dataset.name = "folder"
    config.dataset.source_dir = source_dir
    config.model.image_head = "linear"
    config.sparsity.target = 0.5
    config.num_epochs = 100
    if not gpu:
        config.dataset.image_size = (128, 128)
        config.model.backbone = "resnet18d"
        config.model.width_multiplier = 0.25
        config.model.head = "deeplabv3plus"
        config.model.head_channels = 64
        config.batch_size = 8
        config.learning_rate = 1e-3
        config.learning_rate_schedule = "cosine"
        config.early_stopping_patience = 0  # the last epochs, those of the smallest rates, matter most
    return _sized(config, pathlib.Path(source_dir), 200_000 if gpu else 12_000) if source_dir else config


def _sized(config: ml_collections.ConfigDict, source_dir: pathlib.Path, images_seen: int) -> ml_collections.ConfigDict:
    """Returns the configuration with the folder's tasks, and epochs and a batch that suit its number of images."""
    from lim_jax.data.sources import folder

    described = folder.describe(str(source_dir), follow_links=True)  # whether it may is looked at when it is opened
    number = len(described.of("train"))
    config.tasks = tuple(described.targets)
    config.batch_size = max(min(config.batch_size, number), 1)
    config.num_epochs = min(max(images_seen // max(number, 1), _FEWEST_EPOCHS), _MOST_EPOCHS)
    if config.early_stopping_patience:
        config.early_stopping_patience = max(config.num_epochs // 4, 10)
    return config
