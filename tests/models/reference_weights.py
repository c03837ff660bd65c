"""Weights, images and features rebuilt from their names, so that reference outputs need no stored weights."""

import zlib
from typing import Any

import jax
import numpy as np
from flax import linen as nn


def normal(tag: str, shape: tuple[int, ...]) -> np.ndarray:
    """Returns float32 standard normal numbers that depend on `tag` only."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(tag.encode())))
    return generator.standard_normal(shape).astype(np.float32)


def images(size: tuple[int, int] = (64, 64), tag: str = "open/") -> np.ndarray:
    """Returns the reference images, two of them, NHWC."""
    return normal(f"{tag}image", (2, 3, *size)).transpose(0, 2, 3, 1)


def features(channels: int = 512, size: tuple[int, int] = (8, 8), tag: str = "open/") -> np.ndarray:
    """Returns the features that the heads are tested on, two maps, NHWC."""
    return np.abs(normal(f"{tag}features", (2, channels, *size))).transpose(0, 2, 3, 1)


def _tensor(prefix: str, name: str, shape: tuple[int, ...]) -> np.ndarray:
    z = normal(prefix + name, shape)
    kind = name.split(".")[-1]
    if kind == "running_var":
        return 1 + np.float32(0.25) * np.abs(z)
    if kind in ("running_mean", "bias"):
        return np.float32(0.1) * z
    if len(shape) == 1:
        return 1 + np.float32(0.1) * z
    return z * np.float32(np.sqrt(2 / np.prod(shape[1:])))


def state_dict(shapes: dict[str, tuple[int, ...]], prefix: str) -> dict[str, np.ndarray]:
    """Returns {torch name: array} for the given torch shapes (kernels OIHW)."""
    return {name: _tensor(prefix, name, shape) for name, shape in shapes.items()}


def _norm_shapes(name: str, width: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{array}": (width,) for array in ("weight", "bias", "running_mean", "running_var")}


# By layout: the names of each convolution of the stem and of its normalisation.
STEMS = {
    "paper": (("stem1.0", "stem1.1"), ("stem1.3", "stem1.4"), ("stem1.6", "stem1.7")),
    "timm": (("conv1.0", "conv1.1"), ("conv1.3", "conv1.4"), ("conv1.6", "bn1")),
    "torchvision": (("conv1", "bn1"),),
}


def backbone_shapes(name: str, layout: str = "paper", narrower: int = 1) -> dict[str, tuple[int, ...]]:
    """Returns {torch name: shape} of a backbone in one of the `STEMS`' layouts, all widths divided by `narrower`."""
    shapes: dict[str, tuple[int, ...]] = {}

    def conv(name: str, norm: str, inputs: int, outputs: int, size: int) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs, size, size)
        shapes.update(_norm_shapes(norm, outputs))

    width = 3
    size = 7 if layout == "torchvision" else 3
    for (stem_conv, norm), outputs in zip(STEMS[layout], (64, 64, 128), strict=False):
        conv(stem_conv, norm, width, outputs // narrower, size)
        width = outputs // narrower
    basic = name.startswith("resnet18")
    counts = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}[name.removesuffix("d")]
    for stage, (planes, blocks) in enumerate(zip((64, 128, 256, 512), counts, strict=True), start=1):
        planes //= narrower
        convs = [(planes, 3), (planes, 3)] if basic else [(planes, 1), (planes, 3), (4 * planes, 1)]
        for block in range(blocks):
            prefix, inputs = f"layer{stage}.{block}", width
            for i, (outputs, size) in enumerate(convs, start=1):
                conv(f"{prefix}.conv{i}", f"{prefix}.bn{i}", inputs, outputs, size)
                inputs = outputs
            if block == 0 and (stage > 1 or width != inputs):
                conv(f"{prefix}.downsample.0", f"{prefix}.downsample.1", width, inputs, 1)
            width = inputs
    return shapes


def deeplab_shapes(num_outputs: int, inputs: int = 512, channels: int = 256) -> dict[str, tuple[int, ...]]:
    """Returns {torch name: shape} of a deeplab head."""
    shapes: dict[str, tuple[int, ...]] = {}
    for conv, norm, reads, size in (
        ("0.convs.0.0", "0.convs.0.1", inputs, 1),
        ("0.convs.1.0", "0.convs.1.1", inputs, 3),
        ("0.convs.2.0", "0.convs.2.1", inputs, 3),
        ("0.convs.3.0", "0.convs.3.1", inputs, 3),
        ("0.convs.4.1", "0.convs.4.2", inputs, 1),
        ("0.project.0", "0.project.1", 5 * channels, 1),
        ("1", "2", channels, 3),
    ):
        shapes[f"{conv}.weight"] = (channels, reads, size, size)
        shapes |= _norm_shapes(norm, channels)
    return shapes | {"4.weight": (num_outputs, channels, 1, 1), "4.bias": (num_outputs,)}


def classifier_shapes(inputs: int = 512) -> dict[str, tuple[int, ...]]:
    """Returns {torch name: shape} of a classifier head."""
    return {
        "conv.weight": (64, inputs, 3, 3),
        "conv.bias": (64,),
        "fc1.weight": (32, 64),
        "fc1.bias": (32,),
        "fc2.weight": (1, 32),
        "fc2.bias": (1,),
    }


def variables(module: nn.Module, images: np.ndarray) -> dict[str, Any]:
    """Returns random variables of a module, float32; unlike `module.init` without compiling anything."""

    def leaf(path, shape):
        name = jax.tree_util.keystr(path)
        if shape.ndim > 1:
            return normal(name, shape.shape) * np.float32(np.sqrt(2 / np.prod(shape.shape[:-1])))
        return np.float32(name.endswith(("['scale']", "['var']"))) + np.float32(0.1) * np.abs(normal(name, shape.shape))

    return jax.tree.map_with_path(leaf, jax.eval_shape(module.init, jax.random.key(0), images))
