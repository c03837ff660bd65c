"""The multi-task network: one backbone, run once, and a head per task; its description as JSON."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from lim_jax import ops
from lim_jax.errors import UserError
from lim_jax.models.classifier import Classifier, Linear
from lim_jax.models.deeplab import DeepLab
from lim_jax.models.resnet import Architecture, Features, ResNet

_NOT_DESCRIBED = ("parent", "name", "forms")  # attributes of a head that say nothing of what it computes

HEADS = {"deeplab": DeepLab, "classifier": Classifier, "linear": Linear}

# Mean and standard deviation of ImageNet's images, per channel, in units of 255.
IMAGE_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
IMAGE_STD = np.array([0.229, 0.224, 0.225], np.float32)


def normalize_images(images: jax.Array) -> jax.Array:
    """Maps images (..., 3), uint8 or float in 0..255, to float32: (x / 255 - mean) / std of ImageNet."""
    return (jnp.asarray(images, jnp.float32) / 255 - IMAGE_MEAN) / IMAGE_STD


def head(name: str, num_outputs: int, *, channels: int = 256, dtype: str = "float32", **attributes: Any) -> nn.Module:
    """Returns a head.

    Args:
      name: "deeplab" (a prediction per cell), "classifier" or "linear" (a prediction per image).
      num_outputs: length of a prediction.
      channels: width of deeplab's convolutions. The classifier's convolution has a quarter of it, its dense
        layer an eighth; the linear head has no such layers.
      dtype: dtype of the computation; logits are float32.
      **attributes: other attributes of the module, e.g. `dropout`.

    Raises:
      UserError: no head has that name.
    """
    if name not in HEADS:
        raise UserError(f"there is no head {name!r}; choose one of {', '.join(HEADS)}")
    if name == "classifier":
        attributes = {"hidden": max(channels // 8, 1)} | attributes
        channels = max(channels // 4, 1)
    if name != "linear":
        attributes = attributes | {"channels": channels}
    return HEADS[name](num_outputs, dtype=dtype, **attributes)


class MultiTaskModel(nn.Module):
    """A backbone and the heads that read its features.

    Attributes:
      backbone: a module of `resnet.backbone`; its parameters are under `backbone`.
      heads: a module of `head` per task; their parameters are under `heads_<task>`.
    """

    backbone: nn.Module
    heads: Mapping[str, nn.Module]

    def __call__(self, images: jax.Array, train: bool = False, axis_name: str | None = None) -> dict[str, jax.Array]:
        """Computes the predictions of all tasks.

        Args:
          images: float32 (N, H, W, 3), normalised (`normalize_images`).
          train: use the batch's own moments and dropout; `batch_stats` must be mutable, and a `dropout` key
            given, the same on every device.
          axis_name: the axis over which the batch is distributed, if it is; moments and dropout are then
            those of the global batch.

        Returns:
          Raw logits, float32, per task: (N, ceil(H / 8), ceil(W / 8), outputs) of a deeplab head, with a skip
          (N, ceil(H / 4), ceil(W / 4), outputs), (N, outputs) of the others.
        """
        features = self.features(images, train, axis_name)
        return {task: self.output(features, task, train, axis_name) for task in self.heads}

    def features(self, images: jax.Array, train: bool = False, axis_name: str | None = None) -> jax.Array | Features:
        """Returns what the heads read: (N, h, w, channels), or `Features`; for the arguments see `__call__`."""
        if any(map(_has_skip, self.heads.values())):
            return self.backbone(images, train, axis_name, with_shallow=True)
        return self.backbone(images, train, axis_name)

    def output(
        self, features: jax.Array | Features, task: str, train: bool = False, axis_name: str | None = None
    ) -> jax.Array:
        """Returns one task's logits, given `features`; for the arguments see `__call__`."""
        head = self.heads[task]
        if not isinstance(features, Features):
            return head(features, train, axis_name)
        if _has_skip(head):
            return head(features.deep, train, axis_name, features.shallow)
        return head(features.deep, train, axis_name)


def _has_skip(module: nn.Module) -> bool:
    return isinstance(module, DeepLab) and module.skip_channels > 0


def with_dtype(model: MultiTaskModel, dtype: str) -> MultiTaskModel:
    """Returns the same model, of the same parameters, that computes in another dtype."""
    heads = {task: module.clone(dtype=dtype) for task, module in model.heads.items()}
    return MultiTaskModel(model.backbone.clone(dtype=dtype), heads)


def with_implementation(model: MultiTaskModel, forms: ops.Forms) -> MultiTaskModel:
    """Returns the same model, of the same parameters, that computes its operations in other forms.

    Models that are built or read from a description compute in `ops.REFERENCE`, the plain form; what a platform gets is
    said by `runtime.platforms`, and chosen where a program is made.
    """
    heads = {task: module.clone(forms=forms) for task, module in model.heads.items()}
    return MultiTaskModel(model.backbone.clone(forms=forms), heads)


def recomputing(model: MultiTaskModel) -> MultiTaskModel:
    """Returns the same model, whose gradients take less memory and more time (`resnet.ResNet.recompute`)."""
    return MultiTaskModel(model.backbone.clone(recompute=True), model.heads)


def to_json(model: MultiTaskModel) -> dict[str, Any]:
    """Describes a model completely, in JSON-serialisable values; `from_json` is the inverse."""
    if not isinstance(model.backbone, ResNet):
        raise TypeError(f"cannot describe a backbone of type {type(model.backbone).__name__}")
    return {
        "backbone": model.backbone.architecture.to_json()
        | {"dtype": model.backbone.dtype, "folded": model.backbone.folded},
        "heads": {task: _head_to_json(module) for task, module in model.heads.items()},
    }


def from_json(fields: Mapping[str, Any]) -> MultiTaskModel:
    """Rebuilds the model that `to_json` described (lists stand for tuples)."""
    described = fields["backbone"]
    backbone = ResNet(Architecture.from_json(described), described["dtype"], described.get("folded", False))
    return MultiTaskModel(backbone, {task: _head_from_json(head) for task, head in fields["heads"].items()})


def _head_to_json(module: nn.Module) -> dict[str, Any]:
    name = next(name for name, kind in HEADS.items() if type(module) is kind)
    attributes = [field.name for field in dataclasses.fields(module) if field.name not in _NOT_DESCRIBED]
    return {"type": name} | {attribute: getattr(module, attribute) for attribute in attributes}


def _head_from_json(fields: Mapping[str, Any]) -> nn.Module:
    attributes = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    del attributes["type"]
    return HEADS[fields["type"]](**attributes)
