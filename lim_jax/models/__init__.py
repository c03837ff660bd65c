"""The networks: dilated ResNets, DeepLab and classifier heads, and the multi-task model made of them."""

from lim_jax.models import torch_weights
from lim_jax.models.multitask import MultiTaskModel, from_json, head, normalize_images, to_json
from lim_jax.models.resnet import backbone

__all__ = ["MultiTaskModel", "backbone", "from_json", "head", "normalize_images", "to_json", "torch_weights"]
