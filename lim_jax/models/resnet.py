"""ResNet-D-like backbones, dilated to an output stride of 8.

A backbone is described by `Architecture`: the width, stride and dilation of every convolution, in the order
in which they run. `resnet18d`, `resnet50d`, `resnet101d` are three such descriptions; a network with fewer
channels, whether narrowed by `width_multiplier` or compacted, is the same module with other widths.

Any width may be 0: that convolution is not there, and what reads it is a constant. Along a stage blocks may emit fewer
channels than they get; the identity path then carries the first ones, so channels that are needed longest come first.

Names: `stem_conv1..3`, then `layer{stage}_{block}` with `conv1..` and `downsample`, each `kernel` and `bn`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from flax import linen as nn

from lim_jax import ops
from lim_jax.errors import UserError
from lim_jax.models import layers

BLOCKS = {"resnet18d": (2, 2, 2, 2), "resnet50d": (3, 4, 6, 3), "resnet101d": (3, 4, 23, 3)}
STEM_WIDTHS = (64, 64, 128)
STAGE_WIDTHS = (64, 128, 256, 512)
STAGE_STRIDES = (1, 2, 1, 1)
STAGE_DILATIONS = (1, 1, 2, 4)
EXPANSION = 4  # output width of a bottleneck over its inner width
MIN_WIDTH = 8


@dataclasses.dataclass(frozen=True)
class ConvSpec:
    """One convolution; attributes as of `layers.ConvNorm`."""

    features: int
    kernel_size: int
    stride: int = 1
    dilation: int = 1
    inputs: tuple[int, ...] | None = None
    constant: bool = False

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "ConvSpec":
        """Rebuilds a convolution from its dict (a list stands for a tuple)."""
        return cls(**{**fields, "inputs": _channels(fields.get("inputs"))})


@dataclasses.dataclass(frozen=True)
class BlockSpec:
    """One residual block.

    Attributes:
      convs: the convolutions of its residual path, in order; two in a basic block, three in a bottleneck.
      downsample: whether the identity path is a 1×1 convolution, needed where the size or the width changes.
      downsample_inputs: the channels that it reads; None = all.
    """

    convs: tuple[ConvSpec, ...]
    downsample: bool = False
    downsample_inputs: tuple[int, ...] | None = None

    @property
    def features(self) -> int:
        """Channels that the block emits."""
        return self.convs[-1].features

    @property
    def stride(self) -> int:
        """Cells of the block's input per cell of its output, along one axis."""
        return max(conv.stride for conv in self.convs)


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A whole backbone: the convolutions of the stem, before max pooling, and the blocks of each stage."""

    stem: tuple[ConvSpec, ...]
    stages: tuple[tuple[BlockSpec, ...], ...]

    def to_json(self) -> dict[str, Any]:
        """Returns a JSON-serialisable dict; `from_json` is its inverse."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> "Architecture":
        """Rebuilds an architecture from `to_json`'s dict (lists stand for tuples)."""
        return cls(
            stem=tuple(map(ConvSpec.from_json, fields["stem"])),
            stages=tuple(tuple(_block_from_json(block) for block in stage) for stage in fields["stages"]),
        )


def _block_from_json(fields: Mapping[str, Any]) -> BlockSpec:
    convs = tuple(map(ConvSpec.from_json, fields["convs"]))
    return BlockSpec(convs, fields["downsample"], _channels(fields.get("downsample_inputs")))


def _channels(value: Sequence[int] | None) -> tuple[int, ...] | None:
    return None if value is None else tuple(value)


def _basic(width: int, stride: int, dilation: int, downsample: bool) -> BlockSpec:
    # As in the paper's code, the stage's dilation is in the second convolution only.
    return BlockSpec((ConvSpec(width, 3, stride=stride), ConvSpec(width, 3, dilation=dilation)), downsample)


def _bottleneck(width: int, stride: int, dilation: int, downsample: bool) -> BlockSpec:
    inner = ConvSpec(width, 3, stride=stride, dilation=dilation)
    return BlockSpec((ConvSpec(width, 1), inner, ConvSpec(width * EXPANSION, 1)), downsample)


