"""ResNets, dilated to an output stride of 8.

A backbone is described by `Architecture`: the width, stride and dilation of every convolution, in the order
in which they run. `resnet50` and its like begin with one 7×7 convolution, as torchvision's do, `resnet50d` and its like
with three of 3×3. A network with fewer channels, whether narrowed by `width_multiplier` or compacted, is the same
module with other widths.

Any width may be 0: that convolution is not there, and what reads it is a constant. Along a stage blocks may emit fewer
channels than they get; the identity path then carries the first ones, so channels that are needed longest come first.

Names: `stem_conv1..`, then `layer{stage}_{block}` with `conv1..` and `downsample`, each `kernel` and `bn`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
from flax import linen as nn

from lim_jax import ops
from lim_jax.errors import UserError
from lim_jax.models import layers


class Kind(NamedTuple):
    """What tells one backbone from another.

    Attributes:
      blocks: the number of residual blocks of each stage.
      convs: of a block: two in a basic block, three in a bottleneck.
      stem: (width, kernel size) of each convolution of the stem, of which the first has stride 2.
    """

    blocks: tuple[int, ...]
    convs: int
    stem: tuple[tuple[int, int], ...]

    @property
    def is_deep(self) -> bool:
        """Whether it is one of the `d` ones."""
        return self.stem == DEEP_STEM


PLAIN_STEM = ((64, 7),)
DEEP_STEM = ((64, 3), (64, 3), (128, 3))
BACKBONES = {
    name + ending: Kind(blocks, convs, stem)
    for ending, stem in (("d", DEEP_STEM), ("", PLAIN_STEM))
    for name, blocks, convs in (
        ("resnet10", (1, 1, 1, 1), 2),
        ("resnet18", (2, 2, 2, 2), 2),
        ("resnet50", (3, 4, 6, 3), 3),
        ("resnet101", (3, 4, 23, 3), 3),
    )
}
# Where the dilated stages are dilated: "paper" as in the paper's code, "torchvision" as pretrained networks are.
DILATIONS = ("paper", "torchvision")
STAGE_WIDTHS = (64, 128, 256, 512)
STAGE_STRIDES = (1, 2, 1, 1)
STAGE_DILATIONS = (1, 1, 2, 4)
EXPANSION = 4  # output width of a bottleneck over its inner width
MIN_WIDTH = 8


class Features(NamedTuple):
    """What heads can read of a backbone.

    Attributes:
      deep: what the last stage emits, (N, ceil(H / 8), ceil(W / 8), channels).
      shallow: what the first stage emits, (N, ceil(H / 4), ceil(W / 4), channels); its cell (2i, 2j) lies where cell
        (i, j) of `deep` does.
    """

    deep: jax.Array
    shallow: jax.Array


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


def _convs(kind: Kind, width: int, stride: int, dilations: tuple[int, int]) -> tuple[ConvSpec, ...]:
    """Returns a block's convolutions; `dilations` are of a basic block's two, or a bottleneck's 3×3 takes the first."""
    first = ConvSpec(width, 3, stride=stride, dilation=dilations[0])
    if kind.convs == 2:
        return first, ConvSpec(width, 3, dilation=dilations[1])
    return ConvSpec(width, 1), first, ConvSpec(width * EXPANSION, 1)


