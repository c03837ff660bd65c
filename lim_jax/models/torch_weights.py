"""Weights of PyTorch networks, as variables of our modules: the paper's code, torchvision's and timm's ResNets.

Kernels change from OIHW to HWIO, dense layers from (out, in) to (in, out); everything else is a change of
names. Torch's `num_batches_tracked` has no counterpart here.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lim_jax.errors import UserError
from lim_jax.models.resnet import BACKBONES, DEEP_STEM, PLAIN_STEM, architecture

_NORM = {
    "weight": ("params", "scale"),
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "var"),
}
_LINEAR = {"weight": ("params", "kernel"), "bias": ("params", "bias")}
_IMAGENET_CLASSIFIER = ("fc.weight", "fc.bias")
_BLOCK = re.compile(r"layer([1-4])\.(\d+)\.")

# Where a torch tensor goes: (collection, name of the submodule, ..., name of the array).
Place = tuple[str, ...]


def to_flax(state_dict: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Converts a state dict to the variables of our modules.

    Args:
      state_dict: {torch name: array} of the paper's code: of a backbone, of a head, or of a whole model (names with the
        prefix `backbone.` or `decoders.<task>.`); or of a ResNet of torchvision's, or of timm's with a deep stem
        (`resnet50s`), whose classifier `fc` is left out. A prefix `module.` is ignored.

    Returns:
      {"params": ..., "batch_stats": ...} of float32 arrays, for `ResNet`, `DeepLab`, `Classifier` or
      `MultiTaskModel` (heads under `heads_<task>`).

    Raises:
      UserError: names are missing, or belong to none of these modules.
    """
    tensors = {name.removeprefix("module."): tensor for name, tensor in state_dict.items()}
    variables: dict[str, dict[str, Any]] = {"params": {}, "batch_stats": {}}
    for prefix, path in _modules(tensors).items():
        part = _part(tensors, prefix)
        places = _places(part)
        _check_names(prefix, part.keys(), places.keys())
        for name, place in places.items():
            _put(variables, (place[0], *path, *place[1:]), _to_flax_layout(part[name]))
    return variables


