"""What a run needs at the very least, counted from shapes: refused before it is started where no machine has that.

Counted are parameters, gradients and Adam's two moments, and of the activations that a gradient needs those between
blocks. The truth is larger; these are for what is off by powers of ten, such as a width multiplier of a million.
"""

import os
import shutil
from collections.abc import Sequence
from typing import Any

from lim_jax.config.values import Config
from lim_jax.errors import UserError

_COPIES = 4  # of each parameter in float32: itself, its gradient, two moments
_ROOM_PIXEL = 14  # bytes: image, classes, depth and normals
_COMPRESSION = 4  # at best, of rendered rooms


def check_resources(config: Config, devices: Sequence[Any]) -> None:
    """Refuses a run whose network no device can hold, or whose rooms no disk can; computes nothing.

    Args:
      config: as `checked` returned it.
      devices: of this process.

    Raises:
      UserError: says how much it needs and how much there is.
    """
    import jax

    from lim_jax.runtime.devices import memory_of

    _refuse_too_many_rooms(config)
    share = max(config.batch_size // (len(devices) * jax.process_count()), 1)
    state, activations = memory(config, share)
    available = memory_of(devices[0])
    if state + activations <= available:
        return
    if state > activations:
        keys = {
            "model.width_multiplier": config.model.width_multiplier,
            "model.head_channels": config.model.head_channels,
        }
    else:
        key, (height, width) = _trained_size(config)
        keys = {"batch_size": config.batch_size, key: f"{height},{width}"}
    given = " or ".join(f"config.{key}={value}" for key, value in keys.items())
    raise UserError(
        f"this needs about {as_bytes(state + activations)} of memory ({as_bytes(state)} for parameters and the "
        f"optimizer, {as_bytes(activations)} for {share} images at a time), and there are {as_bytes(available)}: "
        f"lower {given}"
    )


def memory(config: Config, num_images: int) -> tuple[int, int]:
    """Returns the bytes on a device, at least: those of parameters and optimizer, and those of activations.

    Args:
      config: as `checked` returned it.
      num_images: at a time, on one device.
    """
    from lim_jax import tasks
    from lim_jax.data import datasets
    from lim_jax.models import resnet

    architecture = resnet.architecture(config.model.backbone, config.model.width_multiplier)
    parameters, activations, features = _backbone(architecture, *_trained_size(config)[1])
    targets = datasets.targets(config.dataset)
    for task in config.tasks:
        head = tasks.create(targets[task]).head_settings(config)["name"]
        parameters += _head(head, features, config.model.head_channels)
    size = 2 if config.dtype == "bfloat16" else 4
    copies = _COPIES + (config.ema_decay > 0) + (config.accumulation_steps > 1)
    return 4 * copies * parameters, size * num_images * activations


def as_bytes(number: float) -> str:
    """Returns a number of bytes for people: "4.1 TB"."""
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} EB"


def _backbone(architecture: Any, height: int, width: int) -> tuple[int, int, int]:
    """Returns the numbers of its parameters, of what it emits between blocks for an image, and of its features."""
    parameters = activations = 0
    channels, cells = 3, height * width
    for conv in architecture.stem:
        parameters += conv.kernel_size**2 * channels * conv.features
        channels, cells = conv.features, cells // conv.stride**2
        activations += cells * channels
    cells //= 4  # max pooling
    for block in (block for stage in architecture.stages for block in stage):
        parameters += channels * block.features if block.downsample else 0
        for conv in block.convs:
            parameters += conv.kernel_size**2 * channels * conv.features
            channels = conv.features
        cells //= block.stride**2
        activations += cells * channels
    return parameters, activations, channels


def _trained_size(config: Config) -> tuple[str, tuple[int, int]]:
    """Returns which key says how large training images are, and the (height, width)."""
    if any(config.augmentation.crop_size):
        return "augmentation.crop_size", config.augmentation.crop_size
    return "dataset.image_size", config.dataset.image_size


def _head(name: str, features: int, channels: int) -> int:
    """Returns the parameters of a head, at least: those that read the features, and DeepLab's 3×3 convolution."""
    if name == "linear":
        return features
    if name == "classifier":
        return 9 * features * (channels // 4)
    return 29 * features * channels + 14 * channels**2


def _refuse_too_many_rooms(config: Config) -> None:
    if config.dataset.name != "rooms":
        return
    from lim_jax.data import records

    height, width = config.dataset.image_size
    needed = _ROOM_PIXEL * height * width * sum(config.dataset.split_sizes)
    folder = records.data_dir(config.dataset.data_dir or None)
    existing = next(path for path in (folder, *folder.absolute().parents) if os.path.isdir(path))
    available = shutil.disk_usage(existing).total
    if needed > _COMPRESSION * available:
        sizes = ",".join(map(str, config.dataset.split_sizes))
        raise UserError(
            f"this needs about {as_bytes(needed)} on the disk of {folder}, which has {as_bytes(available)}: lower "
            f"config.dataset.split_sizes={sizes} or config.dataset.image_size={height},{width}"
        )