def architecture(name: str, width_multiplier: float = 1.0) -> Architecture:
    """Describes the backbone `name`, with all widths multiplied and rounded, 8 channels at least.

    Raises:
      UserError: no backbone has that name, or the multiplier is not positive.
    """
    if name not in BLOCKS:
        raise UserError(f"there is no backbone {name!r}; choose one of {', '.join(BLOCKS)}")
    if not width_multiplier > 0:
        raise UserError(f"width_multiplier is {width_multiplier}; it must be positive")

    def scaled(width: int) -> int:
        return max(MIN_WIDTH, round(width * width_multiplier))

    stem = tuple(ConvSpec(scaled(width), 3, stride=2 if i == 0 else 1) for i, width in enumerate(STEM_WIDTHS))
    make_block = _basic if name == "resnet18d" else _bottleneck
    stages = []
    for blocks, width, stride, dilation in zip(BLOCKS[name], STAGE_WIDTHS, STAGE_STRIDES, STAGE_DILATIONS, strict=True):
        first = make_block(scaled(width), stride, dilation, True)
        other = make_block(scaled(width), 1, dilation, False)
        stages.append((first,) + (other,) * (blocks - 1))
    return Architecture(stem, tuple(stages))


def backbone(name: str, width_multiplier: float = 1.0, *, dtype: str = "float32") -> "ResNet":
    """Returns the backbone `name` ("resnet18d", "resnet50d" or "resnet101d").

    Args:
      name: which.
      width_multiplier: factor on the number of channels of every convolution.
      dtype: dtype of the computation; parameters are float32.

    Raises:
      UserError: no backbone has that name, or the multiplier is not positive.
    """
    return ResNet(architecture(name, width_multiplier), dtype=dtype)


class Block(nn.Module):
    """A residual block: the convolutions of `spec`, ReLU between them, plus the identity path, then ReLU.

    Attributes:
      spec: its convolutions.
      dtype, folded, forms: as of `layers.ConvNorm`.
    """

    spec: BlockSpec
    dtype: str = "float32"
    folded: bool = False
    forms: ops.Forms = ops.REFERENCE

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False, axis_name: str | None = None) -> jax.Array:
        """Maps (N, H, W, C) to (N, ceil(H / stride), ceil(W / stride), features)."""
        identity = x
        for i, conv in enumerate(self.spec.convs, start=1):
            x = x if i == 1 else ops.relu(x, train=train, forms=self.forms)
            x = _conv_norm(self, conv, f"conv{i}")(x, train, axis_name)
        if self.spec.downsample:
            conv = ConvSpec(self.spec.features, 1, stride=self.spec.stride, inputs=self.spec.downsample_inputs)
            x = x + _conv_norm(self, conv, "downsample")(identity, train, axis_name)
        elif identity.shape[-1]:  # otherwise what came in was constant, and the residual path has it in its biases
            x = x + identity[..., : self.spec.features]
        return ops.relu(x, train=train, forms=self.forms)


class ResNet(nn.Module):
    """A backbone: stem, max pooling, stages of residual blocks.

    Attributes:
      architecture: the widths, strides and dilations.
      dtype: dtype of the computation and of the features.
      folded: batch norm is folded into the convolutions, for inference only (`compaction.fold_batch_norm`).
      recompute: a gradient computes what lies inside a block again instead of having kept it: less memory, more time.
      forms: how everything is computed.
    """

    architecture: Architecture
    dtype: str = "float32"
    folded: bool = False
    recompute: bool = False
    forms: ops.Forms = ops.REFERENCE

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False, axis_name: str | None = None) -> jax.Array:
        """Computes the features that all heads share.

        Args:
          images: float32 (N, H, W, 3), normalised (`models.normalize_images`).
          train: normalise by the batch's moments and update the running ones (`batch_stats` must be mutable).
          axis_name: the axis over which the batch is distributed, if it is.

        Returns:
          (N, ceil(H / 8), ceil(W / 8), channels); cell (i, j) is centred on pixel (8i, 8j).
        """
        x = images
        for i, conv in enumerate(self.architecture.stem, start=1):
            x = _conv_norm(self, conv, f"stem_conv{i}")(x, train, axis_name)
            x = ops.relu(x, train=train, forms=self.forms)
        x = ops.max_pool(x, window=3, stride=2, padding=1, forms=self.forms)
        block_type: Any = nn.remat(Block, static_argnums=(2, 3)) if self.recompute else Block
        for stage, blocks in enumerate(self.architecture.stages, start=1):
            for i, block in enumerate(blocks):
                module = block_type(block, self.dtype, self.folded, self.forms, name=f"layer{stage}_{i}")
                x = module(x, train, axis_name)
        return x


def _conv_norm(module: Block | ResNet, spec: ConvSpec, name: str) -> layers.ConvNorm:
    attributes = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    return layers.ConvNorm(**attributes, dtype=module.dtype, folded=module.folded, forms=module.forms, name=name)
