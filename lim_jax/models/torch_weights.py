"""Weights of the paper's public PyTorch code, as variables of our modules.

Kernels change from OIHW to HWIO, dense layers from (out, in) to (in, out); everything else is a change of
names. Torch's `num_batches_tracked` has no counterpart here.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from lim_jax.errors import UserError
from lim_jax.models.resnet import BLOCKS

_NORM = {
    "weight": ("params", "scale"),
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "var"),
}
_LINEAR = {"weight": ("params", "kernel"), "bias": ("params", "bias")}
_BLOCK = re.compile(r"layer([1-4])\.(\d+)\.")

# Where a torch tensor goes: (collection, name of the submodule, ..., name of the array).
Place = tuple[str, ...]


def to_flax(state_dict: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Converts a state dict of the paper's code to the variables of our modules.

    Args:
      state_dict: {torch name: array} of a backbone, of a head, or of a whole model (names with the prefix
        `backbone.` or `decoders.<task>.`); a prefix `module.` is ignored.

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
    names = [name for name in tensors if name.startswith(prefix) and not name.endswith("num_batches_tracked")]
    return {name.removeprefix(prefix): tensors[name] for name in names}


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


def _backbone_places(names: list[str]) -> dict[str, Place]:
    found = [(int(match[1]), int(match[2])) for match in map(_BLOCK.match, names) if match]
    blocks = tuple(max((i + 1 for stage, i in found if stage == wanted), default=0) for wanted in range(1, 5))
    if blocks not in BLOCKS.values():
        known = "; ".join(f"{name}: {', '.join(map(str, counts))}" for name, counts in BLOCKS.items())
        raise UserError(f"stages of {', '.join(map(str, blocks))} blocks belong to no backbone ({known})")
    convs = (1, 2) if blocks == BLOCKS["resnet18d"] else (1, 2, 3)
    places: dict[str, Place] = {}
    for i in range(3):
        places |= _conv_norm(f"stem1.{3 * i}", f"stem1.{3 * i + 1}", f"stem_conv{i + 1}")
    for stage, count in enumerate(blocks, start=1):
        for i in range(count):
            torch_block, block = f"layer{stage}.{i}", f"layer{stage}_{i}"
            for conv in convs:
                places |= _conv_norm(f"{torch_block}.conv{conv}", f"{torch_block}.bn{conv}", f"{block}.conv{conv}")
            if i == 0:
                places |= _conv_norm(
                    f"{torch_block}.downsample.0", f"{torch_block}.downsample.1", f"{block}.downsample"
                )
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
