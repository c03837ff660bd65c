"""The same network as a PyTorch user trains it today: channels last, bfloat16 autocast, fused AdamW, no proximal step.

The baseline of a training step on a GPU. Modules have the names of lim_jax's parameters, whose numbers `load` takes;
with them both compute the same outputs (tests/scripts/test_torch_modern.py). float32 uses TF32, as XLA does by default.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.job import OUTPUTS, Job
from benchmarks.random_batch import batch

_BLOCKS = {"resnet18d": (2, 2, 2, 2), "resnet50d": (3, 4, 6, 3), "resnet101d": (3, 4, 23, 3)}
_STAGES = ((64, 1, 1), (128, 2, 1), (256, 1, 2), (512, 1, 4))  # width, stride, dilation
_OUTPUT_STRIDE = 8
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ConvNorm(nn.Module):
    """A convolution, padded to keep the size, and batch norm."""

    def __init__(self, inputs: int, features: int, kernel_size: int = 1, stride: int = 1, dilation: int = 1):
        super().__init__()
        padding = dilation * (kernel_size // 2)
        self.conv = nn.Conv2d(inputs, features, kernel_size, stride, padding, dilation, bias=False)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")
        self.bn = nn.BatchNorm2d(features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(x))


class Block(nn.Module):
    """A residual block: the convolutions (features, kernel size, stride, dilation), ReLU between them, the identity."""

    def __init__(self, inputs: int, convs: Sequence[tuple[int, int, int, int]], downsample: bool):
        super().__init__()
        sizes = [inputs, *(conv[0] for conv in convs)]
        for i, (before, conv) in enumerate(zip(sizes, convs, strict=False), start=1):
            self.add_module(f"conv{i}", ConvNorm(before, *conv))
        self.count = len(convs)
        stride = max(conv[2] for conv in convs)
        self.downsample = ConvNorm(inputs, sizes[-1], 1, stride) if downsample else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        residual = self.conv1(x)
        for i in range(2, self.count + 1):
            residual = getattr(self, f"conv{i}")(functional.relu(residual, inplace=True))
        return functional.relu(residual + self.downsample(x), inplace=True)


class Backbone(nn.Sequential):
    """The dilated ResNet."""

    def __init__(self, name: str, multiplier: float):
        super().__init__()

        def scaled(width: int) -> int:
            return max(8, round(width * multiplier))

        features = 3
        for i, width in enumerate((64, 64, 128), start=1):
            self.add_module(f"stem_conv{i}", ConvNorm(features, scaled(width), 3, 2 if i == 1 else 1))
            self.add_module(f"stem_relu{i}", nn.ReLU(inplace=True))
            features = scaled(width)
        self.add_module("pool", nn.MaxPool2d(3, 2, 1))
        for stage, (number, (width, stride, dilation)) in enumerate(zip(_BLOCKS[name], _STAGES, strict=True), start=1):
            for i in range(number):
                convs = _convolutions(name, scaled(width), stride if i == 0 else 1, dilation)
                self.add_module(f"layer{stage}_{i}", Block(features, convs, downsample=i == 0))
                features = convs[-1][0]
        self.features = features


def _convolutions(name: str, width: int, stride: int, dilation: int) -> list[tuple[int, int, int, int]]:
    if name == "resnet18d":
        return [(width, 3, stride, 1), (width, 3, 1, dilation)]
    return [(width, 1, 1, 1), (width, 3, stride, dilation), (4 * width, 1, 1, 1)]


class Head(nn.Module):
    """The DeepLab head."""

    def __init__(self, inputs: int, outputs: int, channels: int, dropout: float):
        super().__init__()
        self.aspp_pointwise = ConvNorm(inputs, channels)
        for i, rate in enumerate((12, 24, 36), start=1):
            self.add_module(f"aspp_dilated{i}", ConvNorm(inputs, channels, 3, 1, rate))
        self.aspp_pooled = ConvNorm(inputs, channels)
        self.project = ConvNorm(5 * channels, channels)
        self.refine = ConvNorm(channels, channels, 3)
        self.logits = nn.Conv2d(channels, outputs, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        relu = functional.relu
        branches = [self.dropout(relu(self.aspp_pointwise(features)))]
        branches += [relu(branch(features)) for branch in (self.aspp_dilated1, self.aspp_dilated2, self.aspp_dilated3)]
        pooled = relu(self.aspp_pooled(features.mean((2, 3), keepdim=True)))
        branches.append(pooled.expand_as(branches[0]))
        x = self.dropout(relu(self.project(torch.cat(branches, dim=1))))
        return self.logits(relu(self.refine(x)))


class TorchModel(nn.Module):
    """Backbone, run once, and heads: normalised images (N, 3, H, W) -> float32 logits per task, (N, C, H/8, W/8)."""

    def __init__(self, job: Job, dropout: float = 0.3):
        super().__init__()
        self.backbone = Backbone(job.backbone, job.width_multiplier)
        for task, outputs in OUTPUTS.items():
            self.add_module(f"heads_{task}", Head(self.backbone.features, outputs, job.head_channels, dropout))

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.backbone(images)
        return {task: getattr(self, f"heads_{task}")(features).float() for task in OUTPUTS}


def load(model: TorchModel, variables: Mapping[str, Any]) -> None:
    """Gives the model lim_jax's parameters and batch statistics."""
    state = {}
    for collection in ("params", "batch_stats"):
        for path, leaf in _leaves(variables[collection]):
            *module, name = path
            if name == "kernel":
                module = [*module, "conv"] if module[-1] != "logits" else module
                leaf = np.transpose(leaf, (3, 2, 0, 1))
            renamed = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
            state[".".join([*module, renamed.get(name, name)])] = torch.from_numpy(np.array(leaf))
    missing, unexpected = model.load_state_dict(state, strict=False)
    wrong = [name for name in missing if not name.endswith("num_batches_tracked")] + unexpected
    if wrong:
        raise ValueError(f"lim_jax's parameters and this model's differ: {', '.join(wrong)}")


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, branch in tree.items():
        if isinstance(branch, Mapping):
            yield from _leaves(branch, (*path, name))
        else:
            yield (*path, name), branch


