"""The networks: dilated ResNets, heads of dense and of image-level tasks, and the multi-task model made of them."""

from lim_jax.models import torch_weights
from lim_jax.models.groups import SCOPES, backbone_groups
from lim_jax.models.multitask import (
    IMAGE_MEAN,
    IMAGE_STD,
    MultiTaskModel,
    from_json,
    head,
    normalize_images,
    recomputing,
    to_json,
    with_dtype,
    with_implementation,
)
from lim_jax.models.resnet import backbone

__all__ = [
    "IMAGE_MEAN",
    "IMAGE_STD",
    "SCOPES",
    "MultiTaskModel",
    "backbone",
    "backbone_groups",
    "from_json",
    "head",
    "normalize_images",
    "recomputing",
    "to_json",
    "torch_weights",
    "with_dtype",
    "with_implementation",
]