def _dilations(kind: Kind, dilation: int, is_first: bool, placement: str) -> tuple[int, int]:
    """Returns the dilations of a block's two 3×3 convolutions in a stage of some dilation, for `_convs`."""
    if placement == "paper":
        return (1 if kind.convs == 2 else dilation), dilation
    # The convolution that would have had the stride reads what the stage before wrote, at half the distance.
    return (max(dilation // 2, 1) if is_first else dilation), dilation


def architecture(name: str, width_multiplier: float = 1.0, dilations: str = "auto") -> Architecture:
    """Describes the backbone `name`, with all widths multiplied and rounded, 8 channels at least.

    Args:
      name: one of `BACKBONES`.
      width_multiplier: factor on the number of channels.
      dilations: which convolutions of a dilated stage have its dilation. "torchvision": all 3×3, but the first of the
        stage has half of it, as pretrained networks are dilated. "paper": of a basic block the second, of bottlenecks
        all. "auto": "paper" for the `d` ones, "torchvision" for the others.

    Raises:
      UserError: no backbone has that name, or the multiplier is not positive.
    """
    if name not in BACKBONES:
        raise UserError(f"there is no backbone {name!r}; choose one of {', '.join(BACKBONES)}")
    if not width_multiplier > 0:
        raise UserError(f"width_multiplier is {width_multiplier}; it must be positive")
    kind = BACKBONES[name]
    placement = dilations if dilations != "auto" else ("paper" if kind.is_deep else "torchvision")

    def scaled(width: int) -> int:
        return max(MIN_WIDTH, round(width * width_multiplier))

    stem = tuple(ConvSpec(scaled(width), size, stride=2 if i == 0 else 1) for i, (width, size) in enumerate(kind.stem))
    stages, entering = [], kind.stem[-1][0]
    for blocks, width, stride, dilation in zip(kind.blocks, STAGE_WIDTHS, STAGE_STRIDES, STAGE_DILATIONS, strict=True):
        first = _convs(kind, scaled(width), stride, _dilations(kind, dilation, True, placement))
        other = _convs(kind, scaled(width), 1, _dilations(kind, dilation, False, placement))
        emitted = width * (EXPANSION if kind.convs == 3 else 1)
        downsample = stride != 1 or entering != emitted
        stages.append((BlockSpec(first, downsample), *(BlockSpec(other),) * (blocks - 1)))
        entering = emitted
    return Architecture(stem, tuple(stages))


def backbone(name: str, width_multiplier: float = 1.0, *, dtype: str = "float32", dilations: str = "auto") -> "ResNet":
    """Returns the backbone `name`: "resnet10", "resnet18", "resnet50", "resnet101"; "resnet10d" etc. have a deep stem.

    Args:
      name: which.
      width_multiplier: factor on the number of channels of every convolution.
      dtype: dtype of the computation; parameters are float32.
      dilations: see `architecture`.

    Raises:
      UserError: no backbone has that name, or the multiplier is not positive.
    """
    return ResNet(architecture(name, width_multiplier, dilations), dtype=dtype)


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
    def __call__(
        self, images: jax.Array, train: bool = False, axis_name: str | None = None, with_shallow: bool = False
    ) -> Any:
        """Computes the features that all heads share.

        Args:
          images: float32 (N, H, W, 3), normalised (`models.normalize_images`).
          train: normalise by the batch's moments and update the running ones (`batch_stats` must be mutable).
          axis_name: the axis over which the batch is distributed, if it is.
          with_shallow: return `Features`.

        Returns:
          (N, ceil(H / 8), ceil(W / 8), channels); cell (i, j) is centred on pixel (8i, 8j).
        """
        x = images
        for i, conv in enumerate(self.architecture.stem, start=1):
            x = _conv_norm(self, conv, f"stem_conv{i}")(x, train, axis_name)
            x = ops.relu(x, train=train, forms=self.forms)
        x = ops.max_pool(x, window=3, stride=2, padding=1, forms=self.forms)
        block_type: Any = nn.remat(Block, static_argnums=(2, 3)) if self.recompute else Block
        emitted = []
        for stage, blocks in enumerate(self.architecture.stages, start=1):
            for i, block in enumerate(blocks):
                module = block_type(block, self.dtype, self.folded, self.forms, name=f"layer{stage}_{i}")
                x = module(x, train, axis_name)
            emitted.append(x)
        return Features(emitted[-1], emitted[0]) if with_shallow else x


def _conv_norm(module: Block | ResNet, spec: ConvSpec, name: str) -> layers.ConvNorm:
    attributes = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
    return layers.ConvNorm(**attributes, dtype=module.dtype, folded=module.folded, forms=module.forms, name=name)