def _part(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    part = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    unused = _IMAGENET_CLASSIFIER if not prefix and "layer1.0.conv1.weight" in part else ()
    return {
        name: tensor for name, tensor in part.items() if not name.endswith("num_batches_tracked") and name not in unused
    }


def _modules(names: Iterable[str]) -> dict[str, Place]:
    """Returns {prefix of a module's torch names: path of the module in our variables}."""
    if not any(name.startswith(("backbone.", "decoders.")) for name in names):
        return {"": ()}
    prefixes = {}
    for name in names:
        parts = name.split(".")
        if parts[0] == "backbone":
            prefixes["backbone."] = ("backbone",)
        elif parts[0] == "decoders":
            prefixes[f"decoders.{parts[1]}."] = (f"heads_{parts[1]}",)
        else:
            raise UserError(f"{name!r} belongs to no backbone and no decoder of the paper's code")
    return prefixes


def _places(names: Iterable[str]) -> dict[str, Place]:
    """Returns where each tensor goes, of the module to which most of `names` belong."""
    names = list(names)
    if any(name.startswith(("stem1.", "layer")) for name in names):
        return _backbone_places(names)
    if any(name.startswith("0.convs.") for name in names):
        return _deeplab_places()
    if any(name.startswith(("conv.", "fc")) for name in names):
        return _classifier_places()
    raise UserError(f"no backbone or head has weights named {', '.join(map(repr, names[:3]))}")


def _layer(torch_name: str, name: str, arrays: Mapping[str, Place]) -> dict[str, Place]:
    path = tuple(name.split("."))
    return {f"{torch_name}.{key}": (place[0], *path, *place[1:]) for key, place in arrays.items()}


def _conv_norm(torch_conv: str, torch_norm: str, name: str) -> dict[str, Place]:
    kernel = {"weight": _LINEAR["weight"]}
    return _layer(torch_conv, name, kernel) | _layer(torch_norm, f"{name}.bn", _NORM)


def backbone_name(names: Iterable[str]) -> str:
    """Returns which of `resnet.BACKBONES` has weights of these torch names, without prefix.

    Raises:
      UserError: none of them.
    """
    names = set(names)
    if "layer1.0.downsample.2.weight" in names:
        raise UserError(
            "these weights are of a network that pools before it downsamples (timm's resnet50d and its like), which no "
            "backbone here does: take timm's resnet50s for resnet50d, resnet101s for resnet101d"
        )
    found = [(int(match[1]), int(match[2])) for match in map(_BLOCK.match, names) if match]
    blocks = tuple(max((i + 1 for stage, i in found if stage == wanted), default=0) for wanted in range(1, 5))
    convs = 3 if "layer1.0.conv3.weight" in names else 2
    stem = PLAIN_STEM if "conv1.weight" in names else DEEP_STEM
    for name, kind in BACKBONES.items():
        if kind == (blocks, convs, stem):
            return name
    known = "; ".join(f"{name}: {', '.join(map(str, kind.blocks))}" for name, kind in BACKBONES.items())
    raise UserError(f"stages of {', '.join(map(str, blocks))} blocks belong to no backbone ({known})")


def _stem_places(names: Iterable[str]) -> dict[str, Place]:
    """Returns where the stem's tensors go: torchvision's `conv1`, timm's `conv1.0`, the paper's `stem1.0`."""
    if "conv1.weight" in names:
        return _conv_norm("conv1", "bn1", "stem_conv1")
    timm = any(name.startswith("conv1.") for name in names)
    norms = ("conv1.1", "conv1.4", "bn1") if timm else ("stem1.1", "stem1.4", "stem1.7")
    places: dict[str, Place] = {}
    for i, norm in enumerate(norms):
        places |= _conv_norm(f"{'conv1' if timm else 'stem1'}.{3 * i}", norm, f"stem_conv{i + 1}")
    return places


def _backbone_places(names: list[str]) -> dict[str, Place]:
    places = _stem_places(names)
    for stage, blocks in enumerate(architecture(backbone_name(names)).stages, start=1):
        for i, block in enumerate(blocks):
            theirs, ours = f"layer{stage}.{i}", f"layer{stage}_{i}"
            for conv in range(1, len(block.convs) + 1):
                places |= _conv_norm(f"{theirs}.conv{conv}", f"{theirs}.bn{conv}", f"{ours}.conv{conv}")
            if block.downsample:
                places |= _conv_norm(f"{theirs}.downsample.0", f"{theirs}.downsample.1", f"{ours}.downsample")
    return places


def _deeplab_places() -> dict[str, Place]:
    places = _conv_norm("0.convs.0.0", "0.convs.0.1", "aspp_pointwise")
    for i in (1, 2, 3):
        places |= _conv_norm(f"0.convs.{i}.0", f"0.convs.{i}.1", f"aspp_dilated{i}")
    places |= _conv_norm("0.convs.4.1", "0.convs.4.2", "aspp_pooled")
    places |= _conv_norm("0.project.0", "0.project.1", "project")
    places |= _conv_norm("1", "2", "refine")
    return places | _layer("4", "logits", _LINEAR)


def _classifier_places() -> dict[str, Place]:
    return _layer("conv", "conv", _LINEAR) | _layer("fc1", "fc1", _LINEAR) | _layer("fc2", "fc2", _LINEAR)


def _check_names(prefix: str, names: Iterable[str], expected: Iterable[str]) -> None:
    for problem, wrong in (
        ("unknown", sorted(set(names) - set(expected))),
        ("missing", sorted(set(expected) - set(names))),
    ):
        if wrong:
            shown = ", ".join(prefix + name for name in wrong[:5]) + (", ..." if len(wrong) > 5 else "")
            raise UserError(f"{len(wrong)} weights are {problem}: {shown}")


def _to_flax_layout(tensor: Any) -> np.ndarray:
    array = np.asarray(tensor, np.float32)
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T


def _put(tree: dict[str, Any], path: Place, array: np.ndarray) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = array