def prepare(job: Job) -> Callable[[], Any]:
    """Returns a function that runs the job once; the GPU, if there is one, has to be waited for."""
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    return {"step": _step, "inference": _inference}[job.what](job)


def _step(job: Job) -> Callable[[], Any]:
    device, model = _on_device(job)
    log_variances = {task: nn.Parameter(torch.zeros((), device=device)) for task in OUTPUTS}
    optimizer = torch.optim.AdamW([*model.parameters(), *log_variances.values()], lr=1e-4, weight_decay=0.1, fused=True)
    images, targets = _batch(job, device)

    def step() -> None:
        with _precision(job, device):
            logits = model(_normalized(images))
        optimizer.zero_grad(set_to_none=True)
        losses = _losses(logits, targets)
        total = sum(torch.exp(-log_variances[task]) * loss + log_variances[task] for task, loss in losses.items())
        total.backward()
        optimizer.step()

    return step


def _inference(job: Job) -> Callable[[], Any]:
    device, model = _on_device(job)
    model.eval()
    images, _ = _batch(job, device)

    def forward() -> Any:
        with torch.no_grad(), _precision(job, device):
            return model(_normalized(images))

    return forward


def _on_device(job: Job) -> tuple[torch.device, TorchModel]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return device, TorchModel(job).to(device, memory_format=torch.channels_last)


def _precision(job: Job, device: torch.device) -> torch.autocast:
    return torch.autocast(device.type, torch.bfloat16, enabled=job.dtype == "bfloat16")


def _batch(job: Job, device: torch.device) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Returns the batch that lim_jax gets, channels first in shape and last in memory, depths relative."""
    found = batch(job)
    targets = found["targets"]
    prepared = {
        "segmentation": torch.from_numpy(targets["segmentation"]).long(),
        "normals": torch.from_numpy(targets["normals"]).permute(0, 3, 1, 2),
        "depth": torch.from_numpy(targets["depth"] / targets["depth"].max((1, 2), keepdims=True))[:, None],
    }
    images = torch.from_numpy(found["image"]).permute(0, 3, 1, 2)
    return images.to(device), {task: target.to(device) for task, target in prepared.items()}


def _normalized(images: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (_MEAN, _STD))
    return (images.float() / 255 - mean) / std


def _losses(logits: Mapping[str, torch.Tensor], targets: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns the losses of the cells, whose targets are those of the pixels that they are centred on."""
    cells = {task: target[..., ::_OUTPUT_STRIDE, ::_OUTPUT_STRIDE] for task, target in targets.items()}
    segmentation = functional.cross_entropy(
        logits["segmentation"], cells["segmentation"], ignore_index=255, label_smoothing=0.1
    )
    cosines = functional.cosine_similarity(torch.tanh(logits["normals"]), cells["normals"], dim=1)
    depth = functional.mse_loss(torch.sigmoid(logits["depth"]), cells["depth"])
    return {"segmentation": segmentation, "normals": (1 - cosines).mean(), "depth": depth}
