"""A network as a list of tensors and the convolutions that make and read them: what liveness and surgery walk over.

Every tensor of the backbone that a convolution reads is `ReLU(sum of normalised convolutions + identity)`; max pooling
keeps channels apart and constants constant, so the pooled stem is the stem's last tensor. Tensors are listed in the
order in which they are computed. Names are those of the parameters: "stem_conv2", "layer1_0/conv1", and "layer1_0" for
what the block emits.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from lim_jax.models import MultiTaskModel
from lim_jax.models.resnet import Architecture, ResNet
from lim_jax.ops import BATCH_NORM_EPSILON

PyTree = Any
IMAGE = "image"
IMAGE_CHANNELS = 3
SKIP = "skip"  # the convolution of a head that reads what the first stage emits
BORDER_KERNEL = "constant_kernel"  # its name among the parameters, as it is in checkpoints


@dataclasses.dataclass(frozen=True)
class Convolution:
    """A convolution of the backbone, or the first one of a head.

    Attributes:
      path: of its parameters, "backbone/layer1_0/conv1".
      source: the tensor that it reads.
      inputs: which of the source's channels it reads; None = all.
      reader: convolutions of the same source and the same reader read the same channels: a head is one reader.
    """

    path: str
    source: str
    inputs: tuple[int, ...] | None
    reader: str


@dataclasses.dataclass(frozen=True)
class Tensor:
    """What one or two convolutions and an identity path make.

    Attributes:
      name: see the module's docstring.
      width: number of channels.
      convolutions: those whose sum it is.
      identity: the tensor whose first channels are added, if any.
      stage: of a block's output, and of what an identity path carries into the stage's first block: the number of the
        stage. Its channels are added along the stage, so they have one order there.
    """

    name: str
    width: int
    convolutions: tuple[Convolution, ...] = ()
    identity: str | None = None
    stage: int | None = None


@dataclasses.dataclass(frozen=True)
class Graph:
    """The tensors, in the order in which they are computed, and the heads' convolutions that read them.

    Heads read the last one, and a head with a skip what the first stage emits.
    """

    tensors: tuple[Tensor, ...]
    heads: tuple[Convolution, ...]

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """All convolutions, in the order in which they are computed."""
        return tuple(conv for tensor in self.tensors for conv in tensor.convolutions) + self.heads


def build(model: MultiTaskModel, params: PyTree) -> Graph:
    """Returns the graph of a model; of the parameters, only the names of the heads' convolutions matter."""
    if not isinstance(model.backbone, ResNet):
        raise TypeError(f"cannot compact a backbone of type {type(model.backbone).__name__}")
    tensors = _backbone(model.backbone.architecture)
    heads = []
    for task, module in model.heads.items():
        reader = f"heads_{task}"
        for name in params.get(reader, {}):
            if name == "conv" or name.startswith("aspp_"):
                heads.append(Convolution(f"{reader}/{name}", tensors[-1].name, module.inputs, reader))
            elif name == SKIP:
                shallow = f"layer1_{len(model.backbone.architecture.stages[0]) - 1}"
                heads.append(Convolution(f"{reader}/{name}", shallow, module.skip_inputs, reader))
    return Graph(tuple(tensors), tuple(heads))


def _backbone(architecture: Architecture) -> list[Tensor]:
    tensors = [Tensor(IMAGE, IMAGE_CHANNELS)]

    def convolution(name: str, source: str, inputs: tuple[int, ...] | None) -> Convolution:
        return Convolution(f"backbone/{name}", source, inputs, name)

    for i, spec in enumerate(architecture.stem, start=1):
        name = f"stem_conv{i}"
        tensors.append(Tensor(name, spec.features, (convolution(name, tensors[-1].name, spec.inputs),)))
    if not architecture.stages[0][0].downsample:
        tensors[-1] = dataclasses.replace(tensors[-1], stage=1)
    for stage, blocks in enumerate(architecture.stages, start=1):
        for i, block in enumerate(blocks):
            name, entering = f"layer{stage}_{i}", tensors[-1].name
            source = entering
            for j, spec in enumerate(block.convs[:-1], start=1):
                inner = f"{name}/conv{j}"
                tensors.append(Tensor(inner, spec.features, (convolution(inner, source, spec.inputs),)))
                source = inner
            last = convolution(f"{name}/conv{len(block.convs)}", source, block.convs[-1].inputs)
            convolutions, identity = (last,), entering
            if block.downsample:
                identity = None
                convolutions += (convolution(f"{name}/downsample", entering, block.downsample_inputs),)
            tensors.append(Tensor(name, block.features, convolutions, identity, stage))
    return tensors


@dataclasses.dataclass(frozen=True)
class Weights:
    """The arrays of one convolution, in float64 where they are computed with, all of them present.

    Attributes:
      kernel: (k, k, number of channels read, features).
      border_kernel: (k, k, features): products with a channel of ones.
      scale, shift: (features,): what the normalisation (or the bias) makes of the products.
    """

    kernel: np.ndarray
    border_kernel: np.ndarray
    scale: np.ndarray
    shift: np.ndarray


def weights_of(conv: Convolution, width: int, variables: Mapping[str, PyTree]) -> Weights:
    """Returns the arrays of a convolution whose source has `width` channels; what it lacks is zero."""
    params, stats = (branch_of(variables[collection], conv.path) for collection in ("params", "batch_stats"))
    read = width if conv.inputs is None else len(conv.inputs)
    scale, shift = _normalisation(params, stats)
    kernels = [np.asarray(params[name]) for name in ("kernel", BORDER_KERNEL) if name in params]
    size = kernels[0].shape[0] if kernels else 1
    kernel = np.asarray(params.get("kernel", np.zeros((size, size, read, len(shift)), np.float32)))
    border_kernel = np.zeros((size, size, len(shift)))
    if BORDER_KERNEL in params:
        border_kernel = np.asarray(params[BORDER_KERNEL][:, :, 0], np.float64)
    return Weights(kernel, border_kernel, scale, shift)


def _normalisation(params: Mapping[str, Any], stats: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Returns scale and shift (features,) of a convolution's products, in float64."""
    if "bn" not in params:
        shift = np.asarray(params.get("bias", ()), np.float64)
        return np.ones_like(shift), shift
    weight, bias = (np.asarray(params["bn"][name], np.float64) for name in ("scale", "bias"))
    mean, variance = (np.asarray(stats["bn"][name], np.float64) for name in ("mean", "var"))
    scale = weight / np.sqrt(variance + BATCH_NORM_EPSILON)
    return scale, bias - mean * scale


def has_border_kernel(params: PyTree, path: str) -> bool:
    """Returns whether the convolution at a path has a kernel on a channel of ones."""
    return BORDER_KERNEL in branch_of(params, path)


def branch_of(tree: PyTree, path: str) -> dict[str, Any]:
    """Returns the branch of a tree of dicts at "a/b/c"; empty where there is none."""
    for name in path.split("/"):
        tree = tree.get(name, {})
    return tree


def to_host(tree: PyTree) -> PyTree:
    """Returns a tree of nested dicts with numpy arrays in the place of any arrays."""
    if isinstance(tree, Mapping):
        return {name: to_host(branch) for name, branch in tree.items()}
    return np.asarray(tree)
